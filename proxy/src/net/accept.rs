//! Accepting connections at one socket of one worker.
//!
//! A loop that neither spins when file descriptors run out nor lets a flood of new connections
//! starve those already there; when it is told to stop, it first takes every connection the
//! kernel has already completed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::bind::is_exhaustion;
use super::slots::ConnectionSlot;

/// Connections taken in a row before others get a turn.
const BATCH: usize = 16;
/// The first and the longest pause when descriptors run out.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What handshakes that have begun are given to complete before a socket closes.
const LAST_HANDSHAKES: Duration = Duration::from_millis(20);

/// A connection just accepted.
#[derive(Debug)]
pub struct Newcomer {
    /// The connection.
    pub stream: TcpStream,
    /// Who connected.
    pub peer: SocketAddr,
    /// Its place under the cap; kept for as long as the connection lives.
    pub slot: ConnectionSlot,
}

/// Accepts until `stop` is sent (or dropped), then what is already queued; hands every
/// connection for which there is a `place` to `serve`.
pub async fn accept(
    listener: TcpListener,
    place: impl Fn() -> Option<ConnectionSlot>,
    mut stop: oneshot::Receiver<()>,
    mut serve: impl FnMut(Newcomer),
) {
    let mut pauses = Pauses::default();
    let mut in_a_row = 0;
    loop {
        let accepted = tokio::select! {
            // New connections first: those that race with the stop are served.
            biased;
            accepted = listener.accept() => accepted,
            _ = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                pauses.recovered();
                arrive(stream, peer, &place, &mut serve);
                in_a_row += 1;
                if in_a_row == BATCH {
                    in_a_row = 0;
                    // Also where a stop is noticed under a flood.
                    if stop.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                in_a_row = 0;
                let pause = pauses.failed(&listener, &error);
                tokio::time::sleep(pause).await;
            }
        }
    }
    if let Err(error) = refuse_new(&listener) {
        tracing::debug!(%error, "connections that arrive while this socket closes may be reset");
    }
    tokio::time::sleep(LAST_HANDSHAKES).await;
    take_queued(&listener, &place, &mut serve).await;
}

/// Makes the kernel ignore whoever begins to connect; handshakes under way still complete.
///
/// A socket that is closed resets the connections in its queue, and one could always arrive
/// between the last look and the close. Ignored clients try again within a second and meet
/// whatever is there then.
fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    // In classic BPF: the flags of the TCP header; only SYN without ACK is dropped.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN_OR_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Takes the connections that were completed before the socket closes.
async fn take_queued(
    listener: &TcpListener,
    place: &impl Fn() -> Option<ConnectionSlot>,
    serve: &mut impl FnMut(Newcomer),
) {
    // Readiness may be stale, so the queue is asked itself until it says that it is empty.
    let socket = SockRef::from(listener);
    loop {
        match socket.accept() {
            Ok((connection, peer)) => {
                let stream = std::net::TcpStream::from(connection);
                let stream = stream
                    .set_nonblocking(true)
                    .and_then(|()| TcpStream::from_std(stream));
                if let (Ok(stream), Some(peer)) = (stream, peer.as_socket()) {
                    arrive(stream, peer, place, serve);
                }
            }
            Err(error) if is_exhaustion(&error) => tokio::time::sleep(SHORTEST_PAUSE).await,
            Err(error) if is_one_connection(&error) => {}
            Err(_empty) => return,
        }
    }
}

fn arrive(
    stream: TcpStream,
    peer: SocketAddr,
    place: &impl Fn() -> Option<ConnectionSlot>,
    serve: &mut impl FnMut(Newcomer),
) {
    let Some(slot) = place() else {
        metrics::counter!("proxy_connections_refused_total").increment(1);
        reset(&stream);
        return;
    };
    if let Err(error) = stream.set_nodelay(true) {
        // The client is gone already.
        tracing::trace!(%peer, %error, "no TCP_NODELAY");
    }
    serve(Newcomer { stream, peer, slot });
}

/// Makes the end of a connection a reset, which leaves nothing behind in the kernel.
pub fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::trace!(%error, "no reset");
    }
}

/// Whether an accept failed because of the connection it was about to return, not because of
/// the socket or the process.
fn is_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
            | Kind::TimedOut
            | Kind::NetworkUnreachable
            | Kind::HostUnreachable
    )
}

/// How long to wait after failures in a row.
#[derive(Default)]
struct Pauses {
    next: Option<Duration>,
}

impl Pauses {
    fn recovered(&mut self) {
        self.next = None;
    }

    fn failed(&mut self, listener: &TcpListener, error: &io::Error) -> Duration {
        if is_one_connection(error) {
            return Duration::ZERO;
        }
        metrics::counter!("proxy_accept_errors_total").increment(1);
        let pause = self.next.unwrap_or(SHORTEST_PAUSE);
        if self.next.is_none() {
            // Once per episode, not once per try.
            let address = listener.local_addr().ok();
            let out_of_files = is_exhaustion(error);
            tracing::warn!(?address, %error, out_of_files, "cannot accept; waiting");
        }
        self.next = Some((pause * 2).min(LONGEST_PAUSE));
        pause
    }
}

#[cfg(test)]
mod tests;
