//! Ports at which servers turned out to speak first: told once each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::Reporter;

/// The ports that were told; clones share them.
///
/// Locked only after a connection has already waited for the whole detection timeout.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstWord(Arc<Mutex<BTreeSet<(bool, u16)>>>);

impl FirstWord {
    /// Counts a connection whose client said nothing for the detection timeout, and says so if
    /// it is the first at this port; returns whether it was.
    pub(super) fn server_speaks_first(&self, reporter: Reporter, port: u16) -> bool {
        let (inbound, name) = match reporter {
            Reporter::Source => (false, "source"),
            Reporter::Destination => (true, "destination"),
        };
        metrics::counter!(
            "proxy_protocol_detection_timeouts_total",
            "reporter" => name,
            "port" => port.to_string()
        )
        .increment(1);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = told.insert((inbound, port));
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
    }
}
