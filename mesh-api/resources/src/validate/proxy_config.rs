//! Rules of a ProxyConfig.

use super::{Checker, Validate};
use crate::proxy_config::ProxyConfigSpec;

impl Validate for ProxyConfigSpec {
    fn validate(&self, check: &mut Checker) {
        check.optional("selector", self.selector.as_ref(), |check, selector| {
            check.field("matchLabels", |check| check.labels(&selector.match_labels));
        });
        if self.concurrency.is_some_and(|threads| threads < 0) {
            check.field("concurrency", |check| {
                check.error_hint("is less than 0", "use 0 for one thread per core");
            });
        }
    }
}
