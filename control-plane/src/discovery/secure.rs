//! The stream's socket on Kubernetes: TLS or nothing.
//!
//! Handshakes are done beside each other, with a deadline and a limit, so that a peer that is slow
//! or silent keeps nobody else waiting. What speaks no TLS is closed, and the log says what it was.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mesh_runtime::drain::DrainWatch;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::authenticate::{Refusal, Refusals};

/// How long a peer may take to finish the handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Handshakes under way at a time.
const AT_ONCE: usize = 256;
/// After an accept that failed for want of something.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Accepts until the drain begins; connections come out once they speak TLS.
pub(super) fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    refusals: Arc<Refusals>,
    drain: DrainWatch,
) -> mpsc::Receiver<io::Result<TlsStream<TcpStream>>> {
    let (ready, connections) = mpsc::channel(AT_ONCE);
    let door = Door {
        acceptor: TlsAcceptor::from(config),
        refusals,
        ready,
    };
    tokio::spawn(async move {
        tokio::select! {
            () = drain.triggered() => {}
            () = door.serve(listener) => {}
        }
    });
    connections
}

#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    refusals: Arc<Refusals>,
    ready: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
}

impl Door {
    async fn serve(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            // Closed only with the process.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let door = self.clone();
            tokio::spawn(async move {
                door.admit(stream).await;
                drop(slot);
            });
        }
    }

    async fn admit(self, stream: TcpStream) {
        let address = stream.peer_addr().ok();
        let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, self.handshake(stream)).await;
        let late = || {
            let text = format!("it was not finished within {HANDSHAKE_LIMIT:?}");
            Err(Some(Refusal::Handshake(text)))
        };
        match handshake.unwrap_or_else(|_elapsed| late()) {
            Ok(stream) => {
                // Nobody takes it once the server is stopping.
                drop(self.ready.send(Ok(stream)).await);
            }
            Err(Some(refusal)) => self.refusals.note(&refusal, address),
            Err(None) => {}
        }
    }

    /// `Err(None)` for a connection that was closed before it said anything, as probes do.
    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Option<Refusal>> {
        let failed = |error: io::Error| Some(Refusal::Handshake(explain(&error)));
        stream.set_nodelay(true).map_err(failed)?;
        let mut begin = [0; 16];
        let length = stream.peek(&mut begin).await.map_err(failed)?;
        match begin.get(..length) {
            None | Some([]) => Err(None),
            Some([TLS_HANDSHAKE, ..]) => self.acceptor.accept(stream).await.map_err(failed),
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
