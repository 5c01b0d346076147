//! HTTP/1.1 connections: one request at a time, idle in between, the most recently used first.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::{ClusterPools, EndpointPool};
use crate::http::body::RequestBody;
use crate::upstream::interim::Ear;

/// How long a connection may take, after the end of a response, to be ready for another request.
const SETTLE: Duration = Duration::from_secs(5);

/// An open HTTP/1.1 connection.
pub struct Http1Connection {
    /// Where requests go in.
    pub sender: SendRequest<RequestBody>,
    /// Who is told what comes before an answer.
    pub ear: Arc<Ear>,
    /// The endpoint's address.
    pub remote: SocketAddr,
    /// Our address.
    pub local: Option<SocketAddr>,
    opened: Instant,
    served: u32,
}

impl fmt::Debug for Http1Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1Connection")
            .field("remote", &self.remote)
            .field("served", &self.served)
            .finish_non_exhaustive()
    }
}

impl Http1Connection {
    pub(crate) fn new(
        sender: SendRequest<RequestBody>,
        ear: Arc<Ear>,
        (remote, local): (SocketAddr, Option<SocketAddr>),
    ) -> Self {
        Self {
            sender,
            ear,
            remote,
            local,
            opened: Instant::now(),
            served: 0,
        }
    }
}

/// A connection that waits for its next request.
#[derive(Debug)]
pub(super) struct Idle {
    connection: Http1Connection,
    since: Instant,
}

impl Idle {
    pub(super) fn is_closed(&self) -> bool {
        self.connection.sender.is_closed()
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// The sole use of a connection; dropping it closes the connection, releasing it does not.
#[derive(Debug)]
pub struct Http1Lease {
    /// The connection.
    pub connection: Http1Connection,
    /// How long it had been idle; `None` for a new one.
    pub idle_for: Option<Duration>,
    last: bool,
    pool: Rc<EndpointPool>,
    pools: Rc<ClusterPools>,
}

impl Http1Lease {
    pub(crate) fn new(
        connection: Http1Connection,
        pools: &Rc<ClusterPools>,
        pool: &Rc<EndpointPool>,
    ) -> Self {
        Self {
            connection,
            idle_for: None,
            last: false,
            pool: Rc::clone(pool),
            pools: Rc::clone(pools),
        }
    }

    /// The idle connection used last, if there is one.
    pub(crate) fn take(pools: &Rc<ClusterPools>, pool: &Rc<EndpointPool>) -> Option<Self> {
        loop {
            let idle = pool.idle.borrow_mut().pop()?;
            if !idle.connection.sender.is_ready() {
                // Closed by the other side; the rest of the list may be, too.
                continue;
            }
            return Some(Self {
                idle_for: Some(idle.since.elapsed()),
                last: false,
                connection: idle.connection,
                pool: Rc::clone(pool),
                pools: Rc::clone(pools),
            });
        }
    }

    /// The connection serves no further request.
    pub(crate) fn retire(&mut self) {
        self.last = true;
    }

    /// Gives the connection back after its response was read to the end.
    pub(crate) fn release(mut self) {
        self.connection.served += 1;
        if self.is_used_up() || self.connection.sender.is_closed() {
            return;
        }
        if self.connection.sender.is_ready() {
            self.park();
            return;
        }
        // The request's body is still being sent, or the connection has not yet seen the end of
        // the response.
        tokio::task::spawn_local(async move {
            let settled = tokio::time::timeout(SETTLE, self.connection.sender.ready()).await;
            if matches!(settled, Ok(Ok(()))) {
                self.park();
            }
        });
    }

    fn is_used_up(&self) -> bool {
        let (requests, age) = self.pools.limits(|limits| {
            (
                limits.max_requests_per_connection,
                limits.max_connection_duration,
            )
        });
        self.last
            || self.pool.retired.get()
            || requests.is_some_and(|limit| self.connection.served >= limit)
            || age.is_some_and(|limit| self.connection.opened.elapsed() >= limit)
    }

    fn park(self) {
        if self.pool.retired.get() {
            return;
        }
        self.pool.idle.borrow_mut().push(Idle {
            connection: self.connection,
            since: Instant::now(),
        });
        self.pools.wake_waiting();
    }
}
