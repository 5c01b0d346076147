//! Rules of a VirtualService as a whole, and of its TLS and TCP routes.

use std::collections::BTreeMap;

use super::names::{HostForm, covers};
use super::{Checker, Validate};
use crate::virtual_service::{
    Destination, L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute,
    VirtualServiceSpec,
};

impl Validate for VirtualServiceSpec {
    fn validate(&self, check: &mut Checker) {
        let bound_to_mesh =
            self.gateways.is_empty() || self.gateways.iter().any(|gateway| gateway == "mesh");
        let form = if bound_to_mesh {
            HostForm::Wildcard
        } else {
            HostForm::AnyWildcard
        };
        check.each("hosts", &self.hosts, |check, host| check.host(host, form));
        self.check_overlap(check);
        check.each("gateways", &self.gateways, |check, name| {
            check.gateway_name(name);
        });
        check.export_to(&self.export_to, false);
        if self.http.is_empty() && self.tls.is_empty() && self.tcp.is_empty() {
            check.error_hint("has no routes", "add at least one of http, tls and tcp");
        }
        if self.hosts.is_empty() {
            self.check_delegate(check);
        }
        check.each("http", &self.http, |check, route| route.check(check));
        self.check_unreachable(check);
        self.check_repeated(check);
        check.each("tls", &self.tls, |check, route| {
            check_tls(check, route, &self.hosts);
        });
        check.each("tcp", &self.tcp, check_tcp);
    }
}

impl VirtualServiceSpec {
    fn check_overlap(&self, check: &mut Checker) {
        let mut earlier: Vec<String> = Vec::new();
        check.each("hosts", &self.hosts, |check, host| {
            if let Some(other) = earlier
                .iter()
                .find(|other| covers(other, host) || covers(host, other))
            {
                check.error_hint(
                    format!("{host:?} overlaps with {other:?}"),
                    "remove one of the two",
                );
            }
            earlier.push(host.clone());
        });
    }

    /// Without hosts this is a delegate: another VirtualService says for what it is used.
    fn check_delegate(&self, check: &mut Checker) {
        check.field("hosts", |check| {
            if !self.gateways.is_empty() || !self.tls.is_empty() || !self.tcp.is_empty() {
                check.error_hint(
                    "is empty, which makes this a delegate; a delegate has http routes only",
                    "name the hosts, or remove gateways, tls and tcp",
                );
            }
        });
        check.each("http", &self.http, |check, route| {
            if route.delegate.is_some() {
                check.field("delegate", |check| {
                    check.error_hint("a delegate cannot delegate again", "name the routes here");
                });
            }
        });
    }

    fn check_unreachable(&self, check: &mut Checker) {
        let Some(catch_all) = self.http.iter().position(|route| route.matches.is_empty()) else {
            return;
        };
        if catch_all + 1 < self.http.len() {
            check.field("http", |check| {
                check.warn(
                    format!("route {catch_all} has no match and takes every request; the routes after it are never reached"),
                    "move it to the end",
                );
            });
        }
    }
}

impl VirtualServiceSpec {
    /// A route all of whose matches stand in earlier routes gets no request.
    fn check_repeated(&self, check: &mut Checker) {
        let mut earlier: BTreeMap<String, usize> = BTreeMap::new();
        for (index, route) in self.http.iter().enumerate() {
            // What only has a meaning for logs and statistics is no difference.
            let matches = route.matches.iter().filter_map(|one| {
                let mut one = one.clone();
                one.name = None;
                one.stat_prefix = None;
                serde_json::to_string(&one).ok()
            });
            let matches: Vec<String> = matches.collect();
            let takers: Option<Vec<usize>> = matches
                .iter()
                .map(|one| earlier.get(one).copied())
                .collect();
            if let Some(taker) = takers.and_then(|takers| takers.first().copied()) {
                check.field("http", |check| {
                    check.warn(
                        format!("route {index} is never reached; route {taker} has the same match"),
                        "remove one of them, or change its match",
                    );
                });
            }
            for one in matches {
                earlier.entry(one).or_insert(index);
            }
        }
    }
}

fn check_tls(check: &mut Checker, route: &TlsRoute, hosts: &[String]) {
    if route.matches.is_empty() {
        check.field("match", |check| {
            check.error_hint("is required", "name the sniHosts");
        });
    }
    check.each("match", &route.matches, |check, one| {
        check_tls_match(check, one, hosts);
    });
    check_destinations(check, &route.route);
}

fn check_tls_match(check: &mut Checker, one: &TlsMatchAttributes, hosts: &[String]) {
    if one.sni_hosts.is_empty() {
        check.field("sniHosts", |check| check.error("is required"));
    }
    check.each("sniHosts", &one.sni_hosts, |check, name| {
        check.host(name, HostForm::AnyWildcard);
        if !hosts.iter().any(|host| covers(host, name)) {
            let hint = "add it to hosts, or use a name that one of the hosts covers";
            check.error_hint(format!("{name:?} is not covered by hosts"), hint);
        }
    });
    check.each(
        "destinationSubnets",
        &one.destination_subnets,
        |check, text| check.subnet(text),
    );
    check.field("sourceLabels", |check| check.labels(&one.source_labels));
    check.each("gateways", &one.gateways, |check, name| {
        check.gateway_name(name);
    });
}

fn check_tcp(check: &mut Checker, route: &TcpRoute) {
    check.each("match", &route.matches, check_l4_match);
    check_destinations(check, &route.route);
}

fn check_l4_match(check: &mut Checker, one: &L4MatchAttributes) {
    check.each(
        "destinationSubnets",
        &one.destination_subnets,
        |check, text| check.subnet(text),
    );
    check.optional("sourceSubnet", one.source_subnet.as_ref(), |check, text| {
        check.subnet(text);
    });
    check.field("sourceLabels", |check| check.labels(&one.source_labels));
    check.each("gateways", &one.gateways, |check, name| {
        check.gateway_name(name);
    });
}

fn check_destinations(check: &mut Checker, destinations: &[RouteDestination]) {
    if destinations.is_empty() {
        check.field("route", |check| {
            check.error_hint("is required", "name a destination");
        });
    }
    check.each("route", destinations, |check, one| {
        check.field("destination", |check| {
            check_destination(check, &one.destination);
        });
    });
    check_weights(check, destinations.iter().map(|one| one.weight));
}

/// Several destinations need at least one weight that is not 0.
pub(super) fn check_weights(check: &mut Checker, weights: impl ExactSizeIterator<Item = u32>) {
    let several = weights.len() > 1;
    let total: u64 = weights.map(u64::from).sum();
    if several && total == 0 {
        check.field("route", |check| {
            check.error_hint(
                "all weights are 0, so no destination gets anything",
                "set weight",
            );
        });
    }
    if total > u64::from(u32::MAX) {
        check.field("route", |check| {
            check.error_hint(
                "the weights add up to more than 4294967295",
                "use smaller weights",
            );
        });
    }
}

/// Rules of a destination, wherever it stands.
pub(super) fn check_destination(check: &mut Checker, destination: &Destination) {
    check.field("host", |check| {
        check.host(&destination.host, HostForm::Exact);
    });
    check.optional("subset", destination.subset.as_ref(), |check, name| {
        check.label_name(name);
    });
    check.optional("port", destination.port.as_ref(), |check, port| {
        check.field("number", |check| check.port(port.number));
    });
}
