//! Names of resources: stable, readable, and typed by what they name.
//!
//! The printed form is what travels on the wire, stands in logs and in `istio`-shaped tools:
//! `cluster/outbound|8080|v1|backend.shop.svc.cluster.local`,
//! `endpoints/backend.shop.svc.cluster.local:8080`, `routes/8080/backend.shop.svc.cluster.local`,
//! `listener/…`, `policy/…`, `workload/127.80.1.1`, `settings/proxy`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::units::Port;

/// Text that does not name a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a resource name: {reason}")]
pub struct InvalidName {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl InvalidName {
    fn new(text: &str, reason: &'static str) -> Self {
        // A hostile name must not be echoed at full length.
        Self {
            text: text.chars().take(200).collect(),
            reason,
        }
    }
}

/// A listener: free text such as `outbound-http` or `10.0.0.7_8080`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ListenerName(pub Arc<str>);

/// A policy: free text such as `inbound/9080`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PolicyName(pub Arc<str>);

/// Which table of virtual hosts: those of a port, or of one TLS server on a gateway port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteScope {
    /// The service port on a sidecar, the bound port on a gateway.
    pub port: Port,
    /// The server on a gateway port that several TLS servers share; empty otherwise.
    pub server: Option<Arc<str>>,
}

impl RouteScope {
    /// The table of a port.
    pub const fn port(port: Port) -> Self {
        Self { port, server: None }
    }
}

impl fmt::Display for RouteScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            None => write!(f, "{}", self.port),
            Some(server) => write!(f, "{}.{server}", self.port),
        }
    }
}

impl FromStr for RouteScope {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (port, server) = match text.split_once('.') {
            None => (text, None),
            Some((_, server)) if server.is_empty() || server.contains('/') => {
                return Err(InvalidName::new(
                    text,
                    "the part after the port must not be empty or contain a slash",
                ));
            }
            Some((port, server)) => (port, Some(Arc::from(server))),
        };
        Ok(Self {
            port: parse_port(text, port)?,
            server,
        })
    }
}

/// A virtual host: `routes/PORT/HOST`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutesName {
    /// The table it is in.
    pub scope: RouteScope,
    /// The host it is for; lower case; may be a wildcard (`*.example.com`, `*`).
    pub host: Arc<str>,
}

/// A cluster, named as Istio names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterName {
    /// `outbound|PORT|SUBSET|FQDN`.
    Outbound {
        /// The service port.
        port: Port,
        /// The subset of a `DestinationRule`; `None` for the whole service.
        subset: Option<Arc<str>>,
        /// The service's full name; lower case.
        host: Arc<str>,
    },
    /// `inbound|PORT||`: the local application.
    Inbound {
        /// The workload port.
        port: Port,
    },
    /// `PassthroughCluster`: outbound traffic to where it was going anyway.
    Passthrough,
    /// `BlackHoleCluster`: outbound traffic that is refused.
    BlackHole,
    /// `InboundPassthroughCluster`: inbound traffic to a port no service declares.
    InboundPassthrough,
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbound { port, subset, host } => {
                write!(
                    f,
                    "outbound|{port}|{}|{host}",
                    subset.as_deref().unwrap_or_default()
                )
            }
            Self::Inbound { port } => write!(f, "inbound|{port}||"),
            Self::Passthrough => f.write_str("PassthroughCluster"),
            Self::BlackHole => f.write_str("BlackHoleCluster"),
            Self::InboundPassthrough => f.write_str("InboundPassthroughCluster"),
        }
    }
}

impl FromStr for ClusterName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "PassthroughCluster" => return Ok(Self::Passthrough),
            "BlackHoleCluster" => return Ok(Self::BlackHole),
            "InboundPassthroughCluster" => return Ok(Self::InboundPassthrough),
            _ => {}
        }
        let parts: Vec<&str> = text.split('|').collect();
        match parts.as_slice() {
            ["outbound", port, subset, host] if !host.is_empty() => Ok(Self::Outbound {
                port: parse_port(text, port)?,
                subset: (!subset.is_empty()).then(|| Arc::from(*subset)),
                host: Arc::from(*host),
            }),
            ["inbound", port, "", ""] => Ok(Self::Inbound {
                port: parse_port(text, port)?,
            }),
            _ => Err(InvalidName::new(
                text,
                "expected outbound|PORT|SUBSET|HOST or inbound|PORT||",
            )),
        }
    }
}

/// The endpoints of one service port: `endpoints/FQDN:PORT`, or `endpoints/FQDN:PORT/CLAIM`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointsName {
    /// The service's full name; lower case.
    pub host: Arc<str>,
    /// The service port.
    pub port: Port,
    /// Whose endpoints, where several declare the host and this is not the first of them: some
    /// clients see one, some another, and no proxy has two.
    pub claim: Option<Claim>,
}

/// One of several that declare a host: the object, as `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The object's namespace; not empty, without `/`.
    pub namespace: Arc<str>,
    /// The object's name; not empty, without `/`.
    pub name: Arc<str>,
}

/// A workload, found by an address of it: `workload/10.0.0.7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct WorkloadName(pub IpAddr);

/// What holds for a whole proxy: `settings/proxy`, the only one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettingsName;

/// The name of any resource.
///
/// The order of the variants is the order in which a push lists resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceName {
    /// `settings/proxy`
    Settings(SettingsName),
    /// `workload/…`
    Workload(WorkloadName),
    /// `policy/…`
    Policy(PolicyName),
    /// `endpoints/…`
    Endpoints(EndpointsName),
    /// `cluster/…`
    Cluster(ClusterName),
    /// `routes/…`
    Routes(RoutesName),
    /// `listener/…`
    Listener(ListenerName),
}

impl fmt::Display for RoutesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scope, self.host)
    }
}

impl FromStr for RoutesName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.split_once('/') {
            Some((scope, host)) if !host.is_empty() => Ok(Self {
                scope: scope.parse()?,
                host: Arc::from(host),
            }),
            _ => Err(InvalidName::new(text, "expected PORT/HOST")),
        }
    }
}

impl fmt::Display for EndpointsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        match &self.claim {
            None => Ok(()),
            Some(Claim { namespace, name }) => write!(f, "/{namespace}/{name}"),
        }
    }
}

impl FromStr for EndpointsName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::new(text, "expected HOST:PORT or HOST:PORT/NAMESPACE/NAME");
        let (place, claim) = match text.split_once('/') {
            None => (text, None),
            Some((place, claim)) => match claim.split_once('/') {
                Some((namespace, name))
                    if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
                {
                    let claim = Claim {
                        namespace: Arc::from(namespace),
                        name: Arc::from(name),
                    };
                    (place, Some(claim))
                }
                Some(_) | None => return Err(invalid()),
            },
        };
        match place.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => Ok(Self {
                host: Arc::from(host),
                port: parse_port(text, port)?,
                claim,
            }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for SettingsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("proxy")
    }
}

impl FromStr for SettingsName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "proxy" => Ok(Self),
            _ => Err(InvalidName::new(text, "expected settings/proxy")),
        }
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(name) => write!(f, "listener/{}", name.0),
            Self::Routes(name) => write!(f, "routes/{name}"),
            Self::Cluster(name) => write!(f, "cluster/{name}"),
            Self::Endpoints(name) => write!(f, "endpoints/{name}"),
            Self::Policy(name) => write!(f, "policy/{}", name.0),
            Self::Workload(name) => write!(f, "workload/{}", name.0),
            Self::Settings(name) => write!(f, "settings/{name}"),
        }
    }
}

impl FromStr for ResourceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let Some((kind, rest)) = text.split_once('/') else {
            return Err(InvalidName::new(text, "expected KIND/NAME"));
        };
        if rest.is_empty() {
            return Err(InvalidName::new(text, "the part after the kind is empty"));
        }
        match kind {
            "listener" => Ok(Self::Listener(ListenerName(Arc::from(rest)))),
            "routes" => rest.parse().map(Self::Routes),
            "cluster" => rest.parse().map(Self::Cluster),
            "endpoints" => rest.parse().map(Self::Endpoints),
            "policy" => Ok(Self::Policy(PolicyName(Arc::from(rest)))),
            "workload" => match rest.parse::<IpAddr>() {
                // Only the canonical spelling, so that one name has one text.
                Ok(address) if address.to_string() == rest => {
                    Ok(Self::Workload(WorkloadName(address)))
                }
                Ok(_) | Err(_) => Err(InvalidName::new(
                    text,
                    "expected workload/IP-ADDRESS in its shortest form",
                )),
            },
            "settings" => rest.parse().map(Self::Settings),
            _ => Err(InvalidName::new(text, "unknown kind of resource")),
        }
    }
}

fn parse_port(whole: &str, port: &str) -> Result<Port, InvalidName> {
    // Only the canonical spelling, so that one name has one text.
    let canonical = !port.starts_with(['0', '+']);
    match port.parse::<u16>().ok().and_then(Port::new) {
        Some(port) if canonical => Ok(port),
        _ => Err(InvalidName::new(
            whole,
            "the port must be a number from 1 to 65535",
        )),
    }
}

macro_rules! serialize_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_text!(
    RouteScope,
    RoutesName,
    ClusterName,
    EndpointsName,
    SettingsName,
    ResourceName
);

macro_rules! into_resource_name {
    ($($variant:ident($name:ty)),*) => {$(
        impl From<$name> for ResourceName {
            fn from(name: $name) -> Self {
                Self::$variant(name)
            }
        }
    )*};
}

into_resource_name!(
    Listener(ListenerName),
    Routes(RoutesName),
    Cluster(ClusterName),
    Endpoints(EndpointsName),
    Policy(PolicyName),
    Workload(WorkloadName),
    Settings(SettingsName)
);

#[cfg(test)]
mod tests;
