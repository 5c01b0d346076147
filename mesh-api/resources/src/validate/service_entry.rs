//! Rules of a ServiceEntry: hosts, ports, and endpoints that fit the way they are found.

use std::collections::BTreeSet;

use super::names::HostForm;
use super::{Checker, Validate};
use crate::service_entry::{Resolution, ServiceEntrySpec};

const MAX_HOSTS: usize = 256;
const MAX_LISTED: usize = 256;
const MAX_ENDPOINTS: usize = 4096;
const PROTOCOLS: [&str; 8] = [
    "HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS",
];

impl Validate for ServiceEntrySpec {
    fn validate(&self, check: &mut Checker) {
        self.check_hosts(check);
        let blocks = matches!(self.resolution, Resolution::None | Resolution::Static);
        check.each("addresses", &self.addresses, |check, address| {
            check.subnet(address);
            if address.contains('/') && !blocks {
                check.error_hint(
                    format!("{address:?} is a block, which has no meaning with this resolution"),
                    "use resolution NONE or STATIC, or list single addresses",
                );
            }
        });
        check.at_most("addresses", &self.addresses, MAX_LISTED);
        check.at_most("ports", &self.ports, MAX_LISTED);
        check.at_most("endpoints", &self.endpoints, MAX_ENDPOINTS);
        self.check_ports(check);
        self.check_endpoints(check);
        check.export_to(&self.export_to, true);
    }
}

impl ServiceEntrySpec {
    fn check_hosts(&self, check: &mut Checker) {
        if self.hosts.is_empty() || self.hosts.len() > MAX_HOSTS {
            check.field("hosts", |check| {
                check.error(format!(
                    "needs 1 to {MAX_HOSTS} entries, has {}",
                    self.hosts.len()
                ));
            });
        }
        let lookup = matches!(self.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        let listed = !self.endpoints.is_empty();
        check.each("hosts", &self.hosts, |check, host| {
            check.host(host, HostForm::Wildcard);
            if lookup && !listed && host.starts_with('*') {
                let hint = "name the hosts, list endpoints, or use resolution NONE or DYNAMIC_DNS";
                check.error_hint(format!("{host:?} cannot be looked up"), hint);
            }
        });
    }

    fn check_ports(&self, check: &mut Checker) {
        let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
        check.each("ports", &self.ports, |check, port| {
            check.field("number", |check| {
                check.port(port.number);
                if !numbers.insert(port.number) {
                    check.error_hint(format!("{} is listed twice", port.number), "keep one entry");
                }
            });
            check.field("name", |check| {
                check.label_name(&port.name);
                if !names.insert(port.name.clone()) {
                    check.error_hint(
                        format!("{:?} is used twice", port.name),
                        "give each port a name of its own",
                    );
                }
            });
            check.optional("protocol", port.protocol.as_ref(), |check, protocol| {
                if !PROTOCOLS.contains(&protocol.to_uppercase().as_str()) {
                    let hint = format!("use one of {}", PROTOCOLS.join(", "));
                    check.error_hint(format!("{protocol:?} is not a protocol"), hint);
                }
            });
            let opaque = port
                .protocol
                .as_deref()
                .is_some_and(|p| p.eq_ignore_ascii_case("TCP"));
            if opaque && self.addresses.is_empty() {
                let hint = "add addresses so that only connections to them are meant";
                check.warn(
                    "without addresses a TCP port takes every connection to this number",
                    hint,
                );
            }
        });
    }

    fn check_endpoints(&self, check: &mut Checker) {
        if self.workload_selector.is_some() && !self.endpoints.is_empty() {
            check.error_hint(
                "has both endpoints and workloadSelector",
                "keep one of them",
            );
        }
        check.optional(
            "workloadSelector",
            self.workload_selector.as_ref(),
            |check, selector| {
                check.field("labels", |check| check.labels(&selector.labels));
                if self.resolution != Resolution::Static && self.resolution != Resolution::Dns {
                    check.warn(
                        "has no effect with this resolution",
                        "set resolution: STATIC to send calls to the workloads selected",
                    );
                } else if selector.labels.is_empty() {
                    check.warn(
                        "has no labels, so it selects every workload of the namespace",
                        "name the labels of the workloads meant",
                    );
                }
            },
        );
        match self.resolution {
            Resolution::Static if self.endpoints.is_empty() && self.workload_selector.is_none() => {
                check.field("resolution", |check| {
                    check.error_hint(
                        "STATIC needs endpoints or workloadSelector",
                        "add one of them",
                    );
                });
            }
            Resolution::None | Resolution::DynamicDns if !self.endpoints.is_empty() => {
                check.field("endpoints", |check| {
                    let hint = "set resolution: STATIC for addresses or DNS for names";
                    check.error_hint("have no meaning with this resolution", hint);
                });
            }
            Resolution::DnsRoundRobin if self.endpoints.len() > 1 => {
                check.field("endpoints", |check| {
                    let hint = "keep one, or use resolution DNS";
                    check.error_hint("DNS_ROUND_ROBIN looks up one name only", hint);
                });
            }
            Resolution::None
            | Resolution::Static
            | Resolution::Dns
            | Resolution::DnsRoundRobin
            | Resolution::DynamicDns => {}
        }
        let names_allowed = matches!(self.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        check.each("endpoints", &self.endpoints, |check, endpoint| {
            endpoint.check(check, names_allowed);
            check.field("ports", |check| {
                for name in endpoint
                    .ports
                    .keys()
                    .filter(|name| self.ports.iter().all(|port| port.name != **name))
                {
                    check.field(name, |check| {
                        check.error_hint(
                            "is not the name of a port of this service",
                            "use a name from ports",
                        );
                    });
                }
            });
        });
    }
}
