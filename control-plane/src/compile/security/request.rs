//! `AuthorizationPolicy` and `RequestAuthentication`: who asks to look at each request.

use mesh_api::workload::Labels;

use super::Ask;
use crate::compile::diagnostics::Report;
use crate::compile::not_acted_on::{self, Feature};
use crate::compile::scope::ProxyRole;
use crate::crd::authorization_policy::Action;
use crate::crd::object::Resource;
use crate::crd::selector::{PolicyTargetReference, WorkloadSelector};
use crate::crd::{Kind, Selects};
use crate::meta::ObjectKey;
use crate::model::World;
use crate::model::workload::{pairs, selects};

type Targets<'a> = (
    &'a Vec<PolicyTargetReference>,
    Option<&'a PolicyTargetReference>,
);

/// What the policies that select a workload ask for.
pub(super) fn policies(world: &World, who: (&str, &Labels), report: &mut Report) -> Vec<Ask> {
    let mut asks = Vec::new();
    for policy in world.authorization_policies.iter() {
        let spec = &policy.spec;
        let targets = (&spec.target_refs, spec.target_ref.as_ref());
        let selector = spec.selector.as_ref();
        if !concerns(world, policy, selector, targets, who, report) {
            continue;
        }
        if spec.action == Action::Audit {
            not_acted_on::report(report, Feature::Audit, &policy.key, "spec.action");
            continue;
        }
        asks.push(Ask::new(&policy.key, "spec", "authorization"));
    }
    for policy in world.request_authentications.iter() {
        let spec = &policy.spec;
        let targets = (&spec.target_refs, spec.target_ref.as_ref());
        let selector = spec.selector.as_ref();
        if concerns(world, policy, selector, targets, who, report) {
            asks.push(Ask::new(&policy.key, "spec", "verification of tokens"));
        }
    }
    asks
}

/// Whether a policy selects a workload: one of its namespace or of the root namespace does, by
/// labels or as a whole.
fn concerns<T>(
    world: &World,
    policy: &Resource<T>,
    selector: Option<&WorkloadSelector>,
    (targets, target): Targets<'_>,
    (namespace, labels): (&str, &Labels),
    report: &mut Report,
) -> bool {
    let here = policy.namespace() == namespace;
    if !here && policy.namespace() != &*world.settings().root_namespace {
        return false;
    }
    if !targets.is_empty() || target.is_some() {
        let field = if targets.is_empty() {
            "spec.targetRef"
        } else {
            "spec.targetRefs"
        };
        not_acted_on::report(report, Feature::TargetRefs, &policy.key, field);
        return false;
    }
    selector.is_none_or(|selector| selects(pairs(&selector.match_labels), labels))
}

/// Policies nobody could ever read close what they say they are for; where even that cannot be
/// read, all that their namespace reaches.
pub(super) fn unreadable(
    world: &World,
    (namespace, labels): (&str, &Labels),
    role: ProxyRole,
) -> Vec<Ask> {
    let root = &*world.settings().root_namespace;
    let closes = |key: &ObjectKey, wanted: &Selects| {
        let mutual_tls = key.kind == Kind::PeerAuthentication;
        let in_root = *key.namespace == *root;
        match wanted {
            _ if !in_root && *key.namespace != *namespace => false,
            // What a gateway takes from outside is the affair of its servers.
            _ if mutual_tls && role == ProxyRole::Gateway => false,
            Selects::All => true,
            // One with a selector in the root namespace is for nobody.
            Selects::Labelled(wanted) if mutual_tls && in_root && !wanted.is_empty() => false,
            Selects::Labelled(wanted) => selects(pairs(wanted), labels),
            Selects::Attached => false,
        }
    };
    let policies = world.unreadable_policies.iter();
    policies
        .filter(|(key, wanted)| closes(key, wanted))
        .map(|(key, _)| Ask::unreadable(key))
        .collect()
}
