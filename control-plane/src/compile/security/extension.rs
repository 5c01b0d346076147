//! `WasmPlugin`, `TrafficExtension` and `EnvoyFilter`: programs and filters that this mesh does not
//! run. Those that are there to keep somebody out are asked for as protection is; where that keeps
//! nobody out, because they stand where no proxy of this mesh looks, they are named.

mod guard;

use std::collections::BTreeSet;

use mesh_api::workload::Labels;

use super::Ask;
use crate::compile::diagnostics::Report;
use crate::compile::not_acted_on::{self, Feature};
use crate::compile::scope::ProxyRole;
use crate::model::World;
pub(super) use guard::Guarded;
pub(crate) use guard::{Guard, guards};

/// What the extensions that select a workload ask for.
pub(super) fn asks(
    world: &World,
    (namespace, labels): (&str, &Labels),
    role: ProxyRole,
) -> Vec<(Guarded, Ask)> {
    let mut asks = Vec::new();
    let selecting = guards(world).filter(|guard| guard.selects(world, namespace, labels));
    for guard in selecting {
        for post in &guard.posts {
            if let Some(guarded) = post.guarded(role) {
                asks.push((guarded, Ask::new(guard.key, &*post.field, &post.what)));
            }
        }
    }
    asks
}

/// Names what of a guard keeps nobody out, whose workloads have proxies of these roles.
pub(crate) fn report_idle(guard: &Guard<'_>, roles: &BTreeSet<ProxyRole>, report: &mut Report) {
    if let Some(field) = guard.attached_by {
        not_acted_on::report(report, Feature::TargetRefs, guard.key, field);
        return;
    }
    // Of a selector that selects nobody it is said that it does.
    if roles.is_empty() {
        return;
    }
    for post in &guard.posts {
        for (field, side) in post.sides() {
            let comes_in = roles.iter().any(|role| side.comes_in(*role));
            if roles.contains(&ProxyRole::Sidecar) && side.is_calls_only() {
                not_acted_on::report(report, Feature::GuardOfCalls, guard.key, &field);
            } else if !comes_in {
                not_acted_on::report(report, Feature::GuardElsewhere, guard.key, &field);
            }
        }
    }
}
