//! Any cluster.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::{
    cluster_name, endpoints_name, labels, port, positive_time, service, share, text, time, word,
};
use crate::cluster::{
    Affinity, Cluster, ClusterEndpoints, ConnectionLimits, ConsistentHash, CookieAttribute,
    Failover, HashAlgorithm, Http2Keepalive, LoadBalancer, LocalityDistribution, LocalityPolicy,
    OutlierDetection, ProxyProtocol, RetryBudget, TcpKeepalive, TlsIdentity, Tunnel,
    UpstreamProtocol, UpstreamTls, Warmup,
};

pub(crate) fn cluster() -> impl Strategy<Value = Cluster> {
    let how = (
        prop_oneof![
            Just(UpstreamProtocol::Http1),
            Just(UpstreamProtocol::Http2),
            Just(UpstreamProtocol::MatchDownstream),
            Just(UpstreamProtocol::Tcp),
        ],
        balancer(),
        locality_policy(),
        limits(),
        option::of(outlier()),
        tls(),
    );
    let more = (
        (share(), any::<u32>()).prop_map(|(percent, min_concurrency)| RetryBudget {
            percent,
            min_concurrency,
        }),
        option::of(prop_oneof![
            Just(ProxyProtocol::V1),
            Just(ProxyProtocol::V2)
        ]),
        option::of(
            (any::<bool>(), word(), port()).prop_map(|(post, target_host, target_port)| Tunnel {
                post,
                target_host,
                target_port,
            }),
        ),
    );
    (cluster_name(), service(), endpoints(), how, more)
        .prop_map(
            |(
                name,
                service,
                endpoints,
                (protocol, balancer, locality, limits, outlier, tls),
                (retry_budget, proxy_protocol, tunnel),
            )| Cluster {
                name,
                service,
                endpoints,
                protocol,
                balancer,
                locality,
                limits,
                outlier,
                tls,
                retry_budget,
                proxy_protocol,
                tunnel,
            },
        )
        .boxed()
}

fn endpoints() -> impl Strategy<Value = ClusterEndpoints> {
    prop_oneof![
        (endpoints_name(), labels())
            .prop_map(|(set, subset)| ClusterEndpoints::Discovered { set, subset }),
        Just(ClusterEndpoints::OriginalDestination),
        (endpoints_name(), labels(), any::<bool>()).prop_map(|(set, subset, first_only)| {
            ClusterEndpoints::Dns {
                set,
                subset,
                first_only,
            }
        }),
        super::route::response().prop_map(ClusterEndpoints::Refused),
    ]
    .boxed()
}

fn balancer() -> impl Strategy<Value = LoadBalancer> {
    let warmup = || {
        option::of((time(), share(), 1..=u32::MAX).prop_map(
            |(duration, minimum, aggression_permille)| Warmup {
                duration,
                minimum,
                aggression_permille,
            },
        ))
    };
    let algorithm = prop_oneof![
        (0..=8_388_608_u64).prop_map(|minimum_size| HashAlgorithm::Ring { minimum_size }),
        prop::sample::select(vec![2_u64, 3, 101, 65_537, 5_000_011])
            .prop_map(|table_size| HashAlgorithm::Maglev { table_size }),
    ];
    prop_oneof![
        warmup().prop_map(|warmup| LoadBalancer::LeastRequest { warmup }),
        warmup().prop_map(|warmup| LoadBalancer::RoundRobin { warmup }),
        Just(LoadBalancer::Random),
        Just(LoadBalancer::Passthrough),
        (affinity(), algorithm).prop_map(|(affinity, algorithm)| {
            LoadBalancer::ConsistentHash(ConsistentHash {
                affinity,
                algorithm,
            })
        }),
    ]
    .boxed()
}

fn affinity() -> impl Strategy<Value = Affinity> {
    let attribute = (word(), text()).prop_map(|(name, value)| CookieAttribute { name, value });
    prop_oneof![
        word().prop_map(Affinity::Header),
        (
            word(),
            option::of(text()),
            option::of(time()),
            vec(attribute, 0..3)
        )
            .prop_map(|(name, path, ttl, attributes)| Affinity::Cookie {
                name,
                path,
                ttl,
                attributes,
            }),
        Just(Affinity::SourceIp),
        word().prop_map(Affinity::QueryParameter),
    ]
    .boxed()
}

fn locality_policy() -> impl Strategy<Value = LocalityPolicy> {
    let failover =
        (vec((text(), text()), 0..3), vec(text(), 0..3)).prop_map(|(regions, label_priority)| {
            Failover {
                regions,
                label_priority,
            }
        });
    let distribution = (text(), btree_map(text(), 0..=50_u32, 0..3)).prop_map(|(from, to)| {
        let mut to: Vec<_> = to.into_iter().take(2).collect();
        let rest = 100 - to.iter().map(|(_, percent)| percent).sum::<u32>();
        to.push(("rest".into(), rest));
        LocalityDistribution { from, to }
    });
    prop_oneof![
        Just(LocalityPolicy::Off),
        failover.prop_map(LocalityPolicy::Failover),
        vec(distribution, 0..3).prop_map(LocalityPolicy::Distribute),
    ]
    .boxed()
}

pub(super) fn limits() -> impl Strategy<Value = ConnectionLimits> {
    let number = || option::of(any::<u32>());
    let keepalive =
        (number(), option::of(time()), option::of(time())).prop_map(|(probes, time, interval)| {
            TcpKeepalive {
                probes,
                time,
                interval,
            }
        });
    let ping = (positive_time(), time())
        .prop_map(|(interval, timeout)| Http2Keepalive { interval, timeout });
    let times = [option::of(time()), option::of(time()), option::of(time())];
    let numbers = [number(), number(), number(), number(), number(), number()];
    (
        time(),
        option::of(keepalive),
        times,
        numbers,
        option::of(ping),
    )
        .prop_map(
            |(connect_timeout, keepalive, times, numbers, http2_keepalive)| {
                let [max_connection_duration, tcp_idle_timeout, http_idle_timeout] = times;
                let [
                    max_connections,
                    max_pending_requests,
                    max_requests,
                    max_requests_per_connection,
                    max_retries,
                    max_concurrent_streams,
                ] = numbers;
                ConnectionLimits {
                    max_connections,
                    connect_timeout,
                    keepalive,
                    max_connection_duration,
                    tcp_idle_timeout,
                    max_pending_requests,
                    max_requests,
                    max_requests_per_connection,
                    max_retries,
                    http_idle_timeout,
                    max_concurrent_streams,
                    http2_keepalive,
                }
            },
        )
        .boxed()
}

fn outlier() -> impl Strategy<Value = OutlierDetection> {
    (
        any::<u32>(),
        any::<u32>(),
        option::of(any::<u32>()),
        positive_time(),
        time(),
        share(),
        share(),
    )
        .prop_map(
            |(
                consecutive_5xx,
                consecutive_gateway_errors,
                consecutive_local_failures,
                interval,
                base_ejection_time,
                max_ejection,
                min_health,
            )| OutlierDetection {
                consecutive_5xx,
                consecutive_gateway_errors,
                consecutive_local_failures,
                interval,
                base_ejection_time,
                max_ejection,
                min_health,
            },
        )
        .boxed()
}

fn tls() -> impl Strategy<Value = UpstreamTls> {
    let identity = || {
        let texts = [
            option::of(text()),
            option::of(text()),
            option::of(text()),
            option::of(text()),
            option::of(text()),
            option::of(text()),
        ];
        (texts, vec(text(), 0..3), any::<bool>()).prop_map(
            |(texts, subject_alt_names, insecure_skip_verify)| {
                let [
                    sni,
                    credential,
                    ca_certificates,
                    client_certificate,
                    private_key,
                    revocation_list,
                ] = texts;
                TlsIdentity {
                    sni,
                    subject_alt_names,
                    credential,
                    ca_certificates,
                    client_certificate,
                    private_key,
                    revocation_list,
                    insecure_skip_verify,
                }
            },
        )
    };
    prop_oneof![
        Just(UpstreamTls::Plaintext),
        (vec(text(), 0..3), option::of(text()))
            .prop_map(|(expect, sni)| UpstreamTls::Mesh { expect, sni }),
        identity().prop_map(UpstreamTls::Simple),
        identity().prop_map(UpstreamTls::Mutual),
    ]
    .boxed()
}
