//! `outlierDetection` into thresholds.

use std::time::Duration;

use mesh_api::cluster::OutlierDetection;
use mesh_api::units::PartsPerMillion;

use crate::compile::context::Context;
use crate::compile::destination_rules::Block;
use crate::compile::not_acted_on::{self, Feature};
use crate::crd::destination_rule::OutlierDetection as Written;

/// The thresholds of a block.
pub(super) fn outlier(cx: &mut Context<'_>, block: &Block<'_, Written>) -> OutlierDetection {
    let written = block.value;
    not_acted_on::report(
        &mut cx.report,
        Feature::OutlierDetection,
        block.object,
        &block.field,
    );
    if !written.outlier_detection_http_error_codes.is_empty() {
        let field = format!("{}.outlierDetectionHttpErrorCodes", block.field);
        not_acted_on::report(
            &mut cx.report,
            Feature::OutlierErrorCodes,
            block.object,
            &field,
        );
    }
    if written.consecutive_errors.is_some() {
        let field = format!("{}.consecutiveErrors", block.field);
        not_acted_on::report(
            &mut cx.report,
            Feature::ConsecutiveErrors,
            block.object,
            &field,
        );
    }
    let default = OutlierDetection::default();
    let percent = |percent: u32| PartsPerMillion::from_percent(f64::from(percent));
    OutlierDetection {
        consecutive_5xx: written
            .consecutive_5xx_errors
            .unwrap_or(default.consecutive_5xx),
        consecutive_gateway_errors: written.consecutive_gateway_errors.unwrap_or(0),
        consecutive_local_failures: written
            .split_external_local_origin_errors
            .then(|| written.consecutive_local_origin_failures.unwrap_or(5)),
        interval: written.interval.map_or(default.interval, Duration::from),
        base_ejection_time: written
            .base_ejection_time
            .map_or(default.base_ejection_time, Duration::from),
        max_ejection: written
            .max_ejection_percent
            .map_or(default.max_ejection, percent),
        min_health: percent(written.min_health_percent),
    }
}
