//! The stream's socket: on Kubernetes TLS or nothing, on one machine plaintext.
//!
//! Handshakes are done beside each other and with a deadline, so that a peer that is slow or silent
//! keeps nobody else waiting; how many connections there may be is decided in [`connections`]. What
//! speaks no TLS is closed, and the log says what it was.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mesh_runtime::drain::DrainWatch;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::authenticate::{Refusal, Refusals};
use super::capacity::Capacity;
use super::connections::{self, Connections};
use super::guarded::Guarded;

/// How long a peer may take to finish the handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Connections that are ready and not taken yet.
const READY: usize = 64;
/// After an accept that failed for want of something.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection that is ready to be served.
pub(super) type Ready = Guarded<Either<TcpStream, TlsStream<TcpStream>>>;

/// Accepts until the drain begins; connections come out once they speak TLS.
pub(super) fn accept_tls(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    refusals: Arc<Refusals>,
    drain: DrainWatch,
) -> mpsc::Receiver<io::Result<Ready>> {
    let acceptor = Some(TlsAcceptor::from(config));
    accept(listener, acceptor, Capacity::of_process(), refusals, drain)
}

/// Accepts until the drain begins, in plaintext.
pub(super) fn accept_plain(
    listener: TcpListener,
    refusals: Arc<Refusals>,
    drain: DrainWatch,
) -> mpsc::Receiver<io::Result<Ready>> {
    let capacity = Capacity::of_process().on_one_machine();
    accept(listener, None, capacity, refusals, drain)
}

fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    capacity: Capacity,
    refusals: Arc<Refusals>,
    drain: DrainWatch,
) -> mpsc::Receiver<io::Result<Ready>> {
    let (ready, taken) = mpsc::channel(READY);
    let connections = Connections::new(capacity, Arc::clone(&refusals));
    let door = Door {
        acceptor,
        connections: Arc::clone(&connections),
        refusals,
        ready,
    };
    tokio::spawn(async move {
        tokio::select! {
            () = drain.triggered() => {}
            () = door.serve(listener) => {}
            () = connections.sweep() => {}
        }
    });
    taken
}

#[derive(Clone)]
struct Door {
    acceptor: Option<TlsAcceptor>,
    connections: Arc<Connections>,
    refusals: Arc<Refusals>,
    ready: mpsc::Sender<io::Result<Ready>>,
}

impl Door {
    async fn serve(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(connection) = self.connections.admit(address) {
                        tokio::spawn(self.clone().admit(stream, connection));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    async fn admit(self, stream: TcpStream, connection: connections::Connection) {
        let late = || {
            let text = format!("it was not finished within {HANDSHAKE_LIMIT:?}");
            Err(Some(Refusal::Handshake(text)))
        };
        let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, self.handshake(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken.unwrap_or_else(|_elapsed| late()),
            // It is counted by whoever ended it.
            () = connection.end().cancelled() => return,
        };
        match shaken {
            Ok(stream) => {
                // Nobody takes it once the server is stopping.
                drop(self.ready.send(Ok(Guarded::new(stream, connection))).await);
            }
            Err(Some(refusal)) => self.refusals.note(&refusal, Some(connection.address())),
            Err(None) => {}
        }
    }

    /// `Err(None)` for a connection that was closed before it said anything, as probes do.
    async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<Either<TcpStream, TlsStream<TcpStream>>, Option<Refusal>> {
        let failed = |error: io::Error| Some(Refusal::Handshake(explain(&error)));
        stream.set_nodelay(true).map_err(failed)?;
        let Some(acceptor) = &self.acceptor else {
            return Ok(Either::Left(stream));
        };
        let mut begin = [0; 16];
        let length = stream.peek(&mut begin).await.map_err(failed)?;
        match begin.get(..length) {
            None | Some([]) => Err(None),
            Some([TLS_HANDSHAKE, ..]) => {
                let shaken = acceptor.accept(stream).await.map_err(failed)?;
                Ok(Either::Right(shaken))
            }
            Some(other) => Err(Some(Refusal::Plaintext(name(other)))),
        }
    }
}

/// What somebody speaks who does not speak TLS.
fn name(begin: &[u8]) -> &'static str {
    const METHODS: [&[u8]; 6] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"OPTIONS ",
        b"CONNECT ",
    ];
    if begin.starts_with(b"PRI * HTTP/2") {
        "gRPC or HTTP/2 in plaintext"
    } else if METHODS.iter().any(|method| begin.starts_with(method)) {
        "HTTP/1 in plaintext"
    } else {
        "something that is neither HTTP nor TLS"
    }
}

fn explain(error: &io::Error) -> String {
    use rustls::{AlertDescription as Alert, Error};
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(Error::AlertReceived(
            Alert::UnknownCA | Alert::BadCertificate | Alert::DecryptError,
        )) => "the peer does not trust our root; it must read root-cert.pem of ConfigMap \
             istio-ca-root-cert in its namespace"
            .to_owned(),
        Some(Error::NoApplicationProtocol) => {
            "the peer does not offer HTTP/2; this port serves the configuration stream only"
                .to_owned()
        }
        Some(_) | None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_called_by_its_name() {
        for (begin, expected) in [
            (&b"PRI * HTTP/2.0\r\n"[..], "HTTP/2"),
            (b"GET / HTTP/1.1\r\n", "HTTP/1"),
            (b"\x00\x01", "neither"),
            (b"GETX", "neither"),
        ] {
            assert!(name(begin).contains(expected), "{begin:?}");
        }
    }
}
