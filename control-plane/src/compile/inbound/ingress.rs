//! `Sidecar.ingress`: ports a workload says it has, and where its application listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mesh_api::listener::{Bind, InboundTarget};
use mesh_api::reserved::is_proxy_port;
use mesh_api::units::Port;

use super::{Inbound, Served};
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::compile::not_acted_on::{self, Feature};
use crate::compile::scope::CaptureMode;
use crate::compile::security::Ask;
use crate::crd::sidecar::{IngressListener, ListenerCapture};
use crate::meta::ObjectKey;
use crate::model::protocol::Protocol;

/// An entry and where it is written.
struct EntryAt<'a> {
    object: &'a ObjectKey,
    field: String,
    written: &'a IngressListener,
    /// The workload's own address.
    own: IpAddr,
    port: Port,
}

impl Inbound<'_> {
    /// One entry of `Sidecar.ingress`.
    pub(super) fn ingress(&mut self, index: usize) {
        let Some(sidecar) = self.sidecar else {
            return;
        };
        let Some(written) = sidecar.spec.ingress.get(index) else {
            return;
        };
        let field = format!("spec.ingress[{index}]");
        let Some(port) = Port::new(written.port.number) else {
            return;
        };
        if written.tls.is_some() {
            // Asked to be encrypted, it must not be served as if it had not been.
            let ask = Ask {
                hint: "leave tls out",
                ..Ask::new(&sidecar.key, format!("{field}.tls"), "TLS on inbound ports")
            };
            self.protection.close_for(port, ask);
        }
        let done_anyway = match written.capture_mode {
            ListenerCapture::Default => true,
            ListenerCapture::Iptables => self.scope.capture == CaptureMode::OriginalDestination,
            ListenerCapture::None => self.scope.capture == CaptureMode::Explicit,
        };
        if !done_anyway {
            let field = format!("{field}.captureMode");
            let feature = Feature::IngressCaptureMode;
            not_acted_on::report(&mut self.parts.report, feature, &sidecar.key, &field);
        }
        let Some(own) = self.scope.workload.addresses.first().copied() else {
            return;
        };
        let at = EntryAt {
            object: &sidecar.key,
            field,
            written,
            own,
            port,
        };
        let (bind, target) = self.place(&at).unwrap_or_else(|| self.claim(&at));
        let service = self.service_at(port);
        let protocol = written
            .port
            .protocol
            .as_deref()
            .and_then(|text| Protocol::declared(text, port.value()))
            .or_else(|| service.map(|(_, service_port)| service_port.protocol))
            .unwrap_or(Protocol::Detect);
        let limits = self.limits(index, service);
        self.add(Served {
            port,
            bind,
            target,
            protocol,
            service,
            limits,
        });
    }

    /// Where connections come in and where they go, if both can be used.
    fn place(&mut self, at: &EntryAt<'_>) -> Option<(Bind, InboundTarget)> {
        let bind = self.bind(at)?;
        let target = self.target(at)?;
        if let (Bind::Socket(socket), InboundTarget::Address(address)) = (&bind, &target)
            && socket == address
        {
            self.bad_address(
                at,
                "defaultEndpoint",
                &format!("{address} is where the proxy itself listens"),
            );
            return None;
        }
        if let InboundTarget::Address(address) = &target
            && is_proxy_port(address.port())
        {
            let message = format!("{} is a port the proxy keeps for itself", address.port());
            self.bad_address(at, "defaultEndpoint", &message);
            return None;
        }
        Some((bind, target))
    }

    /// An entry that cannot be used has its port all the same, closed: else what was to be served
    /// in some way would be passed through to the application as if nothing had been said.
    fn claim(&mut self, at: &EntryAt<'_>) -> (Bind, InboundTarget) {
        let EntryAt { object, field, .. } = at;
        let reason = format!("{object} {field} cannot be used as it is written");
        self.protection.close(at.port, &reason);
        (self.own_bind(at), InboundTarget::OriginalDestination)
    }

    fn own_bind(&self, at: &EntryAt<'_>) -> Bind {
        match self.scope.capture {
            CaptureMode::OriginalDestination => Bind::OriginalDestination {
                address: None,
                port: at.port,
            },
            CaptureMode::Explicit => Bind::Socket(SocketAddr::new(at.own, at.port.value())),
        }
    }

    fn bind(&mut self, at: &EntryAt<'_>) -> Option<Bind> {
        let Some(text) = &at.written.bind else {
            return Some(self.own_bind(at));
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Bind::Socket(SocketAddr::new(address, at.port.value())));
        }
        self.bad_address(at, "bind", &format!("{text:?} is not an IP address"));
        None
    }

    /// Where the application listens.
    fn target(&mut self, at: &EntryAt<'_>) -> Option<InboundTarget> {
        let Some(text) = &at.written.default_endpoint else {
            return Some(match self.scope.capture {
                CaptureMode::OriginalDestination => self.application(at.port),
                CaptureMode::Explicit => {
                    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    InboundTarget::Address(SocketAddr::new(local, at.port.value()))
                }
            });
        };
        if text.starts_with("unix:") {
            let field = format!("{}.defaultEndpoint", at.field);
            not_acted_on::report(
                &mut self.parts.report,
                Feature::UnixSocket,
                at.object,
                &field,
            );
            return None;
        }
        match text.parse::<SocketAddr>() {
            // The unspecified address stands for the workload's own.
            Ok(address) if address.ip().is_unspecified() => Some(InboundTarget::Address(
                SocketAddr::new(at.own, address.port()),
            )),
            Ok(address) if address.port() > 0 => Some(InboundTarget::Address(address)),
            Ok(_) | Err(_) => {
                let message = format!("{text:?} is not ADDRESS:PORT, such as 127.0.0.1:8080");
                self.bad_address(at, "defaultEndpoint", &message);
                None
            }
        }
    }

    fn bad_address(&mut self, at: &EntryAt<'_>, field: &str, message: &str) {
        self.parts.report.push(Diagnostic::new(
            codes::BAD_ADDRESS,
            at.object,
            format!("{}.{field}", at.field),
            format!("{message}; port {} refuses everything", at.port),
        ));
    }
}
