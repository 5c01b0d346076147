//! Outbound listeners on the workload's own address, for applications that call them.
//!
//! HTTP goes through one port, routed by the Host header; every TCP or TLS service port is a
//! listener of its own, because nothing else tells such connections apart.

use std::sync::Arc;

use mesh_api::listener::{Bind, Listener, ListenerKind, Outbound, RouteSelection, TlsRoutes};
use mesh_api::reserved::OUTBOUND_PORT;
use mesh_api::units::Port;

use super::places::Places;
use super::{any_address, name};
use crate::compile::context::Context;
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::compile::tcp;
use crate::meta::ObjectKey;
use crate::model::Service;
use crate::model::protocol::Protocol;

pub(super) fn listeners<'w>(cx: &mut Context<'w>, services: &[&'w Arc<Service>]) {
    let mut places = Places::default();
    for service in services {
        for port in &service.ports {
            let number = port.number;
            let wanted = match port.protocol {
                Protocol::Http | Protocol::Http2 => continue,
                Protocol::Detect => {
                    report_assumed(cx, service, number);
                    continue;
                }
                Protocol::Tcp => Outbound::tcp(tcp::service_tcp(cx, service, number)),
                Protocol::Tls => Outbound::tls(TlsRoutes {
                    rules: tcp::service_tls(cx, service, number),
                }),
            };
            places.take(cx, service, (None, number), wanted);
        }
    }
    let http = Listener {
        name: name("outbound-http"),
        bind: Bind::Socket(any_address(OUTBOUND_PORT)),
        kind: ListenerKind::Outbound(Outbound::http(RouteSelection::ByAuthorityPort)),
    };
    let own = ObjectKey::new(
        crate::crd::Kind::Namespace,
        "",
        cx.client.namespace.to_string(),
    );
    cx.add_unplaced(http, &own);
    for ((_, port), taken) in places.into_taken() {
        let listener = Listener {
            name: name(format!("outbound/{port}")),
            bind: Bind::Socket(any_address(port.value())),
            kind: ListenerKind::Outbound(taken.outbound),
        };
        cx.add_unplaced(listener, &taken.object);
    }
}

fn report_assumed(cx: &mut Context<'_>, service: &Service, port: Port) {
    cx.report(
        Diagnostic::new(
            codes::ASSUMED_HTTP,
            &service.key,
            "spec.ports",
            format!(
                "port {port} does not say what it speaks; proxies that are called explicitly take \
                 it for HTTP"
            ),
        )
        .hint("name the port http-…, grpc-… or tcp-…, or set appProtocol"),
    );
}
