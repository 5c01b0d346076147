//! Who is connected, what they hold, and what they refused: for people and for metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_api::workload::WorkloadId;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::desired::DesiredState;
use crate::compile::{CaptureMode, ProxyRole};

/// Proxies without a stream that are remembered. More are forgotten only where nobody asks what they
/// have applied.
const MOST_LOST: usize = 16_384;

/// One connected stream; never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// Who a proxy says it is.
#[derive(Clone, Debug)]
pub struct ProxyIdentity {
    /// Its workload.
    pub workload: WorkloadId,
    /// Sidecar or gateway.
    pub role: ProxyRole,
    /// How traffic reaches it.
    pub mode: CaptureMode,
    /// Its software version.
    pub software: Arc<str>,
    /// Where it connected from.
    pub address: Option<SocketAddr>,
    /// Which pod of that name it proved to be; `None` where nobody has to prove anything.
    pub uid: Option<Arc<str>>,
}

/// A resource a proxy refused, in its own words as far as they could be let pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The resource's name.
    pub resource: String,
    /// The version refused.
    pub version: String,
    /// The path of the field at fault; empty is the resource as a whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What a proxy refuses and is therefore withheld.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RefusedSet {
    /// Some of it, one by one.
    #[serde(rename = "refused")]
    pub first: Vec<Refused>,
    /// How many resources there are beside those.
    #[serde(rename = "refusedMore")]
    pub more: usize,
}

impl RefusedSet {
    /// Whether it refuses nothing.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more == 0
    }
}

/// What one session is doing.
#[derive(Clone, Debug, Default)]
pub struct SessionStatus {
    /// Why the proxy has no configuration yet, if it has none.
    pub waiting: Option<Arc<str>>,
    /// The configuration it should have.
    pub desired: Option<Arc<DesiredState>>,
    /// Whether it has acknowledged exactly that, or that minus what it refused.
    pub synced: bool,
    /// Pushes sent.
    pub pushes: u64,
    /// Resources sent.
    pub resources_sent: u64,
    /// Removals sent.
    pub removals_sent: u64,
    /// Pushes acknowledged.
    pub acks: u64,
    /// Pushes refused.
    pub nacks: u64,
    /// What it refused last and is therefore withheld.
    pub refused: Arc<RefusedSet>,
    /// The newest revision of the configuration of which it holds everything but what it
    /// refused.
    pub applied: Option<u64>,
}

#[derive(Debug)]
struct Connected {
    who: ProxyIdentity,
    since: Instant,
    status: SessionStatus,
}

/// The connected proxies, and those that were.
#[derive(Debug, Default)]
pub struct Registry {
    next: AtomicU64,
    sessions: Mutex<BTreeMap<SessionId, Connected>>,
    /// Proxies whose stream ended, as they were last known. Never locked before `sessions`.
    lost: Mutex<BTreeMap<WorkloadId, Applied>>,
    /// Told when what proxies have applied has changed.
    changed: Notify,
}

/// Which configuration a proxy has applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Who it is.
    pub who: ProxyIdentity,
    /// When its stream began; when it ended, if it is not connected.
    pub since: Instant,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether it is told to wait, because its workload is not known.
    pub waiting: bool,
    /// The newest revision of which it holds everything but what it refused; `None` if it has
    /// acknowledged none yet.
    pub revision: Option<u64>,
    /// What it refused.
    pub refused: Arc<RefusedSet>,
}

/// One line of `/debug/syncz`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyReport {
    /// `NAMESPACE/NAME` of the workload.
    pub proxy: String,
    /// `sidecar` or `gateway`.
    pub role: &'static str,
    /// `explicit` or `originalDestination`.
    pub mode: &'static str,
    /// Its software version.
    pub software: Arc<str>,
    /// Where it connected from.
    pub address: Option<SocketAddr>,
    /// Seconds since it connected.
    pub connected_seconds: u64,
    /// `SYNCED`, `PENDING`, `REFUSED` or `WAITING`.
    pub state: &'static str,
    /// Why it has no configuration yet.
    pub waiting: Option<Arc<str>>,
    /// Hash of the configuration it should have.
    pub desired_version: Option<String>,
    /// Pushes sent.
    pub pushes: u64,
    /// Resources sent.
    pub resources_sent: u64,
    /// Removals sent.
    pub removals_sent: u64,
    /// Pushes acknowledged.
    pub acks: u64,
    /// Pushes refused.
    pub nacks: u64,
    /// What it refused and is therefore withheld from it.
    #[serde(flatten)]
    pub refused: Arc<RefusedSet>,
}

impl Registry {
    /// A proxy introduced itself.
    pub fn connect(&self, who: ProxyIdentity, now: Instant) -> SessionId {
        let session = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        let mut sessions = self.sessions.lock();
        let lost = self.lost.lock().remove(&who.workload);
        // A new stream takes nothing from the proxy that it had applied before.
        let applied = sessions
            .values()
            .rfind(|other| other.who.workload == who.workload)
            .and_then(|other| other.status.applied)
            .or(lost.and_then(|lost| lost.revision));
        let connected = Connected {
            who,
            since: now,
            status: SessionStatus {
                applied,
                ..SessionStatus::default()
            },
        };
        sessions.insert(session, connected);
        publish_count(&sessions);
        session
    }

    /// Its stream ended.
    pub fn disconnect(&self, session: SessionId) {
        let mut sessions = self.sessions.lock();
        let ended = sessions.remove(&session);
        publish_count(&sessions);
        if let Some(ended) = ended {
            let workload = ended.who.workload.clone();
            if !sessions.values().any(|one| one.who.workload == workload) {
                let lost = Applied {
                    since: Instant::now(),
                    connected: false,
                    ..ended.applied()
                };
                remember(&mut self.lost.lock(), workload, lost);
            }
        }
        self.changed.notify_one();
    }

    /// What its session did.
    pub fn update(&self, session: SessionId, change: impl FnOnce(&mut SessionStatus)) {
        if let Some(connected) = self.sessions.lock().get_mut(&session) {
            let before = connected.status.landmark();
            change(&mut connected.status);
            if connected.status.landmark() != before {
                self.changed.notify_one();
            }
        }
    }

    /// Waits until what proxies have applied has changed. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What every proxy has applied: of those connected, and of those lost that `expected` says
    /// to come back. The other lost ones are forgotten.
    pub fn applied(&self, mut expected: impl FnMut(&Applied) -> bool) -> Vec<Applied> {
        let sessions = self.sessions.lock();
        let mut lost = self.lost.lock();
        lost.retain(|_, one| expected(one));
        // Of two streams of one proxy the newer one counts.
        let mut all: BTreeMap<&WorkloadId, Applied> = BTreeMap::new();
        for connected in sessions.values() {
            all.insert(&connected.who.workload, connected.applied());
        }
        let lost = lost.iter().filter(|(id, _)| !all.contains_key(id));
        let lost: Vec<Applied> = lost.map(|(_, one)| one.clone()).collect();
        all.into_values().chain(lost).collect()
    }

    /// Every connected proxy, ordered by name.
    pub fn report(&self, now: Instant) -> Vec<ProxyReport> {
        let sessions = self.sessions.lock();
        let mut reports: Vec<ProxyReport> = sessions
            .values()
            .map(|connected| connected.report(now))
            .collect();
        reports.sort_by(|a, b| a.proxy.cmp(&b.proxy));
        reports
    }

    /// What the newest session of a workload should have: `None` if there is no session,
    /// `Some(None)` if it has no configuration yet.
    pub fn desired_of(&self, workload: &WorkloadId) -> Option<Option<Arc<DesiredState>>> {
        let sessions = self.sessions.lock();
        let newest = sessions
            .values()
            .rfind(|connected| connected.who.workload == *workload)?;
        Some(newest.status.desired.clone())
    }
}

impl Connected {
    fn applied(&self) -> Applied {
        Applied {
            who: self.who.clone(),
            since: self.since,
            connected: true,
            waiting: self.status.waiting.is_some(),
            revision: self.status.applied,
            refused: Arc::clone(&self.status.refused),
        }
    }

    fn report(&self, now: Instant) -> ProxyReport {
        let status = &self.status;
        ProxyReport {
            proxy: self.who.workload.to_string(),
            role: self.who.role.name(),
            mode: self.who.mode.name(),
            software: Arc::clone(&self.who.software),
            address: self.who.address,
            connected_seconds: now.saturating_duration_since(self.since).as_secs(),
            state: status.state(),
            waiting: status.waiting.clone(),
            desired_version: status
                .desired
                .as_ref()
                .map(|state| state.version().to_string()),
            pushes: status.pushes,
            resources_sent: status.resources_sent,
            removals_sent: status.removals_sent,
            acks: status.acks,
            nacks: status.nacks,
            refused: Arc::clone(&status.refused),
        }
    }
}

impl SessionStatus {
    /// What must change for anybody to look again at what the proxy has applied.
    fn landmark(&self) -> (Option<u64>, bool, usize, usize) {
        let refused = (self.refused.first.len(), self.refused.more);
        (self.applied, self.waiting.is_some(), refused.0, refused.1)
    }

    fn state(&self) -> &'static str {
        match (&self.waiting, self.synced, self.refused.is_empty()) {
            (Some(_), _, _) => "WAITING",
            (None, _, false) => "REFUSED",
            (None, true, true) => "SYNCED",
            (None, false, true) => "PENDING",
        }
    }
}

/// Where nobody has to prove who it is, anybody can have been anybody: the one gone for longest is
/// forgotten for the newest.
fn remember(all: &mut BTreeMap<WorkloadId, Applied>, workload: WorkloadId, lost: Applied) {
    if all.len() >= MOST_LOST && !all.contains_key(&workload) {
        let longest = all.iter().min_by_key(|(_, one)| one.since);
        if let Some(longest) = longest.map(|(workload, _)| workload.clone()) {
            all.remove(&longest);
        }
    }
    all.insert(workload, lost);
}

fn publish_count(sessions: &BTreeMap<SessionId, Connected>) {
    let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
    metrics::gauge!("pilot_xds").set(f64::from(count));
}

/// Time from a change to its acknowledgement, as Istio's `pilot_proxy_convergence_time`.
pub fn record_convergence(elapsed: Duration) {
    metrics::histogram!("pilot_proxy_convergence_time").record(elapsed.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_gone_for_longest_are_forgotten_when_there_are_too_many() {
        let registry = Registry::default();
        for number in 0..MOST_LOST + 10 {
            let who = ProxyIdentity {
                workload: format!("shop/{number}").parse().unwrap(),
                role: ProxyRole::Sidecar,
                mode: CaptureMode::Explicit,
                software: "test".into(),
                address: None,
                uid: None,
            };
            let session = registry.connect(who, Instant::now());
            registry.disconnect(session);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let lost = registry.applied(|_| true);
        assert_eq!(lost.len(), MOST_LOST);
        let oldest: WorkloadId = "shop/9".parse().unwrap();
        assert!(lost.iter().all(|one| one.who.workload != oldest));
    }
}
