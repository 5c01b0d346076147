//! Wires the parts together: what starts in which order, and how it stops.
//!
//! [`folder`] and [`kubernetes`] differ in where objects come from and who may connect; the
//! [`Core`] between is the same.

mod check;
mod crds;
pub mod folder;
pub mod kubernetes;
mod webhook;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mesh_runtime::build_info::BuildInfo;
use mesh_runtime::drain::{Drain, Drained};
use mesh_runtime::prometheus::Prometheus;
use mesh_runtime::readiness::{Gate, Readiness};
use mesh_runtime::vital::{Losses, Vital};
use tokio::sync::{mpsc, watch};

pub use check::check_mesh_config;
pub use crds::write as write_crds;

use crate::args::Common;
use crate::discovery::ServeError;
use crate::discovery::registry::Registry;
use crate::metrics;
use crate::model::{Kept, MeshSettings, World};
use crate::push::board::Board;
use crate::push::{Command, PushLoop, Timing};
use crate::source::Batch;

/// How long streams may take to end at shutdown.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Commands sessions may be ahead of the push loop.
const COMMANDS: usize = 1024;

/// What serves proxies, wherever objects come from.
struct Core {
    prometheus: Prometheus,
    drain: Drain,
    readiness: Readiness,
    vital: Vital,
    config_read: Gate,
    registry: Arc<Registry>,
    board: Arc<Board>,
}

impl Core {
    fn start(common: &Common) -> anyhow::Result<(Self, Losses)> {
        mesh_runtime::logging::init(common.log_format, &common.log_level)?;
        mesh_runtime::logging::log_panics();
        let prometheus = Prometheus::install(metrics::BUCKETS)?;
        metrics::describe();
        let build = BuildInfo::of("pilot");
        tracing::info!("starting {build}");
        prometheus.add_section(Arc::new(build));
        prometheus.add_section(Arc::new(mesh_runtime::process::ProcessSection));
        prometheus.add_section(Arc::new(mesh_runtime::logging::LogSection));
        let readiness = Readiness::new();
        let (vital, losses) = Vital::new(&readiness);
        let core = Self {
            prometheus,
            drain: Drain::new(),
            config_read: readiness.gate("configuration read"),
            readiness,
            vital,
            registry: Arc::default(),
            board: Arc::default(),
        };
        Ok((core, losses))
    }

    /// Starts the push loop and what examines its worlds; sessions ask it through the sender, and
    /// `keeper` hears what is to be kept.
    fn push(
        &self,
        settings: MeshSettings,
        batches: mpsc::Receiver<Batch>,
        keeper: watch::Sender<Option<Arc<Kept>>>,
    ) -> mpsc::Sender<Command> {
        let (commands_in, commands) = mpsc::channel(COMMANDS);
        let world = World::new(settings);
        let board = Arc::clone(&self.board);
        let push_loop = PushLoop::new(world, Timing::default(), board).kept_by(keeper);
        let config_read = self.config_read.clone();
        let pushing = push_loop.run(batches, commands, move || config_read.open());
        self.vital.spawn("the push loop", pushing);
        let examining = Arc::clone(&self.board).examiner();
        self.vital.spawn("the examination of objects", examining);
        tokio::spawn(self.prometheus.clone().upkeep());
        commands_in
    }

    /// Lets what is in progress finish, for a moment.
    async fn stop(&self) {
        self.drain.trigger();
        if let Drained::DeadlinePassed { remaining } = self.drain.wait_idle(STOP_WITHIN).await {
            tracing::info!(
                remaining,
                "still open after {STOP_WITHIN:?}; whoever was connected comes again"
            );
        }
    }
}

/// The stream is served until the drain begins; an end before that is a fault.
fn stream_ended(served: Result<(), ServeError>) -> anyhow::Error {
    match served {
        Ok(()) => anyhow::anyhow!("the configuration stream is not served any more"),
        Err(error) => anyhow::Error::from(error).context("the configuration stream ended"),
    }
}

/// The address to listen on: all of IPv4 where all of IPv6 is meant but the machine has none.
fn usable(address: SocketAddr) -> io::Result<SocketAddr> {
    if address.is_ipv4() || !address.ip().is_unspecified() {
        return Ok(address);
    }
    match std::net::TcpListener::bind((std::net::Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => Ok(address),
        Err(_no_ipv6) => {
            // Say at once what the address to fall back on cannot do either.
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            Ok(SocketAddr::new(
                Ipv4Addr::UNSPECIFIED.into(),
                address.port(),
            ))
        }
    }
}

fn listening(flag: &str, address: SocketAddr) -> anyhow::Result<SocketAddr> {
    usable(address).with_context(|| format!("{flag} {address}"))
}
