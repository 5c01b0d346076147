//! An endpoint for a connection that is only bytes to this proxy.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use super::balancer::{self, Choice};
use super::connect::Dial;
use super::pool::{Busy, OpenConnection};
use super::{EndpointState, LocalCluster, LocalEndpoint, Rights, Upstreams};
use crate::error::{ProxyError, UpstreamFault};

/// Endpoints tried before a client is told that there is none.
const TRIES: usize = 3;

/// A connection to an endpoint, counted until dropped.
#[derive(Debug)]
pub struct TcpUpstream {
    /// The connection.
    pub stream: TcpStream,
    /// The endpoint's address.
    pub remote: SocketAddr,
    /// The endpoint.
    pub endpoint: Rc<LocalEndpoint>,
    /// What counts it; keep it for as long as the connection lives.
    pub guard: TcpGuard,
}

/// Counts a TCP connection until dropped.
#[derive(Debug)]
pub struct TcpGuard {
    _open: OpenConnection,
    _busy: Busy,
}

impl TcpUpstream {
    /// The shared part of the endpoint.
    pub fn state(&self) -> &Arc<EndpointState> {
        self.endpoint.state()
    }
}

/// No connection, and the endpoint tried last.
#[derive(Debug)]
pub struct Unreached {
    /// Why.
    pub fault: ProxyError,
    /// The endpoint, if there was one to try.
    pub endpoint: Option<Rc<LocalEndpoint>>,
}

impl Unreached {
    /// The address of that endpoint.
    pub fn host(&self) -> Option<SocketAddr> {
        self.endpoint.as_ref()?.state().socket()
    }
}

/// Picks an endpoint of `cluster` and connects to it; another one if that fails.
pub async fn connect_tcp(
    upstreams: &Upstreams,
    cluster: &Rc<LocalCluster>,
    choice: Choice,
) -> Result<TcpUpstream, Unreached> {
    let mut last = None;
    let connecting = connect(upstreams, cluster, choice, &mut last);
    connecting.await.map_err(|fault| Unreached {
        fault,
        endpoint: last,
    })
}

async fn connect(
    upstreams: &Upstreams,
    cluster: &Rc<LocalCluster>,
    choice: Choice,
    last: &mut Option<Rc<LocalEndpoint>>,
) -> Result<TcpUpstream, ProxyError> {
    let state = cluster.state();
    let mut tried: Vec<Rc<LocalEndpoint>> = Vec::new();
    loop {
        let endpoint = balancer::pick(cluster, choice, &tried)?;
        *last = Some(Rc::clone(&endpoint));
        let dial = Dial {
            upstreams,
            cluster: state.cluster(),
            pools: cluster.pools(),
            endpoint: endpoint.state(),
            pool: endpoint.pool(),
        };
        dial.check()?;
        // Unlike a request, a connection over the limit does not wait.
        let grant = state
            .shared()
            .connection(&state.cluster().limits, false, &mut false)
            .map_err(UpstreamFault::Overflow)?;
        // One for each client's connection.
        let socket = upstreams.socket(1).await;
        let socket = socket.map_err(UpstreamFault::Overflow)?;
        let rights = Rights { grant, socket };
        let guard = TcpGuard {
            _open: OpenConnection::new(cluster.pools(), endpoint.pool(), rights),
            _busy: endpoint.pool().busy(),
        };
        match dial.tcp().await {
            Ok((stream, remote)) => {
                return Ok(TcpUpstream {
                    stream,
                    remote,
                    endpoint,
                    guard,
                });
            }
            Err(fault) => {
                let events = &state.shared().events;
                events.connect_failures.fetch_add(1, Ordering::Relaxed);
                tried.push(endpoint);
                if tried.len() >= TRIES.min(cluster.endpoints().len().max(1)) {
                    return Err(UpstreamFault::Connect(fault).into());
                }
            }
        }
    }
}
