//! From a snapshot to the sockets that serve it: the last step of every push.
//!
//! A snapshot takes effect whole or not at all. First every new socket is bound, which is all
//! that can fail; then the configuration is published; then the workers take the new sockets
//! and let go of those that left. A socket whose listener changed is not touched: connections
//! ask the configuration what they meet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;

use mesh_api::error::Rejection;
use mesh_api::listener::{Bind, GatewayProtocol, Listener, ListenerKind};
use mesh_api::name::ResourceName;
use mesh_api::proxy::CaptureMode;
use mesh_api::snapshot::Snapshot;
use mesh_api::version::Version;
use tokio::sync::{mpsc, oneshot};

use crate::bootstrap::Settings;
use crate::config::ActiveConfig;
use crate::config::live::LiveConfig;
use crate::control::Apply;
use crate::dispatch::{Closing, Command, WorkerSocket};
use crate::net::bind::{self, BindError};
use crate::telemetry::AccessLog;

/// Puts snapshots into effect; lives on the control runtime.
#[derive(Debug)]
pub struct Applier {
    settings: Arc<Settings>,
    live: Arc<LiveConfig>,
    workers: Vec<mpsc::Sender<Command>>,
    bound: BTreeSet<SocketAddr>,
    access_log: Option<AccessLog>,
}

impl Applier {
    /// An applier with nothing in effect.
    pub fn new(
        settings: Arc<Settings>,
        live: Arc<LiveConfig>,
        workers: Vec<mpsc::Sender<Command>>,
    ) -> Self {
        Self {
            settings,
            live,
            workers,
            bound: BTreeSet::new(),
            access_log: None,
        }
    }

    /// One that also switches this log as the mesh says.
    #[must_use]
    pub fn switching(mut self, access_log: Option<AccessLog>) -> Self {
        self.access_log = access_log;
        self
    }

    /// The snapshot in effect.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.live.load().snapshot())
    }

    /// Puts `snapshot` into effect, or changes nothing and says why not.
    ///
    /// Returns after every worker serves the new sockets.
    pub async fn put_into_effect(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Vec<Rejection>> {
        let next = ActiveConfig::next(
            Some(&*self.live.load()),
            Arc::clone(&snapshot),
            self.settings.address,
        );
        let wanted = wanted(&snapshot);
        let opened = self.open(&wanted, &snapshot)?;
        let left: Vec<SocketAddr> = self
            .bound
            .iter()
            .filter(|address| !wanted.contains_key(address))
            .copied()
            .collect();

        self.announce_refusals(&snapshot);
        let mode = next.access_log();
        self.live.publish(Arc::new(next));
        if let Some(log) = &self.access_log
            && let Err(error) = log.follow(mode)
        {
            tracing::error!(%error, "the access log cannot be started; nothing is logged");
        }
        self.bound = wanted.into_keys().collect();
        if !opened.is_empty() {
            self.hand_over(opened).await;
        }
        if !left.is_empty() {
            for address in &left {
                tracing::info!(%address, "listener closed");
            }
            self.tell_all(|done| Command::Close {
                which: Closing::At(left.clone()),
                done,
            })
            .await;
        }
        Ok(())
    }

    /// Says which gateway ports will refuse everything from now on, and why.
    fn announce_refusals(&self, snapshot: &Snapshot) {
        let before = self.snapshot();
        for listener in snapshot.listeners() {
            if let ListenerKind::Gateway(gateway) = &listener.kind
                && let GatewayProtocol::Refuse { reason } = &gateway.protocol
                && before.listener(&listener.name) != Some(listener)
            {
                tracing::warn!(listener = %listener.name.0, "every connection is refused: {reason}");
            }
        }
    }

    /// Binds every address that is wanted and not bound yet, or none.
    fn open(
        &self,
        wanted: &BTreeMap<SocketAddr, Arc<Listener>>,
        snapshot: &Snapshot,
    ) -> Result<Vec<Opened>, Vec<Rejection>> {
        let mut opened: Vec<Opened> = Vec::new();
        let mut rejections = Vec::new();
        for (address, listener) in wanted {
            if self.bound.contains(address) {
                continue;
            }
            let beside_own = self.bound.iter().any(|own| overlap(*own, *address))
                || opened.iter().any(|own| overlap(own.address, *address));
            let workers = NonZeroUsize::new(self.workers.len()).unwrap_or(NonZeroUsize::MIN);
            let mut sockets = listen(*address, workers, beside_own).map(|all| vec![all]);
            if let Some(twin) = self
                .twin(*address)
                .filter(|twin| !wanted.contains_key(twin))
            {
                sockets = sockets.and_then(|mut all| match bind::listen(twin, workers) {
                    Ok(more) => {
                        all.push(more);
                        Ok(all)
                    }
                    Err(error) if error.is_no_such_family() => Ok(all),
                    Err(error) => Err(error),
                });
            }
            match sockets {
                Ok(all) => opened.extend(all.into_iter().map(|sockets| Opened {
                    address: *address,
                    listener: Arc::clone(listener),
                    sockets,
                })),
                Err(error) => {
                    tracing::error!(listener = %listener.name.0, "{error}");
                    rejections.push(rejection(listener, snapshot, &error));
                }
            }
        }
        if rejections.is_empty() {
            Ok(opened)
        } else {
            Err(rejections)
        }
    }

    /// Where a listener at all IPv4 addresses is to be served, too: the kernel redirects
    /// connections to the same port over IPv6.
    fn twin(&self, address: SocketAddr) -> Option<SocketAddr> {
        let any = address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        (any && self.settings.mode == CaptureMode::OriginalDestination)
            .then(|| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port()))
    }

    /// Gives every worker its socket of each listener and waits until all serve them.
    async fn hand_over(&self, opened: Vec<Opened>) {
        let mut shares: Vec<Vec<WorkerSocket>> = self.workers.iter().map(|_| Vec::new()).collect();
        for Opened {
            address,
            listener,
            sockets,
        } in opened
        {
            let bound = sockets.first().and_then(|socket| socket.local_addr().ok());
            let at = bound.unwrap_or(address);
            tracing::info!(address = %at, listener = %listener.name.0, "listening");
            for (share, socket) in shares.iter_mut().zip(sockets) {
                share.push(WorkerSocket {
                    address,
                    listener: Arc::clone(&listener),
                    socket,
                });
            }
        }
        let mut shares = shares.into_iter();
        self.tell_all(|done| Command::Open {
            sockets: shares.next().unwrap_or_default(),
            done,
        })
        .await;
    }

    async fn tell_all(&self, command: impl FnMut(oneshot::Sender<()>) -> Command) {
        tell_all(&self.workers, command).await;
    }
}

impl Apply for Applier {
    async fn apply(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Vec<Rejection>> {
        self.put_into_effect(snapshot).await
    }
}

/// Stops accepting what comes from others, after what is queued; what is in flight goes on.
pub async fn stop_accepting(workers: &[mpsc::Sender<Command>]) {
    tell_all(workers, |done| Command::Close {
        which: Closing::FromOthers,
        done,
    })
    .await;
}

struct Opened {
    address: SocketAddr,
    listener: Arc<Listener>,
    sockets: Vec<TcpListener>,
}

/// Sends every worker its command, then waits for all of them.
async fn tell_all(
    workers: &[mpsc::Sender<Command>],
    mut command: impl FnMut(oneshot::Sender<()>) -> Command,
) {
    let mut waiting = Vec::with_capacity(workers.len());
    for worker in workers {
        let (done, told) = oneshot::channel();
        // A worker that is gone ends the process elsewhere; it must not keep the others waiting.
        if worker.send(command(done)).await.is_ok() {
            waiting.push(told);
        }
    }
    for told in waiting {
        let _gone = told.await;
    }
}

fn wanted(snapshot: &Snapshot) -> BTreeMap<SocketAddr, Arc<Listener>> {
    snapshot
        .listeners()
        .filter_map(|listener| match listener.bind {
            Bind::Socket(address) => Some((address, Arc::clone(listener))),
            Bind::OriginalDestination { .. } => None,
        })
        .collect()
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn listen(
    address: SocketAddr,
    workers: NonZeroUsize,
    beside_own: bool,
) -> Result<Vec<TcpListener>, BindError> {
    if beside_own {
        bind::listen_beside_own(address, workers)
    } else {
        bind::listen(address, workers)
    }
}

fn rejection(listener: &Listener, snapshot: &Snapshot, error: &BindError) -> Rejection {
    let name = ResourceName::Listener(listener.name.clone());
    let version = snapshot
        .get(&name)
        .map_or(Version(0), |entry| entry.version);
    Rejection::new(name, version, "bind", error)
}
