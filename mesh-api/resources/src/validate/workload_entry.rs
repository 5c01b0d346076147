//! Rules of a WorkloadEntry, also where it stands as an endpoint of a ServiceEntry.

use super::names::{HostForm, is_label};
use super::{Checker, Validate};
use crate::workload_entry::WorkloadEntrySpec;

impl Validate for WorkloadEntrySpec {
    fn validate(&self, check: &mut Checker) {
        // A name is legal when a ServiceEntry with DNS resolution selects this workload.
        self.check(check, true);
    }
}

impl WorkloadEntrySpec {
    pub(super) fn check(&self, check: &mut Checker, names_allowed: bool) {
        match self.address.as_deref() {
            None if self.network.is_none() => {
                check.field("address", |check| {
                    check.error_hint("is required", "set an IP address");
                });
            }
            None => {}
            Some(address) => check.field("address", |check| {
                self.check_address(check, address, names_allowed);
            }),
        }
        self.check_but_address(check);
    }

    pub(super) fn check_but_address(&self, check: &mut Checker) {
        check.field("ports", |check| {
            for (name, port) in &self.ports {
                check.field(name, |check| {
                    check.label_name(name);
                    check.port(*port);
                });
            }
        });
        check.field("labels", |check| check.labels(&self.labels));
        check.optional("locality", self.locality.as_ref(), |check, locality| {
            if locality.split('/').count() > 3 || locality.split('/').any(str::is_empty) {
                check.error_hint(
                    format!("{locality:?} is not a locality"),
                    "write region/zone/subzone",
                );
            }
        });
        check.optional(
            "serviceAccount",
            self.service_account.as_ref(),
            |check, name| {
                if !name.split('.').all(is_label) {
                    check.error(format!("{name:?} is not the name of a service account"));
                }
            },
        );
    }

    fn check_address(&self, check: &mut Checker, address: &str, names_allowed: bool) {
        if let Some(path) = address.strip_prefix("unix://") {
            if !path.starts_with('/') && !path.starts_with('@') {
                check.error_hint(
                    format!("{address:?} is not an absolute path"),
                    "write unix:///path/to/socket",
                );
            } else if path.ends_with('/') {
                check.error_hint(
                    format!("{address:?} is a directory"),
                    "name the socket in it",
                );
            } else if !self.ports.is_empty() {
                check.error_hint("a socket path has no ports", "remove ports");
            }
        } else if names_allowed {
            check.host(address, HostForm::Exact);
        } else {
            check.ip_address(address);
        }
    }
}
