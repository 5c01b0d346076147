//! What the process was started with, checked and typed: every mistake is found before
//! anything runs, and all of them are reported together.

pub mod check;
pub mod concurrency;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::workload::WorkloadId;
use mesh_runtime::logging::{Levels, LogFormat};

use crate::control::ControlPlane;
use crate::pod::{PodSettings, Reach};
use crate::telemetry::access_log::AccessLogMode;

/// Everything a running proxy knows about how it was started. Never changes afterwards.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is there for.
    pub role: ProxyRole,
    /// How connections reach it.
    pub mode: CaptureMode,
    /// The workload it stands for.
    pub workload: WorkloadId,
    /// The workload's address: explicit listeners are there, upstream connections come from it.
    pub address: IpAddr,
    /// The control plane.
    pub control_plane: ControlPlane,
    /// Where the last good configuration is kept.
    pub data_dir: PathBuf,
    /// Worker threads.
    pub concurrency: NonZeroUsize,
    /// Whether and how connections and requests are logged.
    pub access_log: AccessLogMode,
    /// How long the proxy keeps accepting after it was told to stop.
    pub min_drain: Duration,
    /// How long, after that, what is in flight may take.
    pub drain_timeout: Duration,
    /// What becomes of connections that are still there when that time is over.
    pub at_deadline: AtDeadline,
    /// Downstream connections at any time, for each way, over all workers and listeners.
    pub max_connections: usize,
    /// How long a client may take for the head of a request.
    pub header_read_timeout: Duration,
    /// How long a client may send nothing of a body it announced, or take nothing of an answer.
    pub stream_idle_timeout: MeshTime,
    /// How long an HTTP connection may have no request, and a stream of gRPC no message.
    pub idle_timeout: MeshTime,
    /// How long a port without a declared protocol waits for the client's first bytes before
    /// it is taken for TCP; `None`: as long as the connection lives.
    pub detect_timeout: Option<Duration>,
    /// Whether requests of HTTP/1.0 are served.
    pub http10: Http10,
    /// What is known about the application beside it.
    pub pod: PodSettings,
    /// Whether upstream connections come from [`Settings::address`].
    pub bind_source: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_level: Levels,
    /// Whether the end of standard input ends the process.
    pub exit_on_stdin_close: bool,
}

/// A length of time that the settings of the mesh may say, where the command line does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshTime {
    /// What the command line says.
    pub own: Option<Duration>,
    /// What counts where nobody says anything.
    pub default: Duration,
}

impl MeshTime {
    /// The time that counts, with what the mesh says.
    pub fn beside(self, mesh: Option<Duration>) -> Duration {
        self.own.or(mesh).unwrap_or(self.default)
    }
}

/// What becomes of connections that outlast the time a stopping proxy gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtDeadline {
    /// They are cut.
    Cut,
    /// They are waited for, until whoever asked the proxy to stop kills it.
    Wait,
}

/// Whether requests of HTTP/1.0 are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Http10 {
    /// They are answered 426.
    Refused,
    /// They are served like those of HTTP/1.1.
    Accepted,
}

impl Settings {
    /// The address upstream connections to other workloads are bound to, if any.
    ///
    /// Peers look up who is calling by it. In capture mode the kernel picks the right one.
    pub fn upstream_source(&self) -> Option<IpAddr> {
        (self.bind_source && self.mode == CaptureMode::Explicit).then_some(self.address)
    }

    /// The address connections to the local application are bound to, if any.
    ///
    /// In capture mode the redirection rules let connections from this address through to the
    /// application untouched; any other source would come back to the proxy.
    pub fn application_source(&self, application: IpAddr) -> Option<IpAddr> {
        match (self.mode, application) {
            (CaptureMode::Explicit, _) => None,
            (CaptureMode::OriginalDestination, IpAddr::V4(_)) => {
                Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)))
            }
            (CaptureMode::OriginalDestination, IpAddr::V6(_)) => {
                Some(IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)))
            }
        }
    }

    /// Where probes and scrapes are answered: `port` of every address in capture mode, which
    /// has the machine's network to itself, and of the workload's own address otherwise, so that
    /// many proxies share one machine. The first has to be there; the others are as far as the
    /// machine has that kind of address.
    pub fn probe_addresses(&self, port: u16) -> Vec<SocketAddr> {
        let any = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        let mut addresses = match self.mode {
            CaptureMode::Explicit if self.address.is_loopback() => vec![self.address],
            // As the admin pages: hooks and people in a gateway's pod ask there.
            CaptureMode::Explicit => vec![self.address, IpAddr::V4(Ipv4Addr::LOCALHOST)],
            CaptureMode::OriginalDestination => any.to_vec(),
        };
        addresses.sort_by_key(|address| address.is_ipv4() != self.address.is_ipv4());
        addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, port))
            .collect()
    }

    /// How the application is reached for its probes and metrics.
    pub fn reach(&self) -> Reach {
        Reach {
            address: self.address,
            source: self.application_source(self.address),
        }
    }

    /// The socket at which the process is told to drain or to stop, in a directory of its own.
    pub fn admin_socket(&self) -> PathBuf {
        admin_socket(&self.data_dir)
    }

    /// Where the admin pages are. They show configuration, so never beyond the machine.
    pub fn admin_address(&self, port: u16) -> SocketAddr {
        let address = match self.mode {
            CaptureMode::Explicit if self.address.is_loopback() => self.address,
            CaptureMode::Explicit | CaptureMode::OriginalDestination => {
                IpAddr::V4(Ipv4Addr::LOCALHOST)
            }
        };
        SocketAddr::new(address, port)
    }
}

/// The socket of the proxy that keeps its data in `data_dir`.
pub(crate) fn admin_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("admin").join("socket")
}
