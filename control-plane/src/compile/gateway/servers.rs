//! The servers of a gateway: on which port, of which kind, for which hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::route::Domain;
use mesh_api::units::Port;

use crate::compile::context::Context;
use crate::compile::routes::Via;
use crate::compile::scope::Client;
use crate::crd::gateway::{GatewaySpec, Server, Serving};
use crate::crd::object::Resource;
use crate::model::World;
use crate::model::service::TargetPort;
use crate::model::workload::{pairs, selects};

/// What a server does with connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Plaintext HTTP.
    Http,
    /// Bytes.
    Tcp,
    /// TLS that is not terminated.
    Passthrough,
    /// Something the mesh cannot do yet.
    Refused(String),
}

impl Class {
    /// Whether servers of both kinds can share a port.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        let family = |class: &Self| match class {
            Self::Http => 0,
            Self::Tcp => 1,
            // Both are TLS, told apart by server name.
            Self::Passthrough | Self::Refused(_) => 2,
        };
        family(self) == family(other)
    }
}

/// A server and where it is written.
#[derive(Clone, Debug)]
pub(super) struct ServerAt<'w> {
    pub(super) gateway: &'w Arc<Resource<GatewaySpec>>,
    /// `NAMESPACE/NAME` of the gateway.
    pub(super) gateway_name: String,
    pub(super) server: &'w Server,
    pub(super) field: String,
    /// The port of the gateway's Service.
    pub(super) port: Port,
    /// The port the proxy listens on.
    pub(super) bound: Port,
    /// Whether a Service of the gateway leads there.
    pub(super) has_service: bool,
    pub(super) bind: Option<IpAddr>,
    pub(super) class: Class,
    pub(super) hosts: Vec<ServerHost>,
}

/// A host of a server: who may bind routes to it.
#[derive(Clone, Debug)]
pub(crate) struct ServerHost {
    /// `None`: virtual services of any namespace.
    pub(super) namespace: Option<Arc<str>>,
    pub(super) domain: Domain,
}

impl ServerHost {
    /// Reads `NAMESPACE/HOST` of a server of a `Gateway` in namespace `own`.
    pub(crate) fn parse(text: &str, own: &str) -> Option<Self> {
        let (namespace, host) = match text.split_once('/') {
            None => (None, text),
            Some(("*", host)) => (None, host),
            Some((".", host)) => (Some(Arc::from(own)), host),
            Some((namespace, host)) => (Some(Arc::from(namespace)), host),
        };
        Some(Self {
            namespace,
            domain: Domain::parse(host)?,
        })
    }

    /// The hosts a virtual service of `namespace` for `domain` serves here: the narrower of both.
    pub(crate) fn common(&self, namespace: &str, domain: &Domain) -> Option<Domain> {
        let allowed = self
            .namespace
            .as_ref()
            .is_none_or(|wanted| **wanted == *namespace);
        if !allowed {
            None
        } else if self.domain.covers(domain) {
            Some(domain.clone())
        } else if domain.covers(&self.domain) {
            Some(self.domain.clone())
        } else {
            None
        }
    }
}

impl ServerAt<'_> {
    /// Whether those who run the gateway wrote it: what they say comes before what tenants say
    /// whose `Gateway` selects the same workload.
    pub(super) fn is_near(&self, world: &World, client: &Client) -> bool {
        let namespace = self.gateway.namespace();
        *namespace == *client.namespace || *namespace == *world.settings().root_namespace
    }

    /// Whether it sends its clients to https.
    pub(super) fn redirects(&self) -> bool {
        let tls = self.server.tls.as_ref();
        tls.is_some_and(|tls| tls.https_redirect)
    }

    /// Whether virtual services of a namespace may claim a name here.
    pub(super) fn serves(&self, namespace: &str, name: &Domain) -> bool {
        let mut hosts = self.hosts.iter();
        hosts.any(|host| host.common(namespace, name).is_some())
    }

    pub(super) fn via(&self) -> Via<'_> {
        Via {
            gateway: Some(&self.gateway_name),
            port: self.port,
        }
    }
}

/// All servers for this gateway: those of who runs it, then those of others, each the oldest
/// object first. A port's first server decides what the port is.
pub(super) fn all<'w>(cx: &mut Context<'w>) -> Vec<ServerAt<'w>> {
    let mut all = Vec::new();
    for gateway in cx.world.gateways.iter() {
        if !selects(pairs(&gateway.spec.selector), &cx.client.labels) {
            continue;
        }
        cx.acts(&gateway.key);
        for (index, server) in gateway.spec.servers.iter().enumerate() {
            let Some(port) = Port::new(server.port.number) else {
                continue;
            };
            let targets = target_ports(cx.world, cx.client, port);
            let one = ServerAt {
                gateway,
                gateway_name: format!("{}/{}", gateway.namespace(), gateway.name()),
                server,
                field: format!("spec.servers[{index}]"),
                port,
                bound: port,
                has_service: !targets.is_empty(),
                bind: server.bind.as_deref().and_then(|bind| bind.parse().ok()),
                class: class(server),
                hosts: server
                    .hosts
                    .iter()
                    .filter_map(|host| ServerHost::parse(host, gateway.namespace()))
                    .collect(),
            };
            if targets.is_empty() {
                all.push(one);
            } else {
                all.extend(targets.into_iter().map(|bound| ServerAt {
                    bound,
                    ..one.clone()
                }));
            }
        }
    }
    all.sort_by_key(|server| !server.is_near(cx.world, cx.client));
    all
}

/// Where the gateway's Services lead for one of their ports, which may be several places; empty
/// if no Service has the port.
fn target_ports(world: &World, client: &Client, port: Port) -> BTreeSet<Port> {
    world
        .services()
        .filter(|service| service.selects(&client.namespace, &client.labels))
        .filter_map(|service| match &service.port(port)?.target {
            TargetPort::Number(target) => Some(*target),
            TargetPort::Name(name) => client.ports.get(name).copied(),
        })
        .collect()
}

fn class(server: &Server) -> Class {
    match server.serving() {
        Ok(Serving::Http) => Class::Http,
        Ok(Serving::Bytes) => Class::Tcp,
        Ok(Serving::Passthrough) => Class::Passthrough,
        Ok(Serving::Tls(mode)) => Class::Refused(format!("TLS mode {mode} cannot be done yet")),
        Err(misfit) => Class::Refused(misfit.to_string()),
    }
}
