//! Ports at which the first word is not what the port was said to speak: told once each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::Reporter;

/// The ports that were told; clones share them.
///
/// Locked only for connections that are not what they should be, once each.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstWord(Arc<Mutex<BTreeSet<(Surprise, u16)>>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Surprise {
    /// The server speaks first, called from here.
    OutboundServer,
    /// The application speaks first.
    InboundServer,
    /// The application is greeted with TLS where HTTP is declared.
    Tls,
}

impl FirstWord {
    /// Counts a connection whose client said nothing for the detection timeout, and says so if
    /// it is the first at this port; returns whether it was.
    pub(super) fn server_speaks_first(&self, reporter: Reporter, port: u16) -> bool {
        let (surprise, name) = match reporter {
            Reporter::Source => (Surprise::OutboundServer, "source"),
            Reporter::Destination => (Surprise::InboundServer, "destination"),
        };
        metrics::counter!(
            "proxy_protocol_detection_timeouts_total",
            "reporter" => name,
            "port" => port.to_string()
        )
        .increment(1);
        let is_first = self.is_first(surprise, port);
        if is_first {
            tracing::warn!(
                reporter = name,
                port,
                "the client said nothing for the protocol detection timeout, so the connection is \
                 carried as TCP, as all later ones will be after the same wait; if the server \
                 speaks first, declare it: name the Service's port tcp-… or set appProtocol: tcp \
                 (ServiceEntry: protocol: TCP)"
            );
        }
        is_first
    }

    /// Counts a connection that greeted with TLS at a port of the application that is declared
    /// HTTP, and says so if it is the first at this port; returns whether it was.
    pub(super) fn client_speaks_tls(&self, port: u16) -> bool {
        metrics::counter!("proxy_tls_at_http_ports_total", "port" => port.to_string()).increment(1);
        let is_first = self.is_first(Surprise::Tls, port);
        if is_first {
            tracing::warn!(
                port,
                "the client greeted with TLS at a port that is declared HTTP, so the connection is \
                 carried to the application as bytes, without routes and requests in metrics; \
                 declare what it is: name the Service's port https-… or set appProtocol: https"
            );
        }
        is_first
    }

    fn is_first(&self, surprise: Surprise, port: u16) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((surprise, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_told_once_each_way() {
        let told = FirstWord::default();
        assert!(told.server_speaks_first(Reporter::Source, 1));
        assert!(!told.clone().server_speaks_first(Reporter::Source, 1));
        assert!(told.server_speaks_first(Reporter::Destination, 1));
        assert!(told.server_speaks_first(Reporter::Source, 2));
        assert!(told.client_speaks_tls(1) && !told.client_speaks_tls(1));
    }
}
