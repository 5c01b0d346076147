//! Rules of a DestinationRule: subsets, overlays and load balancing.

use std::collections::BTreeSet;

use super::names::HostForm;
use super::{Checker, Validate, count};
use crate::destination_rule::{
    ConsistentHash, DestinationRuleSpec, LoadBalancerSettings, LocalityLoadBalancerSetting,
    PortTrafficPolicy, SimpleLoadBalancer, TrafficPolicy, TunnelSettings,
};

const MAX_MAGLEV_TABLE: u64 = 5_000_011;
const MAX_RING: u64 = 8 << 20;

impl Validate for DestinationRuleSpec {
    fn validate(&self, check: &mut Checker) {
        check.field("host", |check| {
            check.host(&self.host, HostForm::AnyWildcard);
        });
        check.optional(
            "trafficPolicy",
            self.traffic_policy.as_ref(),
            |check, policy| {
                policy.check(check);
            },
        );
        let mut names = BTreeSet::new();
        check.each("subsets", &self.subsets, |check, subset| {
            check.field("name", |check| {
                check.label_name(&subset.name);
                if !names.insert(subset.name.clone()) {
                    let hint = "give each subset a name of its own";
                    check.error_hint(format!("{:?} is used twice", subset.name), hint);
                }
            });
            check.field("labels", |check| check.labels(&subset.labels));
            check.optional(
                "trafficPolicy",
                subset.traffic_policy.as_ref(),
                |check, policy| {
                    policy.check(check);
                },
            );
        });
        check.export_to(&self.export_to, false);
        check.optional(
            "workloadSelector",
            self.workload_selector.as_ref(),
            |check, selector| {
                check.field("matchLabels", |check| check.labels(&selector.match_labels));
            },
        );
    }
}

impl TrafficPolicy {
    fn check(&self, check: &mut Checker) {
        check.optional("loadBalancer", self.load_balancer.as_ref(), |check, one| {
            one.check(check);
        });
        check.optional(
            "connectionPool",
            self.connection_pool.as_ref(),
            |check, one| {
                one.check(check);
            },
        );
        check.optional(
            "outlierDetection",
            self.outlier_detection.as_ref(),
            |check, one| {
                one.check(check);
            },
        );
        check.optional("tls", self.tls.as_ref(), |check, one| one.check(check));
        let mut ports = BTreeSet::new();
        check.each(
            "portLevelSettings",
            &self.port_level_settings,
            |check, one| {
                one.check(check, &mut ports);
            },
        );
        check.optional("tunnel", self.tunnel.as_ref(), check_tunnel);
        check.optional(
            "retryBudget",
            self.retry_budget.as_ref(),
            |check, budget| {
                check.optional("percent", budget.percent.as_ref(), |check, percent| {
                    check.within(*percent, 0.0, 100.0);
                });
            },
        );
    }
}

impl PortTrafficPolicy {
    fn check(&self, check: &mut Checker, ports: &mut BTreeSet<u16>) {
        match &self.port {
            None => check.field("port", |check| {
                check.error_hint("is required", "set port: {number: N}");
            }),
            Some(port) => check.field("port", |check| {
                check.field("number", |check| {
                    check.port(port.number);
                    if !ports.insert(port.number) {
                        check.error_hint(
                            format!("{} is listed twice", port.number),
                            "keep one entry",
                        );
                    }
                });
            }),
        }
        check.optional("loadBalancer", self.load_balancer.as_ref(), |check, one| {
            one.check(check);
        });
        check.optional(
            "connectionPool",
            self.connection_pool.as_ref(),
            |check, one| {
                one.check(check);
            },
        );
        check.optional(
            "outlierDetection",
            self.outlier_detection.as_ref(),
            |check, one| {
                one.check(check);
            },
        );
        check.optional("tls", self.tls.as_ref(), |check, one| one.check(check));
    }
}

fn check_tunnel(check: &mut Checker, tunnel: &TunnelSettings) {
    check.field("targetHost", |check| {
        check.host(&tunnel.target_host, HostForm::Exact);
    });
    check.field("targetPort", |check| check.port(tunnel.target_port));
}

impl LoadBalancerSettings {
    fn check(&self, check: &mut Checker) {
        if self.simple.is_some() && self.consistent_hash.is_some() {
            check.error_hint("has both simple and consistentHash", "keep one of them");
        }
        if self.simple == Some(SimpleLoadBalancer::LeastConn) {
            check.field("simple", |check| {
                check.warn("LEAST_CONN is deprecated", "use LEAST_REQUEST");
            });
        }
        check.optional(
            "consistentHash",
            self.consistent_hash.as_ref(),
            |check, hash| {
                hash.check(check);
            },
        );
        if self.locality_lb_setting.is_some() && self.zone_aware_lb_setting.is_some() {
            check.error_hint(
                "has both localityLbSetting and zoneAwareLbSetting",
                "keep one of them",
            );
        }
        check.optional(
            "localityLbSetting",
            self.locality_lb_setting.as_ref(),
            |check, setting| {
                setting.check(check);
            },
        );
        self.check_warmup(check);
    }

    fn check_warmup(&self, check: &mut Checker) {
        if self.warmup_duration_secs.is_some() {
            check.field("warmupDurationSecs", |check| {
                check.warn("is deprecated", "use warmup: {duration: …}");
                if self.warmup.is_some() {
                    check.error_hint("cannot stand beside warmup", "keep warmup");
                }
            });
        }
        let ramps = matches!(
            self.simple,
            None | Some(
                SimpleLoadBalancer::Unspecified
                    | SimpleLoadBalancer::LeastConn
                    | SimpleLoadBalancer::LeastRequest
                    | SimpleLoadBalancer::RoundRobin
            )
        );
        let set = self.warmup.is_some() || self.warmup_duration_secs.is_some();
        if set && (self.consistent_hash.is_some() || !ramps) {
            check.field("warmup", |check| {
                check.error_hint("only works with ROUND_ROBIN and LEAST_REQUEST", "remove it");
            });
        }
        check.optional("warmup", self.warmup.as_ref(), |check, warmup| {
            check.optional(
                "minimumPercent",
                warmup.minimum_percent.as_ref(),
                |check, percent| {
                    check.within(*percent, 0.0, 100.0);
                },
            );
            check.optional(
                "aggression",
                warmup.aggression.as_ref(),
                |check, aggression| {
                    if !aggression.is_finite() || *aggression < 1.0 {
                        check.error_hint(format!("{aggression} is less than 1"), "use 1 or more");
                    }
                },
            );
        });
    }
}

impl ConsistentHash {
    fn check(&self, check: &mut Checker) {
        let keys = [
            self.http_header_name.is_some(),
            self.http_cookie.is_some(),
            self.use_source_ip == Some(true),
            self.http_query_parameter_name.is_some(),
        ];
        if count(keys) != 1 {
            check.error_hint(
                "needs exactly one key",
                "set one of httpHeaderName, httpCookie, useSourceIp: true and httpQueryParameterName",
            );
        }
        check.optional(
            "httpHeaderName",
            self.http_header_name.as_ref(),
            |check, name| {
                check.header_name(name);
            },
        );
        check.optional("httpCookie", self.http_cookie.as_ref(), |check, cookie| {
            check.field("name", |check| check.header_name(&cookie.name));
            check.optional("path", cookie.path.as_ref(), |check, path| {
                check.header_value(path);
            });
            check.each("attributes", &cookie.attributes, |check, attribute| {
                check.field("name", |check| check.header_name(&attribute.name));
                check.optional("value", attribute.value.as_ref(), |check, text| {
                    check.header_value(text);
                });
            });
        });
        if self.ring_hash.is_some() && self.maglev.is_some() {
            check.error_hint("has both ringHash and maglev", "keep one of them");
        }
        if self.minimum_ring_size.is_some() {
            check.field("minimumRingSize", |check| {
                check.warn("is deprecated", "use ringHash: {minimumRingSize: N}");
            });
        }
        let ring = self
            .ring_hash
            .as_ref()
            .and_then(|ring| ring.minimum_ring_size);
        if ring
            .or(self.minimum_ring_size)
            .is_some_and(|size| size > MAX_RING)
        {
            check.error_hint(
                format!("the ring has more than {MAX_RING} points"),
                "use a smaller ring",
            );
        }
        check.optional("maglev", self.maglev.as_ref(), |check, maglev| {
            check.field("tableSize", |check| match maglev.table_size {
                None => check.error_hint("is required", "use 65537"),
                Some(size) if size >= MAX_MAGLEV_TABLE || !is_prime(size) => {
                    let hint = "use a prime such as 65537";
                    check.error_hint(
                        format!("{size} is not a prime below {MAX_MAGLEV_TABLE}"),
                        hint,
                    );
                }
                Some(_) => {}
            });
        });
    }
}

impl LocalityLoadBalancerSetting {
    fn check(&self, check: &mut Checker) {
        if !self.distribute.is_empty()
            && (!self.failover.is_empty() || !self.failover_priority.is_empty())
        {
            let hint = "keep distribute, or failover with failoverPriority";
            check.error_hint(
                "distribute cannot stand beside failover and failoverPriority",
                hint,
            );
        }
        check.each("distribute", &self.distribute, |check, one| {
            let total: u64 = one.to.values().copied().map(u64::from).sum();
            if total != 100 {
                check.field("to", |check| {
                    check.error_hint(
                        format!("the shares add up to {total}"),
                        "they must add up to 100",
                    );
                });
            }
        });
        check.each("failover", &self.failover, |check, one| {
            if one.from == one.to {
                check.error_hint(
                    format!("{:?} fails over to itself", one.from),
                    "name another region",
                );
            }
        });
    }
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..=number.isqrt()).all(|factor| !number.is_multiple_of(factor))
}
