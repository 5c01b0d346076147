//! A new connection to an endpoint: resolve, connect, set options, shake hands; with a deadline.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mesh_api::cluster::{Cluster, ClusterEndpoints, ConnectionLimits, TcpKeepalive, UpstreamTls};
use mesh_api::endpoint::EndpointAddress;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockRef, Socket};
use tokio::net::{TcpSocket, TcpStream};

use super::interim::{Ear, Heard};
use super::late_answer::LateAnswer;
use super::pool::{ClusterPools, EndpointPool, Http1Connection, Http2Connection, OpenConnection};
use super::{EndpointState, Rights, Upstreams};
use crate::error::{ConnectFault, UpstreamFault};

/// Headers of one answer: as many as clients may send, and as many more.
const MAX_HEADERS: usize = 200;
/// The read buffer of a connection may grow to this; a head must fit.
const MAX_BUFFER: usize = 64 * 1024;
/// How long a new HTTP/2 connection may take to say what it allows.
const FIRST_WORD: Duration = Duration::from_millis(250);

/// What a connection is made to, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial<'a> {
    pub(crate) upstreams: &'a Upstreams,
    pub(crate) cluster: &'a Cluster,
    pub(crate) pools: &'a Rc<ClusterPools>,
    pub(crate) endpoint: &'a EndpointState,
    pub(crate) pool: &'a Rc<EndpointPool>,
}

impl Dial<'_> {
    /// Whether connections to the cluster can be made the way it asks for.
    pub(crate) fn check(&self) -> Result<(), UpstreamFault> {
        if self.cluster.tls != UpstreamTls::Plaintext {
            return Err(UpstreamFault::NotEnforceable(
                "the destination asks for TLS, which this proxy cannot originate yet",
            ));
        }
        if self.cluster.proxy_protocol.is_some() {
            return Err(UpstreamFault::NotEnforceable(
                "the destination asks for the PROXY protocol, which this proxy cannot send yet",
            ));
        }
        if self.cluster.tunnel.is_some() {
            return Err(UpstreamFault::NotEnforceable(
                "the destination asks for a tunnel, which this proxy cannot open yet",
            ));
        }
        Ok(())
    }

    /// A TCP connection, within `connectTimeout`.
    pub(crate) async fn tcp(&self) -> Result<(TcpStream, SocketAddr), ConnectFault> {
        let limit = self.cluster.limits.connect_timeout;
        let dialed = match tokio::time::timeout(limit, self.connect()).await {
            Ok(dialed) => dialed,
            Err(_elapsed) => Err(ConnectFault::Timeout),
        };
        let shared = self.endpoint.shared();
        shared.unreachable.store(dialed.is_err(), Ordering::Relaxed);
        if dialed.is_err() {
            shared.connect_failures.fetch_add(1, Ordering::Relaxed);
        }
        dialed
    }

    async fn connect(&self) -> Result<(TcpStream, SocketAddr), ConnectFault> {
        let address = match &self.endpoint.endpoint().address {
            EndpointAddress::Socket(address) => *address,
            EndpointAddress::Name { host, port } => {
                let first_only = matches!(
                    self.cluster.endpoints,
                    ClusterEndpoints::Dns {
                        first_only: true,
                        ..
                    }
                );
                let resolver = self.upstreams.resolver();
                resolver.resolve(host, port.value(), first_only).await?
            }
        };
        let Cluster {
            name, endpoints, ..
        } = self.cluster;
        self.upstreams.check((name, endpoints), address)?;
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        };
        let stream = async {
            let socket = socket?;
            if let Some(source) = self.upstreams.source(name, address.ip()) {
                // The port is chosen when connecting, so that one port may serve many
                // destinations.
                setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect(address).await?;
            set_options(&stream, &self.cluster.limits)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = stream.await.map_err(|error| ConnectFault::from(&error))?;
        Ok((stream, address))
    }

    /// A connection that speaks HTTP/1.1; the grant is held for as long as it is open.
    pub(crate) async fn http1(&self, rights: Rights) -> Result<Http1Connection, ConnectFault> {
        let open = OpenConnection::new(self.pools, self.pool, rights);
        let (stream, remote) = self.tcp().await?;
        let local = stream.local_addr().ok();
        let ear = Arc::<Ear>::default();
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_BUFFER)
            .handshake(LateAnswer::new(TokioIo::new(Heard::new(stream, &ear))))
            .await
            .map_err(|_cause| ConnectFault::Handshake)?;
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, %remote, "an upstream HTTP/1.1 connection failed");
            }
        });
        self.upstreams.keep_swept();
        Ok(Http1Connection::new(sender, ear, (remote, local)))
    }

    /// A connection that speaks HTTP/2; the grant is held for as long as it is open.
    pub(crate) async fn http2(&self, rights: Rights) -> Result<Http2Connection, ConnectFault> {
        let open = OpenConnection::new(self.pools, self.pool, rights);
        let (stream, remote) = self.tcp().await?;
        let local = stream.local_addr().ok();
        let greeting = super::http2::greet(stream, self.cluster.limits.http2_keepalive);
        let (sender, driver, limits) = greeting.await.map_err(|_cause| ConnectFault::Handshake)?;
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = driver.run().await {
                tracing::debug!(%error, %remote, "an upstream HTTP/2 connection failed");
            }
        });
        self.upstreams.keep_swept();
        // How many requests may share it is known once it has said so, which servers do at once; one
        // that does not gets what most would allow.
        let _silent = tokio::time::timeout(FIRST_WORD, limits.known()).await;
        Ok(Http2Connection::new(sender, limits, (remote, local)))
    }
}

fn set_options(stream: &TcpStream, limits: &ConnectionLimits) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(keepalive) = limits.keepalive {
        set_keepalive(&SockRef::from(stream), keepalive)?;
    }
    Ok(())
}

fn set_keepalive(socket: &Socket, keepalive: TcpKeepalive) -> std::io::Result<()> {
    let TcpKeepalive {
        probes,
        time,
        interval,
    } = keepalive;
    let mut options = socket2::TcpKeepalive::new();
    if let Some(time) = time {
        options = options.with_time(time);
    }
    if let Some(interval) = interval {
        options = options.with_interval(interval);
    }
    if let Some(probes) = probes {
        options = options.with_retries(probes);
    }
    socket.set_tcp_keepalive(&options)
}
