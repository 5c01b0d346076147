//! Rules of a Sidecar: listeners, imported hosts and endpoints.

use std::collections::BTreeSet;

use mesh_api::reserved::is_proxy_port;

use super::names::{HostForm, is_label};
use super::virtual_service::check_destination;
use super::{Checker, Validate};
use crate::sidecar::{
    EgressListener, IngressListener, ListenerCapture, OutboundTrafficMode, SidecarSpec,
};

impl Validate for SidecarSpec {
    fn validate(&self, check: &mut Checker) {
        check.optional(
            "workloadSelector",
            self.workload_selector.as_ref(),
            |check, selector| {
                check.field("labels", |check| check.labels(&selector.labels));
            },
        );
        let empty = self.ingress.is_empty()
            && self.egress.is_empty()
            && self.outbound_traffic_policy.is_none()
            && self.inbound_connection_pool.is_none();
        if empty {
            check.error_hint(
                "is empty",
                "set at least one of egress, ingress and outboundTrafficPolicy",
            );
        }
        let mut inbound = BTreeSet::new();
        check.each("ingress", &self.ingress, |check, listener| {
            listener.check(check);
            if !inbound.insert((listener.bind.clone(), listener.port.number)) {
                check.field("port", |check| {
                    check.error_hint(
                        format!("{} is listed twice", listener.port.number),
                        "keep one entry",
                    );
                });
            }
        });
        check.each("egress", &self.egress, |check, listener| {
            listener.check(check);
        });
        self.check_catch_all(check);
        check.optional(
            "inboundConnectionPool",
            self.inbound_connection_pool.as_ref(),
            |check, pool| {
                pool.check(check);
            },
        );
        check.optional(
            "outboundTrafficPolicy",
            self.outbound_traffic_policy.as_ref(),
            |check, policy| {
                check.optional(
                    "egressProxy",
                    policy.egress_proxy.as_ref(),
                    |check, proxy| {
                        check_destination(check, proxy);
                        if policy.mode != OutboundTrafficMode::AllowAny {
                            check.error_hint("needs mode ALLOW_ANY", "set mode: ALLOW_ANY");
                        }
                    },
                );
            },
        );
    }
}

impl SidecarSpec {
    /// An entry without a port takes what the others leave, so there is one, and it is the last.
    fn check_catch_all(&self, check: &mut Checker) {
        let last = self.egress.len().saturating_sub(1);
        let early = self
            .egress
            .iter()
            .take(last)
            .position(|listener| listener.port.is_none());
        if let Some(index) = early {
            check.field("egress", |check| {
                check.error_hint(
                    format!("entry {index} has no port and takes everything, but is not the last"),
                    "move it to the end, and keep only one of its kind",
                );
            });
        }
    }
}

impl IngressListener {
    fn check(&self, check: &mut Checker) {
        check.field("port", |check| {
            check.field("number", |check| check.port(self.port.number));
            check.optional("name", self.port.name.as_ref(), |check, name| {
                check.label_name(name);
            });
        });
        check.optional("bind", self.bind.as_ref(), |check, bind| {
            check.ip_address(bind);
        });
        check.optional(
            "defaultEndpoint",
            self.default_endpoint.as_ref(),
            |check, endpoint| {
                let legal = endpoint.strip_prefix("unix://").map_or_else(
                    || {
                        endpoint
                            .parse::<std::net::SocketAddr>()
                            .is_ok_and(|address| {
                                let ip = address.ip();
                                address.port() != 0 && (ip.is_loopback() || ip.is_unspecified())
                            })
                    },
                    |path| path.starts_with(['/', '@']) && !path.ends_with('/'),
                );
                let port = endpoint.parse::<std::net::SocketAddr>();
                if let Some(port) = port
                    .map(|one| one.port())
                    .ok()
                    .filter(|one| is_proxy_port(*one))
                {
                    check.error_hint(
                        format!("{port} is a port the proxy keeps for itself"),
                        "name the port the application listens on",
                    );
                }
                if !legal {
                    let hint = "write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT or unix:///path";
                    check.error_hint(
                        format!("{endpoint:?} is not an endpoint of this workload"),
                        hint,
                    );
                }
            },
        );
        check.optional("tls", self.tls.as_ref(), |check, tls| tls.check(check));
        check.optional(
            "connectionPool",
            self.connection_pool.as_ref(),
            |check, pool| pool.check(check),
        );
    }
}

impl EgressListener {
    fn check(&self, check: &mut Checker) {
        check.optional("port", self.port.as_ref(), |check, port| {
            check.field("number", |check| {
                let socket = self
                    .bind
                    .as_ref()
                    .is_some_and(|bind| bind.starts_with("unix://"));
                if !socket {
                    check.port(port.number);
                }
            });
        });
        check.optional("bind", self.bind.as_ref(), |check, bind| {
            if self.port.is_none() {
                check.error_hint("needs a port", "set port: {number: N}");
            }
            match bind.strip_prefix("unix://") {
                Some(_) if self.capture_mode == ListenerCapture::Iptables => {
                    check.error_hint("a socket path cannot be captured", "use captureMode: NONE");
                }
                Some(_) => {}
                None => check.ip_address(bind),
            }
        });
        if self.hosts.is_empty() {
            check.field("hosts", |check| {
                check.error_hint(
                    "is required",
                    "write \"./*\" for this namespace, \"*/*\" for all",
                );
            });
        }
        check.each("hosts", &self.hosts, |check, host| {
            let Some((namespace, name)) = host.split_once('/') else {
                check.error_hint(
                    format!("{host:?} has no namespace"),
                    "write namespace/name, such as ./* or */*",
                );
                return;
            };
            // `~ns/…` takes a namespace out again.
            let plain = namespace
                .strip_prefix('~')
                .filter(|rest| !rest.is_empty())
                .unwrap_or(namespace);
            if !matches!(plain, "*" | "." | "~") && !is_label(plain) {
                check.error_hint(
                    format!("{namespace:?} is not a namespace"),
                    "use *, ., ~ or a name",
                );
            }
            check.host(name, HostForm::AnyWildcard);
        });
    }
}
