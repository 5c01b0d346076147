//! How the stream to the control plane is doing, for metrics, logs and the admin page.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::error::Rejection;
use mesh_api::version::SnapshotVersion;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// A repeated failure is logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How many rejections of the last refused push are shown.
const SHOWN_REJECTIONS: usize = 20;

/// What is known about the stream. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ControlStatus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    report: StatusReport,
    /// When the control plane was last known to be there.
    confirmed: Option<Instant>,
    logged: Option<Instant>,
    unlogged: u64,
}

/// What the admin page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// Whether a stream is open.
    pub connected: bool,
    /// Streams opened since the start.
    pub connections: u64,
    /// Snapshots applied.
    pub applied: u64,
    /// Pushes refused.
    pub nacked: u64,
    /// The snapshot in force.
    pub version: Option<SnapshotVersion>,
    /// Where the snapshot in force came from.
    pub source: Source,
    /// Seconds since 1970 of the last snapshot applied.
    pub applied_at: Option<u64>,
    /// Why the control plane has nothing for this proxy, if it said so last.
    pub waiting: Option<String>,
    /// Why the last stream ended or could not be opened.
    pub last_error: Option<String>,
    /// What was wrong with the last push refused.
    pub last_rejections: Vec<String>,
}

/// Where a snapshot came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// There is none yet.
    #[default]
    None,
    /// From the control plane.
    ControlPlane,
    /// From the disk.
    LastGood,
}

impl ControlStatus {
    /// What the admin page shows.
    pub fn report(&self) -> StatusReport {
        self.0.lock().report.clone()
    }

    pub(super) fn connected(&self) {
        let mut state = self.0.lock();
        state.report.connected = true;
        state.report.connections += 1;
        state.report.last_error = None;
        state.confirmed = Some(Instant::now());
        let failures = std::mem::take(&mut state.unlogged);
        state.logged = None;
        drop(state);
        metrics::gauge!("proxy_control_connected").set(1.0);
        metrics::counter!("proxy_control_connections_total").increment(1);
        tracing::info!(failures, "connected to the control plane");
    }

    /// The control plane ended the stream in order, as it does now and then.
    pub(super) fn ended(&self) {
        let mut state = self.0.lock();
        if std::mem::take(&mut state.report.connected) {
            state.confirmed = Some(Instant::now());
        }
        drop(state);
        metrics::gauge!("proxy_control_connected").set(0.0);
        tracing::info!("the control plane ended the stream; opening another");
    }

    /// The stream broke or could not be opened.
    pub(super) fn lost(&self, error: &str, retry_in: Duration) {
        let now = Instant::now();
        let mut state = self.0.lock();
        if std::mem::take(&mut state.report.connected) {
            state.confirmed = Some(now);
        }
        state.report.last_error = Some(error.to_owned());
        let due = state
            .logged
            .is_none_or(|last| now.duration_since(last) >= LOG_INTERVAL);
        if due {
            state.logged = Some(now);
        } else {
            state.unlogged += 1;
        }
        let unlogged = if due {
            std::mem::take(&mut state.unlogged)
        } else {
            0
        };
        drop(state);
        metrics::gauge!("proxy_control_connected").set(0.0);
        metrics::counter!("proxy_control_failures_total").increment(1);
        if due {
            tracing::warn!(
                error,
                ?retry_in,
                unlogged,
                "no stream to the control plane; the configuration in force stays"
            );
        }
    }

    pub(super) fn waiting(&self, reason: String) {
        tracing::warn!(
            reason,
            "the control plane has no configuration for this proxy yet"
        );
        self.0.lock().report.waiting = Some(reason);
    }

    pub(super) fn applied(&self, version: SnapshotVersion, source: Source) {
        let mut state = self.0.lock();
        let report = &mut state.report;
        report.applied += 1;
        report.version = Some(version);
        report.source = source;
        report.waiting = None;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        report.applied_at = since.ok().map(|since| since.as_secs());
        let sequence = report.applied;
        drop(state);
        metrics::counter!("proxy_config_applied_total").increment(1);
        #[expect(
            clippy::cast_precision_loss,
            reason = "2^52 versions are never applied"
        )]
        metrics::gauge!("proxy_config_version_sequence").set(sequence as f64);
        tracing::info!(%version, ?source, sequence, "configuration applied");
    }

    pub(super) fn nacked(&self, rejections: &[Rejection]) {
        let texts: Vec<String> = rejections
            .iter()
            .take(SHOWN_REJECTIONS)
            .map(ToString::to_string)
            .collect();
        metrics::counter!("proxy_config_nacked_total").increment(1);
        for text in &texts {
            tracing::error!(rejection = text, "refused a push of the control plane");
        }
        let mut state = self.0.lock();
        state.report.nacked += 1;
        state.report.last_rejections = texts;
    }

    /// Publishes how old the configuration may be: 0 while a stream is open, else the time
    /// since one was.
    pub(super) fn publish_age(&self) {
        let state = self.0.lock();
        let age = match (state.report.connected, state.confirmed) {
            (true, _) => Duration::ZERO,
            (false, Some(confirmed)) => confirmed.elapsed(),
            (false, None) => return,
        };
        drop(state);
        metrics::gauge!("proxy_config_age_seconds").set(age.as_secs_f64());
    }

    /// Makes every series appear before anything happened.
    pub(super) fn describe() {
        metrics::gauge!("proxy_control_connected").set(0.0);
        metrics::gauge!("proxy_config_version_sequence").set(0.0);
        for name in [
            "proxy_control_connections_total",
            "proxy_control_failures_total",
            "proxy_config_applied_total",
            "proxy_config_nacked_total",
        ] {
            metrics::counter!(name).increment(0);
        }
    }
}
