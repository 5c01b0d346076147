//! Strategies that make any resource there can be, for property tests.

mod cluster;
mod listener;
mod route;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::endpoint::{Endpoint, EndpointAddress, EndpointSet, Health};
use crate::name::{
    Claim, ClusterName, EndpointsName, ListenerName, PolicyName, RouteScope, RoutesName,
    SettingsName, WorkloadName,
};
use crate::policy::{Policy, PolicyRule};
use crate::resource::Resource;
use crate::route::{Domain, NormalForm};
use crate::settings::{AccessLogMode, ProxySettings};
use crate::units::{PartsPerMillion, Port};
use crate::workload::{Labels, Locality, Peer, ServiceIdentity, Workload, WorkloadId};

/// A resource of any kind.
pub(crate) fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        settings().prop_map(Resource::from),
        workload().prop_map(Resource::from),
        policy().prop_map(Resource::from),
        endpoint_set().prop_map(Resource::from),
        cluster().prop_map(Resource::from),
        virtual_host().prop_map(Resource::from),
        listener().prop_map(Resource::from),
    ]
    .boxed()
}

pub(crate) fn settings() -> impl Strategy<Value = ProxySettings> {
    let paths = prop::sample::select(vec![
        NormalForm::AsGiven,
        NormalForm::Base,
        NormalForm::MergeSlashes,
        NormalForm::DecodeAndMergeSlashes,
    ]);
    let access_log = prop::sample::select(vec![
        AccessLogMode::Off,
        AccessLogMode::Text,
        AccessLogMode::Json,
    ]);
    let idle = (option::of(positive_time()), option::of(positive_time()));
    (paths, option::of(time()), option::of(access_log), idle)
        .prop_map(
            |(paths, detection_timeout, access_log, idle)| ProxySettings {
                name: SettingsName,
                paths,
                detection_timeout,
                access_log,
                stream_idle_timeout: idle.0,
                idle_timeout: idle.1,
            },
        )
        .boxed()
}

pub(crate) fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-z]{0,6}", "\\PC{0,5}"]
        .prop_map(Arc::from)
        .boxed()
}

pub(crate) fn word() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z0-9-]{0,7}".prop_map(Arc::from).boxed()
}

pub(crate) fn host() -> impl Strategy<Value = Arc<str>> {
    "[a-z]{1,5}(\\.[a-z]{1,4}){0,3}".prop_map(Arc::from).boxed()
}

/// Text a header value may contain.
pub(crate) fn visible() -> impl Strategy<Value = Arc<str>> {
    "[ -~]{0,10}".prop_map(Arc::from).boxed()
}

pub(crate) fn port() -> impl Strategy<Value = Port> {
    (1..=u16::MAX)
        .prop_map(|port| Port::new(port).unwrap())
        .boxed()
}

pub(crate) fn share() -> impl Strategy<Value = PartsPerMillion> {
    (0..=1_000_000_u32)
        .prop_map(|parts| PartsPerMillion::new(parts).unwrap())
        .boxed()
}

pub(crate) fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..100_000_u64).prop_map(Duration::from_millis),
        (0..=315_576_000_000_u64, 0..1_000_000_000_u32)
            .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
    ]
    .boxed()
}

pub(crate) fn positive_time() -> impl Strategy<Value = Duration> {
    time()
        .prop_map(|time| time.max(Duration::from_nanos(1)))
        .boxed()
}

pub(crate) fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
    .boxed()
}

pub(crate) fn socket() -> impl Strategy<Value = SocketAddr> {
    (ip(), port())
        .prop_map(|(ip, port)| SocketAddr::new(ip, port.value()))
        .boxed()
}

pub(crate) fn subnet() -> impl Strategy<Value = IpNet> {
    (ip(), 0..=128_u8)
        .prop_map(|(ip, length)| {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            IpNet::new(ip, length.min(longest)).unwrap()
        })
        .boxed()
}

pub(crate) fn status() -> impl Strategy<Value = StatusCode> {
    (200..600_u16)
        .prop_map(|status| StatusCode::from_u16(status).unwrap())
        .boxed()
}

pub(crate) fn header_name() -> impl Strategy<Value = HeaderName> {
    "[a-z][a-z0-9-]{0,9}"
        .prop_map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap())
        .boxed()
}

pub(crate) fn header_value() -> impl Strategy<Value = HeaderValue> {
    vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff], 0..10)
        .prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
        .boxed()
}

pub(crate) fn domain() -> impl Strategy<Value = Domain> {
    prop_oneof![
        8 => host().prop_map(Domain::Exact),
        2 => host().prop_map(|host| Domain::Suffix(Arc::from(format!(".{host}")))),
        1 => Just(Domain::Any),
    ]
    .boxed()
}

pub(crate) fn scope() -> impl Strategy<Value = RouteScope> {
    (port(), option::of("[a-z]{1,4}(\\.[a-z]{1,3})?"))
        .prop_map(|(port, server)| RouteScope {
            port,
            server: server.map(Arc::from),
        })
        .boxed()
}

pub(crate) fn labels() -> impl Strategy<Value = Labels> {
    btree_map(text(), text(), 0..3).boxed()
}

pub(crate) fn service() -> impl Strategy<Value = ServiceIdentity> {
    (text(), text(), text())
        .prop_map(|(host, name, namespace)| ServiceIdentity {
            host,
            name,
            namespace,
        })
        .boxed()
}

pub(crate) fn cluster_name() -> impl Strategy<Value = ClusterName> {
    prop_oneof![
        6 => (port(), option::of(word()), host())
            .prop_map(|(port, subset, host)| ClusterName::Outbound { port, subset, host }),
        1 => port().prop_map(|port| ClusterName::Inbound { port }),
        1 => Just(ClusterName::Passthrough),
        1 => Just(ClusterName::BlackHole),
        1 => Just(ClusterName::InboundPassthrough),
    ]
    .boxed()
}

pub(crate) fn endpoints_name() -> impl Strategy<Value = EndpointsName> {
    let claim = ("[a-z]{1,4}", "[a-z.]{1,4}").prop_map(|(namespace, name)| Claim {
        namespace: namespace.into(),
        name: name.into(),
    });
    (host(), port(), option::of(claim))
        .prop_map(|(host, port, claim)| EndpointsName { host, port, claim })
        .boxed()
}

pub(crate) fn routes_name() -> impl Strategy<Value = RoutesName> {
    let pattern = prop_oneof![
        4 => host(),
        1 => host().prop_map(|host| Arc::from(format!("*.{host}"))),
        1 => Just(Arc::from("*")),
    ];
    (scope(), pattern)
        .prop_map(|(scope, host)| RoutesName { scope, host })
        .boxed()
}

pub(crate) fn policy_name() -> impl Strategy<Value = PolicyName> {
    "[a-z]{1,6}(/[0-9]{1,4})?"
        .prop_map(|name| PolicyName(Arc::from(name)))
        .boxed()
}

pub(crate) fn listener_name() -> impl Strategy<Value = ListenerName> {
    "[a-z0-9._-]{1,10}"
        .prop_map(|name| ListenerName(Arc::from(name)))
        .boxed()
}

fn locality() -> impl Strategy<Value = Locality> {
    (text(), text(), text())
        .prop_map(|(region, zone, subzone)| Locality {
            region,
            zone,
            subzone,
        })
        .boxed()
}

fn peer() -> impl Strategy<Value = Peer> {
    [
        text(),
        text(),
        text(),
        text(),
        text(),
        text(),
        text(),
        text(),
    ]
    .prop_map(
        |[
            workload,
            namespace,
            service_account,
            app,
            version,
            cluster,
            canonical_service,
            canonical_revision,
        ]| Peer {
            workload,
            namespace,
            service_account,
            app,
            version,
            cluster,
            canonical_service,
            canonical_revision,
        },
    )
    .boxed()
}

pub(crate) fn workload() -> impl Strategy<Value = Workload> {
    let id = (word(), word()).prop_map(|(namespace, name)| WorkloadId { namespace, name });
    (ip(), id, peer(), locality(), labels())
        .prop_map(|(address, id, peer, locality, labels)| Workload {
            name: WorkloadName(address),
            id,
            peer,
            locality,
            labels,
        })
        .boxed()
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let rule = prop_oneof![
        Just(PolicyRule::Allow),
        text().prop_map(|reason| PolicyRule::Refuse { reason }),
    ];
    let ports = btree_map(port(), rule.clone(), 0..4);
    (policy_name(), rule, ports)
        .prop_map(|(name, elsewhere, ports)| Policy {
            name,
            elsewhere,
            ports,
        })
        .boxed()
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let address = prop_oneof![
        socket().prop_map(EndpointAddress::Socket),
        (host(), port()).prop_map(|(host, port)| EndpointAddress::Name { host, port }),
    ];
    (
        address,
        labels(),
        1..=u32::MAX,
        prop_oneof![Just(Health::Healthy), Just(Health::Draining)],
        locality(),
        text(),
        any::<bool>(),
        peer(),
    )
        .prop_map(
            |(address, labels, weight, health, locality, network, mesh_tls, peer)| Endpoint {
                address,
                labels,
                weight,
                health,
                locality,
                network,
                mesh_tls,
                peer,
            },
        )
        .boxed()
}

pub(crate) fn endpoint_set() -> impl Strategy<Value = EndpointSet> {
    (endpoints_name(), vec(endpoint(), 0..5))
        .prop_map(|(name, mut endpoints)| {
            endpoints.sort_by(|a, b| a.address.cmp(&b.address));
            endpoints.dedup_by(|a, b| a.address == b.address);
            EndpointSet {
                name,
                endpoints: endpoints.into_iter().map(Arc::new).collect(),
            }
        })
        .boxed()
}

pub(crate) use cluster::cluster;
pub(crate) use listener::listener;
pub(crate) use route::virtual_host;
