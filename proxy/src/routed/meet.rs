//! What an outbound or gateway connection meets, and its first bytes where they decide.
//!
//! The rules are looked at twice: when the connection is there, and, if it depends on what the
//! client says, when it has said it. Both times with the newest configuration; of the one before,
//! only the rules of the connection's own listener are held while the client is waited for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_api::destination::{AtPort, FirstBytes, Found};
use mesh_api::listener::{Listener, Silence};
use mesh_api::route::Destinations;

use crate::carry::patience::{declared, detection};
use crate::config::ActiveConfig;
use crate::net::Connection;
use crate::net::detect::{Spoken, Start, read_start};
use crate::telemetry::Reporter;
use crate::worker::Worker;

/// Where a connection is looked up.
pub(crate) enum Place {
    /// Among all destinations: it was redirected on its way there.
    Redirected(SocketAddr),
    /// Among the rules of a listener with a socket of its own.
    Socket {
        /// The listener.
        listener: Arc<Listener>,
        /// The address it was called at.
        address: IpAddr,
        /// Its rules as the connection came: it may leave the configuration at any time.
        last: Option<Arc<AtPort>>,
    },
}

/// What a connection meets.
pub(crate) enum Met {
    /// The tables of virtual hosts that this listener names.
    Http(Arc<Listener>),
    /// One of these destinations, as bytes.
    Bytes(Arc<Destinations>),
    /// Nothing.
    Unknown,
}

/// What a connection meets, and what was read of it to find that out.
pub(crate) struct Meeting {
    pub(crate) met: Met,
    pub(crate) start: Start<Spoken>,
}

impl Place {
    /// The place of a connection accepted at a listener with a socket of its own.
    pub(crate) fn of(
        config: &ActiveConfig,
        connection: &Connection,
        listener: Arc<Listener>,
    ) -> Self {
        let last = match config.rules_of(&listener.name) {
            Some(rules) => Some(Arc::clone(rules)),
            // It has left already, and this connection was still queued.
            None => AtPort::of(&listener).map(Arc::new),
        };
        Self::Socket {
            address: connection.destination().ip(),
            listener,
            last,
        }
    }

    fn find<'t>(&'t self, config: &'t ActiveConfig, first: Option<FirstBytes<'_>>) -> Found<'t> {
        match self {
            Self::Redirected(destination) => config.destinations().find(*destination, first),
            Self::Socket {
                listener,
                address,
                last,
            } => {
                let rules = config.rules_of(&listener.name).or(last.as_ref());
                rules.map_or(Found::Unknown, |rules| rules.find(*address, first))
            }
        }
    }
}

/// Finds out what a connection meets; `None` if its client left without a word, or had none and
/// is owed nothing.
pub(crate) async fn meet(
    worker: &Worker,
    connection: &Connection,
    place: &Place,
) -> io::Result<Option<Meeting>> {
    let silence = match owned(place.find(&worker.config().active, None)) {
        Ok(met) => {
            let start = Start::unread(Spoken::Other);
            return Ok(Some(Meeting { met, start }));
        }
        Err(silence) => silence,
    };
    let patience = match silence {
        Silence::Wait => declared(worker, connection.way),
        Silence::Bytes => detection(worker, connection.way),
    };
    let start = read_start(&connection.stream, patience).await?;
    let first = match &start.spoken {
        None => return Ok(None),
        Some(Spoken::Http(_)) => FirstBytes::Http,
        Some(Spoken::Tls(name)) => FirstBytes::Tls(name.as_deref()),
        Some(Spoken::Other) => FirstBytes::Other,
    };
    if start.bytes.is_empty() {
        match silence {
            Silence::Wait => return Ok(None),
            Silence::Bytes => worker
                .telemetry
                .server_speaks_first(Reporter::Source, connection.destination().port()),
        }
    }
    // With its first bytes a connection depends on nothing any more.
    let met = owned(place.find(&worker.config().active, Some(first))).unwrap_or(Met::Unknown);
    Ok(Some(Meeting { met, start }))
}

fn owned(found: Found<'_>) -> Result<Met, Silence> {
    match found {
        Found::Http(listener) => Ok(Met::Http(Arc::clone(listener))),
        Found::Bytes(destinations) => Ok(Met::Bytes(Arc::clone(destinations))),
        Found::Unknown => Ok(Met::Unknown),
        Found::Depends(silence) => Err(silence),
    }
}
