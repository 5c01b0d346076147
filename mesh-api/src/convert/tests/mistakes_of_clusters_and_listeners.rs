//! Mistakes in clusters and listeners: every check there is, and where it points.

#![expect(
    clippy::unnecessary_wraps,
    reason = "the functions make what fields of messages hold, and those are options"
)]

use super::*;
use crate::proto::cluster::Endpoints;
use crate::proto::listener::{Bind, Kind};

fn time(seconds: u64) -> Option<proto::Duration> {
    Some(proto::Duration { seconds, nanos: 0 })
}

fn limits() -> proto::ConnectionLimits {
    proto::ConnectionLimits {
        connect_timeout: time(10),
        ..proto::ConnectionLimits::default()
    }
}

fn balancer(algorithm: proto::load_balancer::Algorithm) -> Option<proto::LoadBalancer> {
    Some(proto::LoadBalancer {
        algorithm: Some(algorithm),
    })
}

fn hash(algorithm: proto::consistent_hash::Algorithm) -> Option<proto::LoadBalancer> {
    let hash = proto::ConsistentHash {
        affinity: Some(proto::consistent_hash::Affinity::SourceIp(proto::Unit {})),
        algorithm: Some(algorithm),
    };
    balancer(proto::load_balancer::Algorithm::ConsistentHash(hash))
}

fn cluster() -> proto::Cluster {
    proto::Cluster {
        service: Some(proto::ServiceIdentity::default()),
        endpoints: Some(Endpoints::OriginalDestination(proto::Unit {})),
        protocol: proto::UpstreamProtocol::Http1.into(),
        balancer: balancer(proto::load_balancer::Algorithm::Random(proto::Unit {})),
        locality: Some(proto::LocalityPolicy {
            policy: Some(proto::locality_policy::Policy::Off(proto::Unit {})),
        }),
        limits: Some(limits()),
        tls: Some(proto::UpstreamTls {
            mode: Some(proto::upstream_tls::Mode::Plaintext(proto::Unit {})),
        }),
        retry_budget: Some(proto::RetryBudget::default()),
        ..proto::Cluster::default()
    }
}

fn distribute(percents: &[u32]) -> Option<proto::LocalityPolicy> {
    let shares = percents.iter().map(|percent| proto::LocalityShare {
        locality: "region".to_owned(),
        percent: *percent,
    });
    let rule = proto::LocalityDistribution {
        from: "*".to_owned(),
        to: shares.collect(),
    };
    Some(proto::LocalityPolicy {
        policy: Some(proto::locality_policy::Policy::Distribute(
            proto::Distribute { rules: vec![rule] },
        )),
    })
}

/// Changes a cluster so that it cannot be taken.
type SpoilCluster = fn(&mut proto::Cluster);

const CLUSTERS: &[(SpoilCluster, &str)] = &[
    (|cluster| cluster.service = None, "service"),
    (|cluster| cluster.endpoints = None, "endpoints"),
    (
        |cluster| {
            cluster.endpoints = Some(Endpoints::Discovered(proto::Discovered {
                set: "a:0".to_owned(),
                ..proto::Discovered::default()
            }));
        },
        "endpoints.discovered.set",
    ),
    (|cluster| cluster.protocol = 0, "protocol"),
    (|cluster| cluster.protocol = 77, "protocol"),
    (
        |cluster| {
            let maglev = proto::Maglev { table_size: 100 };
            cluster.balancer = hash(proto::consistent_hash::Algorithm::Maglev(maglev));
        },
        "balancer.algorithm.consistent_hash.algorithm.maglev.table_size",
    ),
    (
        |cluster| {
            let ring = proto::Ring {
                minimum_size: u64::MAX,
            };
            cluster.balancer = hash(proto::consistent_hash::Algorithm::Ring(ring));
        },
        "balancer.algorithm.consistent_hash.algorithm.ring.minimum_size",
    ),
    (
        |cluster| {
            let warmup = proto::Warmup {
                duration: time(1),
                minimum_ppm: 0,
                aggression_permille: 0,
            };
            let weighted = proto::Weighted {
                warmup: Some(warmup),
            };
            cluster.balancer = balancer(proto::load_balancer::Algorithm::RoundRobin(weighted));
        },
        "balancer.algorithm.round_robin.warmup.aggression_permille",
    ),
    (
        |cluster| cluster.locality = distribute(&[50, 51]),
        "locality.policy.distribute.rules[0].to",
    ),
    (
        |cluster| cluster.limits.as_mut().unwrap().connect_timeout = None,
        "limits.connect_timeout",
    ),
    (
        |cluster| {
            cluster.limits.as_mut().unwrap().http2_keepalive = Some(proto::Http2Keepalive {
                interval: time(0),
                timeout: time(1),
            });
        },
        "limits.http2_keepalive.interval",
    ),
    (
        |cluster| {
            cluster.outlier = Some(proto::OutlierDetection {
                interval: time(0),
                base_ejection_time: time(1),
                ..proto::OutlierDetection::default()
            });
        },
        "outlier.interval",
    ),
    (
        |cluster| cluster.tls = Some(proto::UpstreamTls::default()),
        "tls.mode",
    ),
    (
        |cluster| cluster.retry_budget.as_mut().unwrap().percent_ppm = 1_000_001,
        "retry_budget.percent_ppm",
    ),
    (|cluster| cluster.proxy_protocol = Some(9), "proxy_protocol"),
    (
        |cluster| cluster.tunnel = Some(proto::Tunnel::default()),
        "tunnel.target_host",
    ),
];

#[test]
fn mistakes_in_clusters_are_named_by_their_path() {
    const NAME: &str = "cluster/outbound|80||a";
    assert!(decode(&with_body(NAME, cluster().encode_to_vec())).is_ok());
    let mut full = cluster();
    full.locality = distribute(&[50, 50]);
    assert!(decode(&with_body(NAME, full.encode_to_vec())).is_ok());
    for (spoil, field) in CLUSTERS {
        let mut spoiled = cluster();
        spoil(&mut spoiled);
        assert_eq!(rejected(NAME, &spoiled).0, *field);
    }
}

fn socket(ip: &'static [u8], port: u32) -> Option<Bind> {
    Some(Bind::Socket(proto::SocketAddress {
        ip: Bytes::from_static(ip),
        port,
    }))
}

fn tcp(rule: proto::TcpRule) -> Option<Kind> {
    Some(Kind::Outbound(proto::Outbound {
        tcp: vec![rule],
        silence: proto::Silence::Bytes.into(),
        ..proto::Outbound::default()
    }))
}

fn listener() -> proto::Listener {
    proto::Listener {
        bind: socket(&[127, 0, 0, 1], 80),
        kind: Some(Kind::InboundCapture(proto::InboundCapture {
            policy: "inbound".to_owned(),
        })),
    }
}

/// Changes a listener so that it cannot be taken.
type SpoilListener = fn(&mut proto::Listener);

const LISTENERS: &[(SpoilListener, &str)] = &[
    (|listener| listener.bind = None, "bind"),
    (|listener| listener.kind = None, "kind"),
    (
        |listener| listener.bind = socket(&[127, 0, 0, 1], 0),
        "bind.socket.port",
    ),
    (
        |listener| listener.bind = socket(&[127], 80),
        "bind.socket.ip",
    ),
    (
        |listener| {
            listener.bind = Some(Bind::OriginalDestination(proto::OriginalDestination {
                block: None,
                port: 80,
            }));
        },
        "bind",
    ),
    (
        |listener| {
            let block = proto::Subnet {
                ip: Bytes::from_static(&[10, 0, 0, 1]),
                prefix_length: 8,
            };
            listener.bind = Some(Bind::OriginalDestination(proto::OriginalDestination {
                block: Some(block),
                port: 80,
            }));
        },
        "bind.original_destination.block",
    ),
    (
        |listener| {
            listener.kind = Some(Kind::OutboundCapture(proto::OutboundCapture {
                unmatched: 0,
            }));
        },
        "kind.outbound_capture.unmatched",
    ),
    (
        |listener| listener.kind = Some(Kind::Outbound(proto::Outbound::default())),
        "kind.outbound.silence",
    ),
    (
        |listener| listener.kind = tcp(proto::TcpRule::default()),
        "kind.outbound.tcp[0].destinations",
    ),
    (
        |listener| {
            let subnet = proto::Subnet {
                ip: Bytes::from_static(&[10, 0, 0, 0]),
                prefix_length: 33,
            };
            listener.kind = tcp(proto::TcpRule {
                destination_subnets: vec![subnet],
                destinations: Vec::new(),
            });
        },
        "kind.outbound.tcp[0].destination_subnets[0].prefix_length",
    ),
    (
        |listener| {
            listener.kind = Some(Kind::Inbound(proto::Inbound {
                port: 80,
                protocol: 1,
                target: Some(proto::inbound::Target::OriginalDestination(proto::Unit {})),
                policy: String::new(),
                limits: Some(limits()),
                service: None,
            }));
        },
        "kind.inbound.policy",
    ),
    (
        |listener| {
            listener.kind = Some(Kind::InboundCapture(proto::InboundCapture::default()));
        },
        "kind.inbound_capture.policy",
    ),
    (
        |listener| {
            listener.kind = Some(Kind::Gateway(proto::Gateway {
                policy: String::new(),
                protocol: Some(proto::gateway::Protocol::Tcp(proto::TcpRoutes::default())),
            }));
        },
        "kind.gateway.policy",
    ),
    (
        |listener| {
            let http = proto::GatewayHttp {
                scope: "443".to_owned(),
                https_redirect: vec!["a.b".to_owned(), "A.b".to_owned()],
            };
            listener.kind = Some(Kind::Gateway(proto::Gateway {
                policy: "gateway".to_owned(),
                protocol: Some(proto::gateway::Protocol::Http(http)),
            }));
        },
        "kind.gateway.protocol.http.https_redirect[1]",
    ),
    (
        |listener| {
            let http = proto::GatewayHttp {
                scope: "0".to_owned(),
                https_redirect: Vec::new(),
            };
            listener.kind = Some(Kind::Gateway(proto::Gateway {
                policy: "gateway".to_owned(),
                protocol: Some(proto::gateway::Protocol::Http(http)),
            }));
        },
        "kind.gateway.protocol.http.scope",
    ),
];

#[test]
fn mistakes_in_listeners_are_named_by_their_path() {
    assert!(decode(&with_body("listener/l", listener().encode_to_vec())).is_ok());
    for (spoil, field) in LISTENERS {
        let mut spoiled = listener();
        spoil(&mut spoiled);
        assert_eq!(rejected("listener/l", &spoiled).0, *field);
    }
}
