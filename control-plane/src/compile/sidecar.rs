//! What a `Sidecar` says beside what it imports.

use std::sync::Arc;

use mesh_api::listener::UnmatchedTraffic;

use super::diagnostics::Report;
use super::not_acted_on::{self, Feature};
use crate::crd::object::Resource;
use crate::crd::sidecar::{ListenerCapture, OutboundTrafficMode, SidecarSpec};
use crate::model::World;

pub(crate) use crate::model::egress::sidecar as select;

type SidecarObject = Arc<Resource<SidecarSpec>>;

/// What happens to traffic nobody declared.
pub(crate) fn unmatched(world: &World, sidecar: Option<&SidecarObject>) -> UnmatchedTraffic {
    match sidecar.and_then(|one| one.spec.outbound_traffic_policy.as_ref()) {
        None => world.settings().outbound_traffic,
        Some(policy) => match policy.mode {
            OutboundTrafficMode::RegistryOnly => UnmatchedTraffic::Refuse,
            OutboundTrafficMode::AllowAny => UnmatchedTraffic::Passthrough,
        },
    }
}

/// Names what of its outbound side is not acted on.
pub(crate) fn report(sidecar: &SidecarObject, report: &mut Report) {
    let uses_proxy = sidecar
        .spec
        .outbound_traffic_policy
        .as_ref()
        .is_some_and(|policy| policy.egress_proxy.is_some());
    if uses_proxy {
        not_acted_on::report(
            report,
            Feature::EgressProxy,
            &sidecar.key,
            "spec.outboundTrafficPolicy.egressProxy",
        );
    }
    for (index, listener) in sidecar.spec.egress.iter().enumerate() {
        let asked = [
            ("port", listener.port.is_some()),
            ("bind", listener.bind.is_some()),
            (
                "captureMode",
                listener.capture_mode != ListenerCapture::Default,
            ),
        ];
        for (name, _) in asked.into_iter().filter(|(_, asked)| *asked) {
            let field = format!("spec.egress[{index}].{name}");
            not_acted_on::report(report, Feature::EgressListener, &sidecar.key, &field);
        }
    }
}
