//! Rules of a PeerAuthentication.

use super::{Checker, Validate};
use crate::peer_authentication::PeerAuthenticationSpec;

impl Validate for PeerAuthenticationSpec {
    fn validate(&self, check: &mut Checker) {
        check.optional("selector", self.selector.as_ref(), |check, selector| {
            check.field("matchLabels", |check| check.labels(&selector.match_labels));
        });
        check.field("portLevelMtls", |check| {
            let selects = self
                .selector
                .as_ref()
                .is_some_and(|selector| !selector.match_labels.is_empty());
            if !self.port_level_mtls.is_empty() && !selects {
                let hint = "add selector.matchLabels, since ports are those of single workloads";
                check.error_hint("needs a selector", hint);
            }
            if self.port_level_mtls.contains_key(&0) {
                check.port(0);
            }
        });
    }
}
