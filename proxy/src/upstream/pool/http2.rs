//! HTTP/2 connections: many requests at a time, shared.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::{ClusterPools, EndpointPool};
use crate::upstream::http2::Sender;
use crate::upstream::peer_limits::PeerLimits;

/// Streams of one connection unless the cluster says otherwise; a busier endpoint gets another
/// connection. Most servers allow at least this many.
const DEFAULT_MAX_STREAMS: u32 = 100;

/// An open HTTP/2 connection.
pub struct Http2Connection {
    sender: Sender,
    /// What the other side allows.
    limits: Arc<PeerLimits>,
    /// The endpoint's address.
    pub remote: SocketAddr,
    /// Our address.
    pub local: Option<SocketAddr>,
    opened: Instant,
    streams: Cell<u32>,
    served: Cell<u32>,
    /// No new requests: it failed one, or has served enough.
    closing: Cell<bool>,
    idle_since: Cell<Instant>,
}

impl fmt::Debug for Http2Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Connection")
            .field("remote", &self.remote)
            .field("streams", &self.streams.get())
            .field("served", &self.served.get())
            .finish_non_exhaustive()
    }
}

impl Http2Connection {
    pub(crate) fn new(
        sender: Sender,
        limits: Arc<PeerLimits>,
        (remote, local): (SocketAddr, Option<SocketAddr>),
    ) -> Self {
        let now = Instant::now();
        Self {
            sender,
            limits,
            remote,
            local,
            opened: now,
            streams: Cell::new(0),
            served: Cell::new(0),
            closing: Cell::new(false),
            idle_since: Cell::new(now),
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.closing.get() && !self.sender.is_closed()
    }

    /// Whether one more stream may be opened, of at most `most`.
    fn has_room(&self, most: u32) -> bool {
        // One that allows none for now gets a request all the same, which waits for its turn.
        self.streams.get() < most.min(self.limits.streams()).max(1)
    }

    /// Since when no stream is open; `None` while one is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.streams.get() == 0).then(|| self.idle_since.get())
    }
}

/// A stream of a shared connection; the connection counts it until this is dropped.
#[derive(Debug)]
pub struct Http2Stream {
    /// The connection.
    pub connection: Rc<Http2Connection>,
    pool: Rc<EndpointPool>,
    /// Whether the connection had served a request before.
    pub reused: bool,
}

impl Http2Stream {
    fn open(connection: &Rc<Http2Connection>, pool: &Rc<EndpointPool>, max_requests: u32) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        let served = connection.served.get() + 1;
        connection.served.set(served);
        if served >= max_requests {
            connection.closing.set(true);
        }
        Self {
            connection: Rc::clone(connection),
            pool: Rc::clone(pool),
            reused: served > 1,
        }
    }

    /// A stream of a connection that has room, if there is one.
    pub(crate) fn take(pools: &ClusterPools, pool: &Rc<EndpointPool>) -> Option<Self> {
        let (streams, requests, age) = pools.limits(|limits| {
            (
                limits.max_concurrent_streams.unwrap_or(DEFAULT_MAX_STREAMS),
                limits.max_requests_per_connection.unwrap_or(u32::MAX),
                limits.max_connection_duration,
            )
        });
        let mut connections = pool.http2.borrow_mut();
        connections.retain(|one| {
            if age.is_some_and(|limit| one.opened.elapsed() >= limit) {
                one.closing.set(true);
            }
            one.is_usable()
        });
        let free = connections.iter().find(|one| one.has_room(streams))?;
        Some(Self::open(free, pool, requests))
    }

    /// The first stream of a new connection, which others may share from now on.
    pub(crate) fn share(
        connection: Http2Connection,
        pools: &ClusterPools,
        pool: &Rc<EndpointPool>,
    ) -> Self {
        let connection = Rc::new(connection);
        let requests = pools.limits(|limits| limits.max_requests_per_connection);
        let stream = Self::open(&connection, pool, requests.unwrap_or(u32::MAX));
        if !pool.retired.get() {
            pool.http2.borrow_mut().push(connection);
        }
        stream
    }

    /// A handle to send one request with.
    pub(crate) fn sender(&self) -> Sender {
        self.connection.sender.share()
    }

    /// Takes the connection out of use for further requests.
    pub(crate) fn condemn(&self) {
        self.connection.closing.set(true);
        let mut connections = self.pool.http2.borrow_mut();
        connections.retain(|one| !Rc::ptr_eq(one, &self.connection));
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        let streams = self.connection.streams.get().saturating_sub(1);
        self.connection.streams.set(streams);
        if streams == 0 {
            self.connection.idle_since.set(Instant::now());
        }
    }
}

/// The duty to make an HTTP/2 connection while others wait for it.
#[derive(Debug)]
pub(crate) struct Dialing(Rc<EndpointPool>);

impl Dialing {
    /// Takes the duty, or `None` if somebody else has it.
    pub(crate) fn begin(pool: &Rc<EndpointPool>) -> Option<Self> {
        (!pool.dialing.replace(true)).then(|| Self(Rc::clone(pool)))
    }

    /// Waits until nobody has the duty.
    pub(crate) async fn done(pool: &EndpointPool) {
        let done = pool.dialed.notified();
        if pool.dialing.get() {
            done.await;
        }
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.0.dialing.set(false);
        self.0.dialed.notify_waiters();
    }
}
