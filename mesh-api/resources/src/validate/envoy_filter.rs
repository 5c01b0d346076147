//! Rules of an EnvoyFilter: whom it is meant for, and patches that say what they patch.

use super::request_authentication::check_targets;
use super::{Checker, Validate, count};
use crate::envoy_filter::{ApplyTo, ConfigPatch, EnvoyFilterSpec, PatchOperation};

impl Validate for EnvoyFilterSpec {
    fn validate(&self, check: &mut Checker) {
        check.optional(
            "workloadSelector",
            self.workload_selector.as_ref(),
            |check, selector| {
                check.field("labels", |check| check.labels(&selector.labels));
                if !self.target_refs.is_empty() {
                    check.error_hint("cannot stand beside targetRefs", "keep one of them");
                }
            },
        );
        check_targets(check, None, None, &self.target_refs);
        check.each("configPatches", &self.config_patches, |check, patch| {
            patch.check(check);
        });
    }
}

impl ConfigPatch {
    fn check(&self, check: &mut Checker) {
        if self.apply_to == ApplyTo::Invalid {
            check.field("applyTo", |check| {
                check.error_hint("is required", "say what is patched, such as HTTP_FILTER");
            });
        }
        check.optional("match", self.matches.as_ref(), |check, place| {
            let set = [
                place.listener.is_some(),
                place.route_configuration.is_some(),
                place.cluster.is_some(),
                place.waypoint.is_some(),
            ];
            if count(set) > 1 {
                check.error_hint(
                    "names several places",
                    "keep one of listener, routeConfiguration, cluster and waypoint",
                );
            }
        });
        let operation = self.patch.as_ref().map(|patch| patch.operation);
        match operation {
            None => check.field("patch", |check| check.error("is required")),
            Some(PatchOperation::Invalid) => check.field("patch", |check| {
                check.field("operation", |check| {
                    check.error_hint("is required", "say what is done, such as MERGE");
                });
            }),
            Some(_) => {}
        }
    }
}
