//! What users should know about how a port of a service is told apart.

use crate::compile::context::Context;
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::model::Service;
use crate::model::protocol::Protocol;
use crate::model::service::{ServicePort, TargetPort};

use super::captured::goes_where_it_was_going;

/// Numbers that usually mean TLS.
const USUALLY_TLS: [u16; 2] = [443, 8443];

/// Says what may surprise about a port; `anywhere`: it is looked for at any address.
pub(super) fn of_port(cx: &mut Context<'_>, service: &Service, port: &ServicePort, anywhere: bool) {
    let number = port.number;
    match port.protocol {
        Protocol::Detect => {
            let nameless = if anywhere && !goes_where_it_was_going(service) {
                "; as the entry has no address, only HTTP and TLS that name its host are taken to it"
            } else {
                ""
            };
            cx.report(
                Diagnostic::new(
                    codes::DETECTED_PROTOCOL,
                    &service.key,
                    "spec.ports",
                    format!(
                        "port {number} does not say what it speaks: the client's first bytes \
                         decide, and where the server speaks first every connection waits for the \
                         protocol detection timeout{nameless}"
                    ),
                )
                .hint(declare(service, "tcp")),
            );
        }
        Protocol::Tcp if anywhere && !goes_where_it_was_going(service) => cx.report(
            Diagnostic::new(
                codes::TAKES_A_WHOLE_PORT,
                &service.key,
                "spec.addresses",
                format!(
                    "is empty, so every connection to port {number} that nothing tells apart goes \
                     to {}, whatever its address",
                    service.host
                ),
            )
            .hint("give the addresses, or the protocol TLS if it is that"),
        ),
        Protocol::Http | Protocol::Http2 if service.is_kubernetes && is_usually_tls(port) => cx
            .report(
                Diagnostic::new(
                    codes::HTTP_WHERE_TLS_IS_USUAL,
                    &service.key,
                    "spec.ports",
                    format!(
                        "port {number} is declared to speak HTTP, and its number usually means \
                         TLS; connections that are not HTTP are carried to the Service's address \
                         as they are, without routes"
                    ),
                )
                .hint(declare(service, "https")),
            ),
        Protocol::Http | Protocol::Http2 | Protocol::Tcp | Protocol::Tls => {}
    }
}

fn is_usually_tls(port: &ServicePort) -> bool {
    let leads_to = match port.target {
        TargetPort::Number(target) => Some(target.value()),
        TargetPort::Name(_) => None,
    };
    USUALLY_TLS.contains(&port.number.value())
        || leads_to.is_some_and(|target| USUALLY_TLS.contains(&target))
}

fn declare(service: &Service, what: &str) -> String {
    if service.is_kubernetes {
        format!("if it is {what}, name the port {what}-… or set appProtocol: {what}")
    } else {
        format!(
            "if it is {what}, set protocol: {}",
            what.to_ascii_uppercase()
        )
    }
}
