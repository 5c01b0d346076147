//! A random mesh: what is declared, as the reference reads it and as the objects users write.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// The ports everything is at, so that services meet.
pub(crate) const PORTS: [u16; 4] = [80, 443, 5432, 8080];

/// Where calls go: Services, their workloads, what entries may claim, and elsewhere.
pub(crate) const DESTINATIONS: &[&str] = &[
    "10.96.0.1",
    "10.96.0.2",
    "10.96.0.3",
    "10.1.0.1",
    "10.1.0.2",
    "10.50.0.1",
    "10.50.7.1",
    "10.50.7.7",
    "10.60.0.1",
    "93.184.216.34",
    "fd50::7",
    "fd60::1",
    "::ffff:10.50.7.7",
];

const ENTRY_ADDRESSES: &[&str] = &[
    "10.50.0.0/16",
    "10.50.7.0/24",
    "10.50.7.7",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "fd50::/32",
    "fd50::7",
    // Those of Services and of workloads.
    "10.96.0.1",
    "10.96.0.2",
    "10.1.0.1",
    "10.96.0.0/16",
];
const SUBNETS: &[&str] = &["10.50.0.0/16", "10.50.7.0/24", "10.60.0.0/16", "10.0.0.0/8"];
const HOSTS: [&str; 8] = [
    "api.example.com",
    "www.example.com",
    "a.b.example.com",
    "example.com",
    "other.test",
    "*.example.com",
    "*.b.example.com",
    "*.test",
];
const NAMES: &[&str] = &[
    "api.example.com",
    "www.example.com",
    "a.b.example.com",
    "x.b.example.com",
    "b.example.com",
    "example.com",
    "other.test",
    "more.test",
    "nobody.invalid",
];
const NAMESPACES: [&str; 3] = ["a", "b", "c"];

/// The namespace of the client.
pub(crate) const HOME: &str = "a";

pub(crate) fn pick<T: Copy>(random: &mut StdRng, list: &[T]) -> T {
    *list.get(random.random_range(0..list.len())).unwrap()
}

/// What a port says it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http,
    Tls,
    Tcp,
    Undeclared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Service,
    Headless,
    /// `resolution: NONE`
    EntryWhereItWasGoing,
    /// `resolution: STATIC`
    Entry,
}

/// A service, or a service entry.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) namespace: &'static str,
    /// Minutes; smaller is older.
    pub(crate) created: u32,
    pub(crate) exported: bool,
    /// In full.
    pub(crate) host: String,
    pub(crate) ports: Vec<(u16, Speaks)>,
    /// Addresses and blocks; those of its workloads if it is headless.
    pub(crate) addresses: Vec<&'static str>,
}

/// A route of a virtual service of the client's namespace.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Server names; none for a TCP route.
    pub(crate) names: Vec<&'static str>,
    pub(crate) subnets: Vec<&'static str>,
    /// Host and port.
    pub(crate) to: (String, u16),
}

/// The TLS and TCP routes of a host at a port.
#[derive(Clone, Debug)]
pub(crate) struct Routed {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Vec<Route>,
    pub(crate) tcp: Vec<Route>,
}

#[derive(Clone, Debug)]
pub(crate) struct Town {
    pub(crate) registry_only: bool,
    pub(crate) declared: Vec<Declared>,
    pub(crate) routed: Vec<Routed>,
}

impl Town {
    pub(crate) fn random(random: &mut StdRng, registry_only: bool) -> Self {
        let mut declared = Vec::new();
        for number in 1..=random.random_range(1..=4) {
            declared.push(service(random, number));
        }
        let mut hosts: Vec<&str> = HOSTS.to_vec();
        for number in 0..random.random_range(0..=5) {
            let host = hosts.swap_remove(random.random_range(0..hosts.len()));
            declared.push(entry(random, number, host));
        }
        let mut routed: Vec<Routed> = Vec::new();
        for one in &declared {
            let is_tls = |(_, speaks): &&(u16, Speaks)| *speaks == Speaks::Tls;
            let is_tcp = |(_, speaks): &&(u16, Speaks)| *speaks == Speaks::Tcp;
            let (tls, tcp) = (one.ports.iter().find(is_tls), one.ports.iter().find(is_tcp));
            let Some((port, speaks)) = tls.or(tcp) else {
                continue;
            };
            // Routes lead to hosts, not to wildcards.
            let leads_somewhere = |one: &Declared| one.is_seen() && !one.host.starts_with('*');
            if declared.iter().any(leads_somewhere) && random.random_bool(0.4) {
                let routes = routes(random, &declared, one, *port, *speaks);
                if !routes.tls.is_empty() || !routes.tcp.is_empty() {
                    routed.push(routes);
                }
            }
        }
        Self {
            registry_only,
            declared,
            routed,
        }
    }

    /// A Host header that may mean something.
    pub(crate) fn host_header(&self, random: &mut StdRng) -> String {
        let services: Vec<&Declared> = self
            .declared
            .iter()
            .filter(|one| matches!(one.kind, Kind::Service | Kind::Headless))
            .collect();
        let service = services.get(random.random_range(0..services.len()));
        let service = service.copied().unwrap();
        let (name, namespace) = (&service.name, service.namespace);
        match random.random_range(0..9) {
            0 => service.host.clone(),
            1 => format!("{name}.{namespace}"),
            2 => name.clone(),
            3 => format!("{name}.{namespace}.svc"),
            4 => format!("web-0.{name}.{namespace}"),
            5 => pick(random, DESTINATIONS).to_owned(),
            _ => pick(random, NAMES).to_owned(),
        }
    }

    /// A server name that may mean something.
    pub(crate) fn server_name(&self, random: &mut StdRng) -> String {
        let one = self
            .declared
            .get(random.random_range(0..self.declared.len()));
        let host = &one.unwrap().host;
        if host.starts_with('*') || random.random_bool(0.6) {
            pick(random, NAMES).to_owned()
        } else {
            host.clone()
        }
    }

    /// The objects, with a pod for the client.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let mut objects = vec![json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "client", "namespace": HOME, "labels": {"app": "client"}},
            "status": {"podIP": "10.0.0.1"},
        })];
        for one in &self.declared {
            match one.kind {
                Kind::Service | Kind::Headless => objects.extend(one.as_service()),
                Kind::EntryWhereItWasGoing | Kind::Entry => objects.push(one.as_entry()),
            }
        }
        objects.extend(
            self.routed
                .iter()
                .enumerate()
                .map(|(at, one)| one.as_object(at)),
        );
        objects
    }
}

fn service(random: &mut StdRng, number: u32) -> Declared {
    let namespace = *NAMESPACES.get(random.random_range(0..3)).unwrap();
    let headless = random.random_bool(0.3);
    let name = format!("s{number}");
    Declared {
        kind: if headless {
            Kind::Headless
        } else {
            Kind::Service
        },
        host: format!("{name}.{namespace}.svc.cluster.local"),
        name,
        namespace,
        created: random.random_range(0..60),
        exported: random.random_bool(0.8),
        ports: ports(random),
        addresses: match (headless, number) {
            (true, 1..=2) => vec!["10.1.0.1", "10.1.0.2"],
            (true, _) => vec!["10.1.0.2"],
            (false, 1) => vec!["10.96.0.1"],
            (false, 2) => vec!["10.96.0.2"],
            (false, 3) => vec!["10.96.0.3", "fd60::1"],
            (false, _) => vec!["10.96.0.4"],
        },
    }
}

fn entry(random: &mut StdRng, number: u32, host: &str) -> Declared {
    let mut addresses = Vec::new();
    if random.random_bool(0.6) {
        for _ in 0..random.random_range(1..=2) {
            let address = pick(random, ENTRY_ADDRESSES);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Declared {
        kind: if host.starts_with('*') || random.random_bool(0.3) {
            Kind::EntryWhereItWasGoing
        } else {
            Kind::Entry
        },
        name: format!("e{number}"),
        namespace: NAMESPACES.get(random.random_range(0..3)).unwrap(),
        created: random.random_range(0..60),
        exported: random.random_bool(0.85),
        host: host.to_owned(),
        ports: ports(random),
        addresses,
    }
}

fn ports(random: &mut StdRng) -> Vec<(u16, Speaks)> {
    let mut ports = Vec::new();
    for number in PORTS {
        if random.random_bool(0.45) {
            let all = [Speaks::Http, Speaks::Tls, Speaks::Tcp, Speaks::Undeclared];
            ports.push((number, *all.get(random.random_range(0..4)).unwrap()));
        }
    }
    if ports.is_empty() {
        ports.push((443, Speaks::Tls));
    }
    ports
}

fn routes(
    random: &mut StdRng,
    declared: &[Declared],
    of: &Declared,
    port: u16,
    speaks: Speaks,
) -> Routed {
    let mut route = |names: Vec<&'static str>| {
        let count = random.random_range(0..=2);
        let mut subnets: Vec<&str> = (0..count).map(|_| pick(random, SUBNETS)).collect();
        subnets.sort_unstable();
        subnets.dedup();
        let targets: Vec<&Declared> = declared
            .iter()
            .filter(|one| one.is_seen() && !one.host.starts_with('*'))
            .collect();
        let to = targets.get(random.random_range(0..targets.len())).unwrap();
        Route {
            names,
            subnets,
            to: (to.host.clone(), to.ports.first().unwrap().0),
        }
    };
    let (mut tls, mut tcp) = (Vec::new(), Vec::new());
    match speaks {
        Speaks::Tls => {
            let within: &[&str] = match of.host.as_str() {
                "*.example.com" => &["*.example.com", "api.example.com", "*.b.example.com"],
                "*.b.example.com" => &["a.b.example.com", "*.b.example.com"],
                "*.test" => &["*.test", "other.test"],
                host => HOSTS
                    .iter()
                    .find(|known| **known == host)
                    .map_or(&[], std::slice::from_ref),
            };
            for name in within {
                tls.push(route(vec![name]));
            }
        }
        Speaks::Tcp => tcp.extend([route(Vec::new()), route(Vec::new())]),
        Speaks::Http | Speaks::Undeclared => {}
    }
    Routed {
        host: of.host.clone(),
        port,
        tls,
        tcp,
    }
}

impl Declared {
    /// Whether the client sees it.
    pub(crate) fn is_seen(&self) -> bool {
        self.exported || self.namespace == HOME
    }

    pub(crate) fn is_service(&self) -> bool {
        matches!(self.kind, Kind::Service | Kind::Headless)
    }

    fn metadata(&self) -> Value {
        json!({
            "name": self.name,
            "namespace": self.namespace,
            "creationTimestamp": format!("2024-01-01T00:{:02}:00Z", self.created),
        })
    }

    fn as_service(&self) -> Vec<Value> {
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|(number, speaks)| {
                let name = match speaks {
                    Speaks::Http => "http",
                    Speaks::Tls => "tls",
                    Speaks::Tcp => "tcp",
                    Speaks::Undeclared => "any",
                };
                json!({"name": format!("{name}-{number}"), "port": number})
            })
            .collect();
        let mut metadata = self.metadata();
        if !self.exported {
            metadata["annotations"] = json!({"networking.istio.io/exportTo": "."});
        }
        let headless = self.kind == Kind::Headless;
        let cluster_ip = match self.addresses.first() {
            Some(first) if !headless => first,
            _ => "None",
        };
        let mut spec = json!({
            "clusterIP": cluster_ip, "selector": {"app": self.name}, "ports": ports,
        });
        if !headless {
            spec["clusterIPs"] = json!(self.addresses);
        }
        let mut objects = vec![json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec,
        })];
        if headless {
            let endpoints: Vec<Value> = self
                .addresses
                .iter()
                .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
                .collect();
            objects.push(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": self.name, "namespace": self.namespace,
                    "labels": {"kubernetes.io/service-name": self.name},
                },
                "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
            }));
        }
        objects
    }

    fn as_entry(&self) -> Value {
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|(number, speaks)| {
                let protocol = match speaks {
                    Speaks::Http => "HTTP",
                    Speaks::Tls => "TLS",
                    Speaks::Tcp => "TCP",
                    Speaks::Undeclared => "",
                };
                json!({"name": format!("p-{number}"), "number": number, "protocol": protocol})
            })
            .collect();
        let mut spec = json!({
            "hosts": [self.host],
            "ports": ports,
            "exportTo": [if self.exported { "*" } else { "." }],
            "resolution": if self.kind == Kind::Entry { "STATIC" } else { "NONE" },
        });
        if !self.addresses.is_empty() {
            spec["addresses"] = json!(self.addresses);
        }
        if self.kind == Kind::Entry {
            spec["endpoints"] = json!([{"address": "10.9.0.1"}]);
        }
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": self.metadata(), "spec": spec,
        })
    }
}

impl Routed {
    fn as_object(&self, at: usize) -> Value {
        let to = |route: &Route| {
            let (host, port) = &route.to;
            json!([{"destination": {"host": host, "port": {"number": port}}}])
        };
        let subnets = |condition: &mut Value, route: &Route| {
            if !route.subnets.is_empty() {
                condition["destinationSubnets"] = json!(route.subnets);
            }
        };
        let tls: Vec<Value> = self
            .tls
            .iter()
            .map(|route| {
                let mut condition = json!({"port": self.port, "sniHosts": route.names});
                subnets(&mut condition, route);
                json!({"match": [condition], "route": to(route)})
            })
            .collect();
        let tcp: Vec<Value> = self
            .tcp
            .iter()
            .map(|route| {
                let mut condition = json!({"port": self.port});
                subnets(&mut condition, route);
                json!({"match": [condition], "route": to(route)})
            })
            .collect();
        let mut spec = json!({"hosts": [self.host]});
        if !tls.is_empty() {
            spec["tls"] = json!(tls);
        }
        if !tcp.is_empty() {
            spec["tcp"] = json!(tcp);
        }
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": format!("v{at}"), "namespace": HOME}, "spec": spec,
        })
    }
}
