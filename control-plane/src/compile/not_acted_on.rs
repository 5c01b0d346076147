//! What is accepted but not acted on yet: the one table of it, so that it is easy to shrink.

use super::diagnostics::{Diagnostic, Report, codes};
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
    /// A unix socket as `defaultEndpoint`
    UnixSocket,
    /// `Telemetry`
    Telemetry,
    /// A policy attached by `targetRefs`
    TargetRefs,
    /// `AuthorizationPolicy` with `action: AUDIT`
    Audit,
    /// `statPrefix`
    StatPrefix,
}

impl Feature {
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
            Self::Tunnel | Self::ProxyProtocol => "requests to its endpoints are answered 503",
            Self::BudgetInterval => "only requests in flight are counted",
            Self::RetryRemoteLocalities => "retries go to any endpoint",
            Self::DynamicDns => "wildcard hosts are refused; list the hosts you need",
            Self::EgressListener => {
                "its hosts count, but it gets no listener of its own; traffic goes through the \
                 usual ones"
            }
            Self::EgressProxy => "unknown traffic goes where it was going",
            Self::UnixSocket => "give an address and a port",
            Self::Telemetry => "proxies report the standard metrics and logs",
            Self::TargetRefs => "sidecars and gateways of this kind are not concerned by it",
            Self::Audit => "nothing is recorded; no request is refused because of it",
            Self::StatPrefix => "no statistics of that name are kept",
        }
    }
}

/// Says that something is accepted but not acted on.
pub(crate) fn report(report: &mut Report, feature: Feature, object: &ObjectKey, field: &str) {
    report.push(Diagnostic::new(
        codes::NOT_ACTED_ON,
        object,
        field,
        format!("accepted, not acted on yet: {}", feature.instead()),
    ));
}
