//! Ejection of bad endpoints (`outlierDetection`).

use std::time::Duration;

use serde::Serialize;

use crate::units::PartsPerMillion;

/// When an endpoint is ejected and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct OutlierDetection {
    /// `consecutive5xxErrors`; 0 is off.
    pub consecutive_5xx: u32,
    /// `consecutiveGatewayErrors`; 0 is off.
    pub consecutive_gateway_errors: u32,
    /// `consecutiveLocalOriginFailures` where local failures are told apart
    /// (`splitExternalLocalOriginErrors`); `None` where they count as 5xx.
    pub consecutive_local_failures: Option<u32>,
    /// Time between sweeps.
    pub interval: Duration,
    /// The first ejection's length.
    pub base_ejection_time: Duration,
    /// The largest share of endpoints that may be ejected at once.
    pub max_ejection: PartsPerMillion,
    /// Below this share of healthy endpoints ejections are ignored; 0 is never.
    pub min_health: PartsPerMillion,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_errors: 0,
            consecutive_local_failures: None,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection: PartsPerMillion::from_percent(10.0),
            min_health: PartsPerMillion::ZERO,
        }
    }
}
