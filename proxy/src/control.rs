//! Where configuration comes from: the control plane's stream, or what it last said.
//!
//! | module | what it does |
//! |---|---|
//! | [`session`] | the protocol as a state machine: pushes in, snapshots and answers out |
//! | [`client`] | the stream: opened, watched, opened again |
//! | [`connect`] | the connection below it: whom it leads to, and who says so |
//! | [`last_good`] | the last applied configuration, kept on disk |
//! | [`status`] | how all that is going, for metrics and the admin page |
//!
//! A proxy never gives up configuration because the control plane is gone; it only ever
//! exchanges it for a newer one that was applied as a whole.

pub mod client;
pub mod connect;
pub mod last_good;
mod pushback;
pub mod session;
pub mod status;
mod token;

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mesh_api::error::Rejection;
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::snapshot::Snapshot;
use mesh_api::workload::WorkloadId;

pub use client::run;
pub use connect::ControlPlane;
pub use status::ControlStatus;

/// Whoever puts a snapshot into force.
pub trait Apply: Send {
    /// Exchanges the running configuration for `snapshot`, wholly or not at all.
    fn apply(
        &mut self,
        snapshot: Arc<Snapshot>,
    ) -> impl Future<Output = Result<(), Vec<Rejection>>> + Send;
}

/// What a proxy says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The workload it serves.
    pub workload: WorkloadId,
    /// Beside a workload, or at the edge of the mesh.
    pub role: ProxyRole,
    /// How connections reach it.
    pub capture_mode: CaptureMode,
    /// The version of its software.
    pub software: &'static str,
}

/// What the client needs to know.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The control plane.
    pub control_plane: ControlPlane,
    /// Who the proxy is.
    pub identity: Identity,
    /// The address of its workload.
    pub address: IpAddr,
    /// The directory of the last good configuration; `None`: none is kept.
    pub data_dir: Option<PathBuf>,
}
