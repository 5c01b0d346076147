//! What a series of the standard metrics is about, and how it is spelled.
//!
//! Nothing in here comes from a request: every text is a fact of configuration, so that a
//! client cannot create series by inventing hosts or headers.

use std::fmt::Write as _;
use std::sync::Arc;

use mesh_api::workload::{Peer, ServiceIdentity};

/// Which side of a connection counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The caller's proxy; gateways, too.
    Source,
    /// The called workload's proxy.
    Destination,
}

/// `request_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/2.
    Http,
    /// HTTP/2 with `content-type: application/grpc…`.
    Grpc,
    /// Bytes.
    Tcp,
}

/// How the connection is protected. Principals are known only where certificates were checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// Not at all.
    #[default]
    Plaintext,
    /// Mesh TLS, both sides checked.
    MutualTls {
        /// The caller's `spiffe://…` name.
        source: Arc<str>,
        /// The called workload's `spiffe://…` name.
        destination: Arc<str>,
    },
}

/// Which service was called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// One the mesh knows.
    Known(Arc<ServiceIdentity>),
    /// None: passed through to where it was going.
    Passthrough,
    /// None: refused, because the mesh does not know the destination.
    BlackHole,
    /// None: inbound, to a port no service declares.
    InboundPassthrough,
    /// None: no route.
    Unknown,
}

/// What a series is about.
///
/// Callers keep the series they were given, so that this is hashed when configuration changes
/// or a connection begins, not per request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeriesKey {
    /// Who counts.
    pub reporter: Reporter,
    /// The caller.
    pub source: Arc<Peer>,
    /// The called workload.
    pub destination: Arc<Peer>,
    /// The called service.
    pub service: Service,
    /// What is spoken.
    pub protocol: Protocol,
    /// How it is protected.
    pub security: Security,
}

impl SeriesKey {
    /// The key that stands for everything beyond the limit on the number of series.
    #[must_use]
    pub(super) fn folded(&self) -> Self {
        Self {
            reporter: self.reporter,
            source: Arc::default(),
            destination: Arc::default(),
            service: Service::Unknown,
            protocol: self.protocol,
            security: Security::Plaintext,
        }
    }

    /// The labels as Prometheus prints them, without braces.
    pub(super) fn render(&self) -> String {
        let mut out = String::with_capacity(768);
        let reporter = match self.reporter {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        };
        label(&mut out, "reporter", reporter);
        let (source, destination) = match &self.security {
            Security::Plaintext => ("", ""),
            Security::MutualTls {
                source,
                destination,
            } => (&**source, &**destination),
        };
        peer(&mut out, "source", &self.source, source);
        peer(&mut out, "destination", &self.destination, destination);
        let (host, name, namespace) = match &self.service {
            Service::Known(service) => (&*service.host, &*service.name, &*service.namespace),
            Service::Passthrough => ("", "PassthroughCluster", ""),
            Service::BlackHole => ("", "BlackHoleCluster", ""),
            Service::InboundPassthrough => ("", "InboundPassthroughCluster", ""),
            Service::Unknown => ("", "", ""),
        };
        label(&mut out, "destination_service", host);
        label(&mut out, "destination_service_name", name);
        label(&mut out, "destination_service_namespace", namespace);
        let protocol = match self.protocol {
            Protocol::Http => "http",
            Protocol::Grpc => "grpc",
            Protocol::Tcp => "tcp",
        };
        label(&mut out, "request_protocol", protocol);
        let policy = match (self.reporter, &self.security) {
            // The caller cannot see whether the other side asked for it.
            (Reporter::Source, _) => "unknown",
            (Reporter::Destination, Security::Plaintext) => "none",
            (Reporter::Destination, Security::MutualTls { .. }) => "mutual_tls",
        };
        label(&mut out, "connection_security_policy", policy);
        out
    }
}

fn peer(out: &mut String, side: &str, peer: &Peer, principal: &str) {
    // Named one by one, so that a new fact about a peer is decided on here.
    let Peer {
        workload,
        namespace,
        service_account: _,
        app,
        version,
        cluster,
        canonical_service,
        canonical_revision,
    } = peer;
    for (suffix, value) in [
        ("workload", &**workload),
        ("workload_namespace", namespace),
        ("principal", principal),
        ("app", app),
        ("version", version),
        ("cluster", cluster),
        ("canonical_service", canonical_service),
        ("canonical_revision", canonical_revision),
    ] {
        separate(out);
        out.push_str(side);
        out.push('_');
        pair(out, suffix, known(value));
    }
}

fn label(out: &mut String, name: &str, value: &str) {
    separate(out);
    pair(out, name, known(value));
}

fn known(value: &str) -> &str {
    if value.is_empty() { "unknown" } else { value }
}

fn separate(out: &mut String) {
    if !out.is_empty() {
        out.push(',');
    }
}

fn pair(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    escape(out, value);
    out.push('"');
}

/// Escapes a label value as the text format asks, and everything else that moves a cursor.
fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _written = write!(out, "\\\\u{:04x}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
}
