//! What is accepted but not acted on yet: the one table of it, so that it is easy to shrink.

use super::diagnostics::{Diagnostic, Report, codes};
use crate::crd::Kind;
use crate::meta::ObjectKey;

/// Something users may ask for that proxies do not do yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// `outlierDetection`
    OutlierDetection,
    /// `outlierDetectionHttpErrorCodes`
    OutlierErrorCodes,
    /// `consecutiveErrors`, deprecated
    ConsecutiveErrors,
    /// `loadBalancer.consistentHash.maglev`
    Maglev,
    /// `loadBalancer.warmup`
    Warmup,
    /// `loadBalancer.localityLbSetting`
    Locality,
    /// `loadBalancer.zoneAwareLbSetting`
    ZoneAware,
    /// `tunnel`
    Tunnel,
    /// `proxyProtocol`
    ProxyProtocol,
    /// `internalTrafficPolicy: Local` of a Service
    OwnNodeOnly,
    /// `retryBudget.budgetInterval`
    BudgetInterval,
    /// `retries.retryRemoteLocalities`
    RetryRemoteLocalities,
    /// `resolution: DYNAMIC_DNS`
    DynamicDns,
    /// `Sidecar.egress[].port` and its siblings
    EgressListener,
    /// `Sidecar.outboundTrafficPolicy.egressProxy`
    EgressProxy,
    /// `Sidecar.ingress[].captureMode` that is not the proxy's own
    IngressCaptureMode,
    /// `sourceSubnet` of a TCP match
    SourceSubnet,
    /// `ServiceEntry.location: MESH_INTERNAL`
    MeshInternal,
    /// `ServiceEntry.subjectAltNames`
    SubjectAltNames,
    /// A unix socket as `defaultEndpoint`
    UnixSocket,
    /// `Telemetry`
    Telemetry,
    /// A policy attached by `targetRefs`
    TargetRefs,
    /// `AuthorizationPolicy` with `action: AUDIT`
    Audit,
    /// A Host header set on one of several destinations
    DestinationHost,
    /// `statPrefix`
    StatPrefix,
    /// `WorkloadGroup`
    WorkloadGroup,
    /// `ProxyConfig`
    ProxyConfig,
    /// `EnvoyFilter`
    EnvoyFilter,
    /// `WasmPlugin` and `TrafficExtension`
    Extension,
    /// An extension that is to guard the calls workloads make
    GuardOfCalls,
    /// An extension that is to guard what none of the proxies it is for have
    GuardElsewhere,
}

impl Feature {
    /// What objects of a kind ask for that as a whole is not acted on.
    pub(crate) const fn of_kind(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Telemetry => Some(Self::Telemetry),
            Kind::WorkloadGroup => Some(Self::WorkloadGroup),
            Kind::ProxyConfig => Some(Self::ProxyConfig),
            Kind::EnvoyFilter => Some(Self::EnvoyFilter),
            Kind::WasmPlugin | Kind::TrafficExtension => Some(Self::Extension),
            Kind::VirtualService
            | Kind::DestinationRule
            | Kind::Gateway
            | Kind::ServiceEntry
            | Kind::Sidecar
            | Kind::WorkloadEntry
            | Kind::PeerAuthentication
            | Kind::RequestAuthentication
            | Kind::AuthorizationPolicy
            | Kind::Service
            | Kind::EndpointSlice
            | Kind::Pod
            | Kind::Namespace
            | Kind::Node => None,
        }
    }

    /// What happens instead.
    const fn instead(self) -> &'static str {
        match self {
            Self::OutlierDetection => {
                "proxies do not eject endpoints yet; failing endpoints keep getting requests"
            }
            Self::OutlierErrorCodes => "every 5xx counts as an error",
            Self::ConsecutiveErrors => "it is deprecated; use consecutive5xxErrors",
            Self::Maglev => "endpoints are chosen by a hash ring with that many entries",
            Self::Warmup => "new endpoints get their full share at once",
            Self::Locality | Self::ZoneAware => "all endpoints are used alike, near or far",
            Self::OwnNodeOnly => "endpoints of every node are used",
            Self::Tunnel | Self::ProxyProtocol => "requests to its endpoints are answered 503",
            Self::BudgetInterval => "only requests in flight are counted",
            Self::RetryRemoteLocalities => "retries go to any endpoint",
            Self::DynamicDns => "wildcard hosts are refused; list the hosts you need",
            Self::EgressListener => {
                "its hosts count, but it gets no listener of its own; traffic goes through the \
                 usual ones"
            }
            Self::EgressProxy => "unknown traffic goes where it was going",
            Self::IngressCaptureMode => "traffic reaches the port as it reaches the proxy",
            Self::SourceSubnet => "connections from every address match",
            Self::MeshInternal => "its workloads are called like those outside of the mesh",
            Self::SubjectAltNames => "proxies do not check certificates yet",
            Self::UnixSocket => "the port refuses everything; give an address and a port",
            Self::Telemetry => "proxies report the standard metrics and logs",
            Self::TargetRefs => {
                "it keeps nobody out: sidecars and gateways of this kind are not concerned by it"
            }
            Self::Audit => "nothing is recorded; no request is refused because of it",
            Self::DestinationHost => {
                "a Host header of one of several destinations is not written; set it on the route"
            }
            Self::StatPrefix => "no statistics of that name are kept",
            Self::WorkloadGroup => "write a WorkloadEntry for each workload",
            Self::ProxyConfig => "proxies have the settings of the injector and of annotations",
            Self::EnvoyFilter => "the proxies of this mesh are not Envoy; nothing is patched",
            Self::Extension => "traffic passes without it",
            Self::GuardOfCalls => {
                "it keeps nobody out: the calls that workloads make pass without it"
            }
            Self::GuardElsewhere => {
                "it keeps nobody out: the proxies it is for have no such traffic"
            }
        }
    }

    /// The way out, where it is not plain.
    fn way_out(self) -> Option<&'static str> {
        let known = WAYS_OUT.iter().find(|(of, _)| *of == self);
        known.map(|(_, way_out)| *way_out)
    }
}

const WAYS_OUT: [(Feature, &str); 3] = [
    (
        Feature::TargetRefs,
        "there are no gateways and waypoints of the Gateway API here; select workloads by their \
         labels",
    ),
    (
        Feature::GuardOfCalls,
        "guard those that are called (mode SERVER, context SIDECAR_INBOUND); they refuse until it \
         can be enforced",
    ),
    (
        Feature::GuardElsewhere,
        "sidecars have SERVER and SIDECAR_INBOUND, gateways CLIENT and GATEWAY, and there are no \
         waypoints",
    ),
];

/// Says that something is accepted but not acted on.
pub(crate) fn report(report: &mut Report, feature: Feature, object: &ObjectKey, field: &str) {
    let message = format!("accepted, not acted on yet: {}", feature.instead());
    let finding = Diagnostic::new(codes::NOT_ACTED_ON, object, field, message);
    report.push(finding.maybe_hint(feature.way_out().map(str::to_owned)));
}
