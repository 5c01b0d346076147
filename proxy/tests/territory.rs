//! Nobody is led through a proxy into its own machine: not to its own pages, nor to anything else
//! that listens on loopback, whether an endpoint says so or the answer of a name server.

#![cfg(test)]

#[path = "support/http.rs"]
mod http_support;
#[path = "support/log.rs"]
mod log;
#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/servers.rs"]
mod servers;
#[path = "support/shop.rs"]
mod shop;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mesh_api::cluster::ClusterEndpoints;
use mesh_api::endpoint::{Endpoint, EndpointAddress, EndpointSet, Health};
use mesh_api::name::EndpointsName;
use mesh_api::reserved::PROXY_PORTS;
use mesh_api::resource::Resource;
use mesh_api::units::Port;
use mesh_api::workload::{Labels, Locality, Peer};
use proxy::bootstrap::Settings;
use tokio::net::TcpListener;

use http_support::{Upstream, fetch};
use mesh::{TestProxy, free_address, tcp_listener};
use shop::{always, cluster, forward, http_listener, routes};

/// The address of a pod; nothing is bound to it.
const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// What the log says of a connection that is not made, after the flag.
const FORBIDDEN: &str = "upstream_address_forbidden";

/// What an endpoint may be made to lead to.
struct Machine {
    /// Where the proxy's own pages would be, and how many came there.
    pages: SocketAddr,
    visitors: Arc<AtomicUsize>,
    /// Another process on loopback.
    other: Upstream,
}

impl Machine {
    async fn new() -> Self {
        let mut socket = None;
        for port in PROXY_PORTS {
            // Another proxy of this machine may have one of them.
            if socket.is_none() {
                socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.ok();
            }
        }
        let socket = socket.unwrap();
        let pages = socket.local_addr().unwrap();
        let visitors = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&visitors);
        tokio::spawn(async move {
            while socket.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let other = Upstream::named("other").await;
        Self {
            pages,
            visitors,
            other,
        }
    }

    /// Every way to say one of the two, by the name of a host.
    fn endpoints(&self) -> Vec<(String, EndpointAddress)> {
        let mut all = Vec::new();
        for (what, address) in [("pages", self.pages), ("other", self.other.address)] {
            let port = Port::new(address.port()).unwrap();
            all.push((
                format!("static.{what}.test"),
                EndpointAddress::Socket(address),
            ));
            for (how, name) in [("localhost", "localhost"), ("digits", "127.0.0.1")] {
                let host = name.into();
                all.push((
                    format!("{how}.{what}.test"),
                    EndpointAddress::Name { host, port },
                ));
            }
        }
        all
    }

    fn visitors(&self) -> usize {
        self.visitors.load(Ordering::SeqCst)
    }
}

/// A service with one endpoint, and the rule that leads to it.
fn service(host: &str, address: EndpointAddress) -> [Resource; 3] {
    let set = EndpointsName {
        host: host.into(),
        port: Port::new(shop::PORT).unwrap(),
        claim: None,
    };
    let mut cluster = cluster(host);
    if matches!(address, EndpointAddress::Name { .. }) {
        cluster.endpoints = ClusterEndpoints::Dns {
            set: set.clone(),
            subset: Labels::default(),
            first_only: false,
        };
    }
    let endpoint = Endpoint {
        address,
        labels: Labels::default(),
        weight: 1,
        health: Health::Healthy,
        locality: Locality::default(),
        network: "".into(),
        mesh_tls: false,
        peer: Peer::default(),
    };
    let endpoints = EndpointSet {
        name: set,
        endpoints: vec![Arc::new(endpoint)],
    };
    let rule = always(forward(host));
    [
        cluster.into(),
        Resource::Endpoints(Arc::new(endpoints)),
        routes(host, vec![rule]),
    ]
}

/// A proxy at `address` that leads to all of these, by HTTP and as bytes.
struct Led {
    proxy: TestProxy,
    log: log::Written,
    http: SocketAddr,
    bytes: Vec<(String, SocketAddr)>,
}

impl Led {
    async fn to(machine: &Machine, address: IpAddr) -> Self {
        let settings = Settings {
            address,
            ..mesh::settings()
        };
        let (mut proxy, log) = log::start(settings);
        let http = free_address();
        let (mut resources, mut bytes) = (vec![http_listener(http)], Vec::new());
        for (host, endpoint) in machine.endpoints() {
            let bind = free_address();
            resources.extend(service(&host, endpoint));
            resources.push(tcp_listener(&host, bind, &host));
            bytes.push((host, bind));
        }
        proxy.apply(resources).await;
        Self {
            proxy,
            log,
            http,
            bytes,
        }
    }

    /// The line about the last request to a host.
    async fn line(&self, host: &str) -> String {
        let lines = self.log.lines(&self.proxy).await;
        let mut about = lines.into_iter().filter(|line| line.contains(host));
        about.next_back().unwrap()
    }
}

#[tokio::test]
async fn a_pods_proxy_connects_to_nothing_on_its_own_loopback() {
    let machine = Machine::new().await;
    let led = Led::to(&machine, POD).await;
    for (host, bytes) in &led.bytes {
        let reason = if host.contains("pages") {
            "the address is this proxy's own"
        } else {
            "cannot be connected to on behalf of others"
        };
        let answer = fetch(led.http, host, "/").await;
        assert_eq!(answer.status, 503, "{host}: {answer:?}");
        let line = led.line(host).await;
        assert!(line.contains(&format!(" 503 UH {FORBIDDEN} ")), "{line}");
        assert!(line.contains(reason), "{line}");

        let asked = servers::ask(*bytes, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(asked.is_err(), "{host}: {asked:?}");
        let line = led.line(host).await;
        assert!(line.contains(&format!(" 0 UH - {FORBIDDEN} ")), "{line}");
        assert!(line.contains(reason), "{line}");
    }
    assert_eq!((machine.visitors(), machine.other.connections()), (0, 0));
}

#[tokio::test]
async fn where_the_mesh_is_on_one_machine_only_the_pages_are_out_of_reach() {
    let machine = Machine::new().await;
    let led = Led::to(&machine, Ipv4Addr::LOCALHOST.into()).await;
    for (host, _) in &led.bytes {
        let answer = fetch(led.http, host, "/").await;
        let line = led.line(host).await;
        let refused = line.contains(&format!(" 503 UH {FORBIDDEN} "));
        assert_eq!(refused, host.contains("pages"), "{line}");
        // `localhost` may be ::1, where nobody listens.
        if !refused && !host.contains("localhost") {
            assert_eq!(answer.text(), "other", "{host}");
        }
    }
    assert_eq!(machine.visitors(), 0);
    assert!(machine.other.connections() > 0);
}
