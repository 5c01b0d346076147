//! Protection a workload asks for. What cannot be enforced yet is refused, never left open.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::policy::PolicyRule;
use mesh_api::workload::Labels;

use super::diagnostics::{Diagnostic, Report, codes};
use super::not_acted_on::{self, Feature};
use crate::crd::authorization_policy::Action;
use crate::crd::object::Resource;
use crate::crd::peer_authentication::{MutualTlsMode, PeerAuthenticationSpec};
use crate::crd::selector::{PolicyTargetReference, WorkloadSelector};
use crate::meta::ObjectKey;
use crate::model::World;
use crate::model::workload::{pairs, selects};

/// What may come in at a workload.
#[derive(Debug)]
pub(crate) struct Protection {
    all: PolicyRule,
    ports: BTreeMap<u16, PolicyRule>,
}

impl Protection {
    /// The rule for one port of the workload.
    pub(crate) fn at(&self, port: u16) -> &PolicyRule {
        self.ports.get(&port).unwrap_or(&self.all)
    }

    /// The rule for ports nothing else is said about.
    pub(crate) fn elsewhere(&self) -> &PolicyRule {
        &self.all
    }
}

/// What the security objects of the mesh ask of a workload.
pub(crate) fn protection(
    world: &World,
    namespace: &str,
    labels: &Labels,
    mutual_tls: bool,
    report: &mut Report,
) -> Protection {
    let refused = request_policies(world, namespace, labels, report);
    if let Some(rule) = unreadable(world, namespace).or(refused) {
        return Protection {
            all: rule,
            ports: BTreeMap::new(),
        };
    }
    if !mutual_tls {
        // What a gateway takes from outside is the affair of its servers.
        return Protection {
            all: PolicyRule::Allow,
            ports: BTreeMap::new(),
        };
    }
    peer_authentication(world, namespace, labels, report)
}

fn refuse(report: &mut Report, object: &ObjectKey, field: &str, what: &str) -> PolicyRule {
    report.push(
        Diagnostic::new(
            codes::NOT_ENFORCEABLE,
            object,
            field,
            format!("{what} cannot be enforced yet; what it protects answers 503 to everything"),
        )
        .hint("remove the object, or wait for a release that enforces it"),
    );
    PolicyRule::Refuse {
        reason: Arc::from(format!(
            "{object} asks for {what}, which cannot be enforced yet"
        )),
    }
}

/// A policy nobody could ever read may protect anything in its namespace, so it closes all of it.
fn unreadable(world: &World, namespace: &str) -> Option<PolicyRule> {
    let root = &*world.settings().root_namespace;
    let policy = world
        .unreadable_policies
        .iter()
        .find(|key| *key.namespace == *namespace || *key.namespace == *root)?;
    Some(PolicyRule::Refuse {
        reason: Arc::from(format!(
            "{policy} cannot be read, so nobody knows what it protects; repair or remove it"
        )),
    })
}

/// The first authorization policy or request authentication that selects the workload.
fn request_policies(
    world: &World,
    namespace: &str,
    labels: &Labels,
    report: &mut Report,
) -> Option<PolicyRule> {
    let mut refused = None;
    for policy in world.authorization_policies.iter() {
        let spec = &policy.spec;
        let targets = (&spec.target_refs, spec.target_ref.as_ref());
        if !concerns(
            world,
            policy,
            spec.selector.as_ref(),
            targets,
            (namespace, labels),
            report,
        ) {
            continue;
        }
        if spec.action == Action::Audit {
            not_acted_on::report(report, Feature::Audit, &policy.key, "spec.action");
            continue;
        }
        let rule = refuse(report, &policy.key, "spec", "authorization");
        refused.get_or_insert(rule);
    }
    for policy in world.request_authentications.iter() {
        let spec = &policy.spec;
        let targets = (&spec.target_refs, spec.target_ref.as_ref());
        if concerns(
            world,
            policy,
            spec.selector.as_ref(),
            targets,
            (namespace, labels),
            report,
        ) {
            let rule = refuse(report, &policy.key, "spec", "verification of tokens");
            refused.get_or_insert(rule);
        }
    }
    refused
}

type Targets<'a> = (
    &'a Vec<PolicyTargetReference>,
    Option<&'a PolicyTargetReference>,
);

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
        not_acted_on::report(report, Feature::TargetRefs, &policy.key, "spec.targetRefs");
        return false;
    }
    selector.is_none_or(|selector| selects(pairs(&selector.match_labels), labels))
}

type PeerAuthentication = Arc<Resource<PeerAuthenticationSpec>>;

/// The mode in effect: the workload's, else the namespace's, else the mesh's; one object a level.
fn peer_authentication(
    world: &World,
    namespace: &str,
    labels: &Labels,
    report: &mut Report,
) -> Protection {
    let unselective = |one: &&PeerAuthentication| {
        one.spec
            .selector
            .as_ref()
            .is_none_or(|selector| selector.match_labels.is_empty())
    };
    let root = &*world.settings().root_namespace;
    let objects = &world.peer_authentications;
    let mesh = objects.of_namespace(root).find(unselective);
    let own = objects.of_namespace(namespace).find(unselective);
    let selecting = objects
        .of_namespace(namespace)
        // One with a selector in the root namespace is for nobody.
        .filter(|_| namespace != root)
        .find(|one| {
            !unselective(one)
                && one
                    .spec
                    .selector
                    .as_ref()
                    .is_some_and(|selector| selects(pairs(&selector.match_labels), labels))
        });
    let mut all = PolicyRule::Allow;
    for level in [selecting, own, mesh].into_iter().flatten() {
        let mode = level
            .spec
            .mtls
            .as_ref()
            .map_or(MutualTlsMode::Unset, |mtls| mtls.mode);
        if mode != MutualTlsMode::Unset {
            all = rule_of(mode, &level.key, "spec.mtls.mode", report);
            break;
        }
    }
    let mut ports = BTreeMap::new();
    for (port, mtls) in selecting.iter().flat_map(|one| &one.spec.port_level_mtls) {
        if let (Some(one), false) = (selecting, mtls.mode == MutualTlsMode::Unset) {
            let field = format!("spec.portLevelMtls[{port}].mode");
            ports.insert(*port, rule_of(mtls.mode, &one.key, &field, report));
        }
    }
    Protection { all, ports }
}

fn rule_of(
    mode: MutualTlsMode,
    object: &ObjectKey,
    field: &str,
    report: &mut Report,
) -> PolicyRule {
    match mode {
        MutualTlsMode::Strict => refuse(report, object, field, "STRICT mutual TLS"),
        MutualTlsMode::Unset | MutualTlsMode::Disable | MutualTlsMode::Permissive => {
            PolicyRule::Allow
        }
    }
}
