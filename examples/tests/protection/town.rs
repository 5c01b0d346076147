//! The mesh of the matrix: one workload with its ports, a gateway, and the objects of a case.

use std::net::{IpAddr, Ipv4Addr};

use control_plane::compile::{CaptureMode, ProxyRole, ProxyScope, compile as compile_for};
use control_plane::model::{Change, MeshSettings, World};
use mesh_api::convert;
use mesh_api::resource::Resource;
use mesh_resources::decode;
use serde_json::{Value, json};

pub(crate) const MODES: [&str; 4] = ["STRICT", "PERMISSIVE", "DISABLE", "UNSET"];
/// Ports that have a mode of their own at level `Port`.
const PORTS: [u16; 5] = [7070, 8080, 8443, 8445, 9000];
/// Entries of the Sidecar that cannot be used.
const UNUSABLE: [u16; 2] = [8445, 8446];

/// Where somebody says something about protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// A PeerAuthentication of the root namespace.
    Mesh,
    /// One of the namespace.
    Namespace,
    /// One that selects the workload.
    Workload,
    /// The same, by port.
    Port,
    /// An AuthorizationPolicy of the root namespace.
    DenyMesh,
    /// One of the workload's namespace.
    DenyNamespace,
    /// One that selects the workload.
    DenyWorkload,
    /// One that selects the gateway.
    DenyGateway,
}

/// What the mesh says as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing.
    Open,
    /// STRICT.
    Strict,
}

/// Which proxy is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// A sidecar whose ports are those of a Service.
    Services,
    /// A sidecar whose ports are those of a Sidecar.
    Ingress,
    /// A gateway.
    Gateway,
}

impl Setup {
    pub(crate) const fn policy(self) -> &'static str {
        match self {
            Self::Services | Self::Ingress => "inbound",
            Self::Gateway => "gateway",
        }
    }

    pub(crate) fn address(self) -> IpAddr {
        match self {
            Self::Services | Self::Ingress => crate::redirected::POD.parse().unwrap(),
            Self::Gateway => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

/// One configuration.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    level: Level,
    mode: &'static str,
    base: Base,
}

impl Case {
    pub(crate) const fn new(level: Level, mode: &'static str, base: Base) -> Self {
        Self { level, mode, base }
    }

    /// Whether a port refuses: the rules, written down for this test.
    pub(crate) fn refuses(&self, setup: Setup, port: u16) -> bool {
        let denied = match self.level {
            Level::DenyMesh => true,
            Level::DenyNamespace | Level::DenyWorkload => setup != Setup::Gateway,
            Level::DenyGateway => setup == Setup::Gateway,
            Level::Mesh | Level::Namespace | Level::Workload | Level::Port => false,
        };
        if denied {
            return true;
        }
        if setup == Setup::Gateway {
            return false;
        }
        if setup == Setup::Ingress && UNUSABLE.contains(&port) {
            return true;
        }
        let concerned = match self.level {
            Level::Mesh | Level::Namespace | Level::Workload => true,
            Level::Port => PORTS.contains(&port),
            Level::DenyMesh | Level::DenyNamespace | Level::DenyWorkload | Level::DenyGateway => {
                false
            }
        };
        match self.mode {
            "STRICT" if concerned => true,
            "PERMISSIVE" | "DISABLE" if concerned => false,
            _ => self.base == Base::Strict,
        }
    }

    fn objects(&self) -> Vec<Value> {
        let security = |kind: &str, namespace: &str, name: &str, spec: Value| {
            json!({
                "apiVersion": "security.istio.io/v1", "kind": kind,
                "metadata": {"name": name, "namespace": namespace}, "spec": spec,
            })
        };
        let mode = |mode: &str| json!({"mode": mode});
        let peer =
            |namespace: &str, spec: Value| security("PeerAuthentication", namespace, "level", spec);
        let deny =
            |namespace: &str, spec: Value| security("AuthorizationPolicy", namespace, "deny", spec);
        let server = json!({"matchLabels": {"app": "server"}});
        let mut objects = Vec::new();
        if self.base == Base::Strict {
            let spec = json!({"mtls": mode("STRICT")});
            objects.push(security("PeerAuthentication", "istio-system", "base", spec));
        }
        objects.push(match self.level {
            Level::Mesh => peer("istio-system", json!({"mtls": mode(self.mode)})),
            Level::Namespace => peer("shop", json!({"mtls": mode(self.mode)})),
            Level::Workload => {
                let spec = json!({"selector": server, "mtls": mode(self.mode)});
                peer("shop", spec)
            }
            Level::Port => {
                let ports = PORTS.map(|port| (port.to_string(), mode(self.mode)));
                let ports = Value::Object(ports.into_iter().collect());
                peer("shop", json!({"selector": server, "portLevelMtls": ports}))
            }
            Level::DenyMesh => deny("istio-system", json!({"action": "DENY", "rules": [{}]})),
            Level::DenyNamespace => deny("shop", json!({})),
            Level::DenyWorkload => deny("shop", json!({"selector": server})),
            Level::DenyGateway => {
                let selector = json!({"matchLabels": {"istio": "ingressgateway"}});
                deny("edge", json!({"selector": selector}))
            }
        });
        objects
    }
}

fn pod(namespace: &str, name: &str, labels: &Value, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "status": {
            "podIP": address, "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "clusterIP": format!("10.96.0.{}", name.len()), "selector": {"app": name},
            "ports": [{"name": "http", "port": 8080}, {"name": "tcp-raw", "port": 9000}],
        },
    })
}

fn networking(kind: &str, namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": "one", "namespace": namespace}, "spec": spec,
    })
}

/// Everything but protection.
fn town(setup: Setup) -> Vec<Value> {
    let gateway_labels = json!({"istio": "ingressgateway"});
    let server = |number: u16, protocol: &str, tls: Value| {
        let port = json!({"number": number, "protocol": protocol, "name": format!("p{number}")});
        let mut written = json!({"port": port, "hosts": ["*"]});
        if !tls.is_null() {
            written["tls"] = tls;
        }
        written
    };
    let to = |port: u16| {
        json!([{"destination": {
            "host": "backend.shop.svc.cluster.local", "port": {"number": port},
        }}])
    };
    let simple = json!({"mode": "SIMPLE", "credentialName": "c"});
    let mut all = vec![
        pod(
            "shop",
            "server",
            &json!({"app": "server"}),
            crate::redirected::POD,
        ),
        pod(
            "shop",
            "backend",
            &json!({"app": "backend"}),
            crate::redirected::ELSEWHERE,
        ),
        pod("edge", "gateway", &gateway_labels, "10.66.0.4"),
        service("server"),
        service("backend"),
        networking(
            "Gateway",
            "edge",
            &json!({
                "selector": gateway_labels,
                "servers": [
                    server(8880, "HTTP", Value::Null),
                    server(8881, "TCP", Value::Null),
                    server(8882, "TLS", json!({"mode": "PASSTHROUGH"})),
                ],
            }),
        ),
        networking(
            "VirtualService",
            "edge",
            &json!({
                "hosts": ["*"], "gateways": ["one"],
                "http": [{"route": to(8080)}],
                "tcp": [{"match": [{"port": 8881}], "route": to(9000)}],
            }),
        ),
    ];
    let mut tls = networking(
        "VirtualService",
        "edge",
        &json!({
            "hosts": ["pass.example"], "gateways": ["one"],
            "tls": [{"match": [{"port": 8882, "sniHosts": ["pass.example"]}], "route": to(9000)}],
        }),
    );
    tls["metadata"]["name"] = json!("pass");
    all.push(tls);
    if setup == Setup::Ingress {
        let entry = |number: u16, protocol: &str| json!({"number": number, "protocol": protocol, "name": format!("p{number}")});
        all.push(networking("Sidecar", "shop", &json!({
            "workloadSelector": {"labels": {"app": "server"}},
            "ingress": [
                {"port": entry(8443, "HTTP"), "defaultEndpoint": "127.0.0.1:18443"},
                {"port": entry(8444, "TCP"), "defaultEndpoint": "127.0.0.1:18444"},
                {"port": entry(8445, "HTTPS"), "defaultEndpoint": "127.0.0.1:18443", "tls": simple},
                {"port": entry(8446, "HTTP"), "defaultEndpoint": "unix:///tmp/app"},
            ],
        })));
    }
    all
}

/// What the diagnostics say about ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    said: Vec<String>,
    everything: bool,
    but: Vec<u16>,
    ports: Vec<u16>,
}

impl Told {
    /// Whether a port is said to refuse.
    pub(crate) fn refuses(&self, port: u16) -> bool {
        self.ports.contains(&port) || (self.everything && !self.but.contains(&port))
    }

    fn hear(&mut self, message: &str, field: &str) {
        let numbers = |text: &str| -> Vec<u16> {
            let words = text.split(|letter: char| !letter.is_ascii_digit());
            words.filter_map(|word| word.parse().ok()).collect()
        };
        self.said.push(message.to_owned());
        if let Some((_, rest)) = message.split_once("what it protects refuses everything") {
            let (clause, _) = rest.split_once(": HTTP").unwrap();
            if let Some(ports) = clause.strip_prefix(" at ") {
                self.ports.extend(numbers(ports));
            } else {
                self.everything = true;
                self.but = numbers(clause);
            }
        } else if message.contains("the port refuses everything") {
            assert_eq!(field, "spec.ingress[3].defaultEndpoint");
            self.ports.push(8446);
        }
    }
}

/// What a proxy gets, and what is said about it.
pub(crate) fn compile(case: &Case, setup: Setup) -> (Vec<Resource>, Told) {
    let mut world = World::new(MeshSettings::default());
    let documents = town(setup).into_iter().chain(case.objects());
    world.apply(documents.map(|document| {
        let decoded = decode(document.clone());
        let object = decoded.object();
        let object = object.unwrap_or_else(|| panic!("{document}: {:?}", decoded.problems));
        Change::Applied(object.clone())
    }));
    let (workload, role) = match setup {
        Setup::Services | Setup::Ingress => ("shop/server", ProxyRole::Sidecar),
        Setup::Gateway => ("edge/gateway", ProxyRole::Gateway),
    };
    let capture = CaptureMode::OriginalDestination;
    let scope = ProxyScope::new(&world, &workload.parse().unwrap(), role, capture).unwrap();
    let compiled = compile_for(&world, &scope);
    let resources = compiled
        .iter()
        .map(|(_, encoded)| convert::decode(&encoded.to_wire()).unwrap().resource)
        .collect();
    let mut told = Told::default();
    for diagnostic in compiled.diagnostics() {
        told.hear(&diagnostic.message, &diagnostic.field);
    }
    (resources, told)
}
