//! Rules of a Telemetry.

use super::request_authentication::check_targets;
use super::{Checker, Validate, count};
use crate::telemetry::{CustomTag, MetricsOverrides, ProviderRef, TagOperation, TelemetrySpec};

impl Validate for TelemetrySpec {
    fn validate(&self, check: &mut Checker) {
        check_targets(
            check,
            self.selector.as_ref(),
            self.target_ref.as_ref(),
            &self.target_refs,
        );
        check.each("tracing", &self.tracing, |check, tracing| {
            check_providers(check, &tracing.providers);
            if tracing.providers.len() > 1 {
                check.field("providers", |check| {
                    check.error_hint("only one is supported for tracing", "keep one of them");
                });
            }
            check.optional(
                "randomSamplingPercentage",
                tracing.random_sampling_percentage.as_ref(),
                |check, share| {
                    check.within(*share, 0.0, 100.0);
                },
            );
            check.field("customTags", |check| {
                for (name, tag) in &tracing.custom_tags {
                    check.field(name, |check| tag.check(check));
                }
            });
        });
        check.each("metrics", &self.metrics, |check, metrics| {
            check_providers(check, &metrics.providers);
            check.each("overrides", &metrics.overrides, |check, one| {
                one.check(check);
            });
        });
        check.each("accessLogging", &self.access_logging, |check, logging| {
            check_providers(check, &logging.providers);
            check.optional("filter", logging.filter.as_ref(), |check, filter| {
                if filter.expression.is_none() {
                    check.field("expression", |check| check.error("is required"));
                }
            });
        });
    }
}

fn check_providers(check: &mut Checker, providers: &[ProviderRef]) {
    check.each("providers", providers, |check, provider| {
        if provider.name.is_empty() {
            check.field("name", |check| check.error("is required"));
        }
    });
}

impl CustomTag {
    fn check(&self, check: &mut Checker) {
        let set = [
            self.literal.is_some(),
            self.environment.is_some(),
            self.header.is_some(),
            self.formatter.is_some(),
        ];
        if count(set) != 1 {
            check.error_hint(
                "needs exactly one source of its value",
                "set one of literal, environment, header and formatter",
            );
        }
        check.optional("header", self.header.as_ref(), |check, header| {
            check.field("name", |check| check.header_name(&header.name));
        });
        let texts = [
            (
                "literal",
                "value",
                self.literal.as_ref().map(|one| &one.value),
            ),
            (
                "formatter",
                "value",
                self.formatter.as_ref().map(|one| &one.value),
            ),
            (
                "environment",
                "name",
                self.environment.as_ref().map(|one| &one.name),
            ),
        ];
        for (source, field, text) in texts {
            if text.is_some_and(String::is_empty) {
                check.field(source, |check| {
                    check.field(field, |check| check.error("is required"));
                });
            }
        }
    }
}

impl MetricsOverrides {
    fn check(&self, check: &mut Checker) {
        check.optional("match", self.matches.as_ref(), |check, matches| {
            if matches.metric.is_some() && matches.custom_metric.is_some() {
                check.error_hint("has both metric and customMetric", "keep one of them");
            }
        });
        check.field("tagOverrides", |check| {
            for (name, tag) in &self.tag_overrides {
                check.field(name, |check| match (tag.operation, &tag.value) {
                    (TagOperation::Upsert, None) => {
                        check.error_hint("UPSERT needs a value", "set value, or operation: REMOVE");
                    }
                    (TagOperation::Remove, Some(_)) => {
                        check.error_hint("REMOVE takes no value", "remove value");
                    }
                    (TagOperation::Upsert, Some(_)) | (TagOperation::Remove, None) => {}
                });
            }
        });
    }
}
