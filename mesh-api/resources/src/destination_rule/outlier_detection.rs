//! When an endpoint is taken out for a while.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::absent::unset_if_zero;
use crate::duration::Duration;

/// Ejection of endpoints that keep failing, counted by each client proxy for itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Deprecated and without effect.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub consecutive_errors: Option<u32>,
    /// Count failures seen by the client (connect, timeout) apart from answers of the server.
    #[serde(default)]
    pub split_external_local_origin_errors: bool,
    /// Failures seen by the client in a row; only with `splitExternalLocalOriginErrors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_local_origin_failures: Option<u32>,
    /// 502, 503 and 504 in a row; 0 or absent is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_gateway_errors: Option<u32>,
    /// Any 5xx in a row; 5 when absent, 0 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_5xx_errors: Option<u32>,
    /// Time between sweeps that let endpoints back in; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Shortest ejection; 30 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_ejection_time: Option<Duration>,
    /// Most endpoints out at one time, in percent; 0 or absent is 10.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_ejection_percent: Option<u32>,
    /// Below this share of healthy endpoints all of them are used, in percent.
    #[serde(default)]
    pub min_health_percent: u32,
    /// Status codes that count as errors; absent is every 5xx.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlier_detection_http_error_codes: Vec<u32>,
}
