//! Which of several replicas may write: one Lease, renewed by its holder.
//!
//! Time is told by this process's own monotonic clock alone. A holder stops leading when it could
//! not renew for a while that is well below the time after which others may take the Lease, so
//! two never lead at once, however wrong the clocks of their machines are.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{ApiFailure, within};

/// How long giving the Lease back may take at shutdown.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);
/// Writes tried in one round, when others write at the same time.
const TRIES: usize = 3;

/// Which Lease, who we are, and the times.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the Lease is.
    pub namespace: String,
    /// Its name.
    pub lease: String,
    /// This replica's name; no other may have it.
    pub identity: String,
    /// Others may take the Lease when it was not renewed for this long.
    pub duration: Duration,
    /// A leader that could not renew for this long stops leading; less than `duration`.
    pub renew_within: Duration,
    /// How often it is renewed, or asked for.
    pub retry: Duration,
}

impl Settings {
    /// The usual times: 15 s, 10 s and 2 s.
    pub fn new(namespace: &str, lease: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            lease: lease.to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(15),
            renew_within: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// This replica's part in the election.
pub struct Leadership {
    api: Api<Lease>,
    settings: Settings,
    /// Whether this replica leads.
    leading: watch::Sender<bool>,
    /// When the Lease was last renewed: the moment before that request was sent.
    renewed: Option<Instant>,
    /// The Lease as it was last written by this replica.
    written: Option<Lease>,
    /// The Lease of another as it was last seen, and when it was first seen so.
    seen: Option<(String, Instant)>,
    /// Whether the last round failed, so that an outage is logged once.
    failing: bool,
}

impl std::fmt::Debug for Leadership {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Leadership")
            .field("settings", &self.settings)
            .field("leading", &*self.leading.borrow())
            .finish_non_exhaustive()
    }
}

/// Who has the Lease after a round.
enum Standing {
    /// This replica.
    Ours,
    /// Somebody else, or nobody yet.
    Theirs(String),
}

impl Leadership {
    /// A candidate; [`Leadership::run`] makes it stand.
    pub fn new(client: Client, settings: Settings) -> Self {
        Self {
            api: Api::namespaced(client, &settings.namespace),
            settings,
            leading: watch::Sender::new(false),
            renewed: None,
            written: None,
            seen: None,
            failing: false,
        }
    }

    /// Whether this replica leads, now and from now on.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    /// Stands for election until `stop`, then gives the Lease back, so that another replica need
    /// not wait for it to run out.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let pause = tokio::select! {
                () = &mut stop => break,
                pause = self.round() => pause,
            };
            tokio::select! {
                () = &mut stop => break,
                () = sleep(pause) => {}
            }
        }
        // What only a leader may do stops before another can begin with it.
        self.lead(false, "this replica stops");
        if timeout(RELEASE_LIMIT, self.release()).await.is_err() {
            tracing::warn!(
                lease = self.settings.lease,
                "the Lease could not be given back"
            );
        }
    }

    /// Takes or renews the Lease if that is possible; returns how long to wait for the next time.
    async fn round(&mut self) -> Duration {
        let began = Instant::now();
        if self.time_left(began).is_some_and(|left| left.is_zero()) {
            self.overdue();
        }
        let limit = self.time_left(began).unwrap_or(self.settings.renew_within);
        match timeout(limit, self.attempt()).await {
            Ok(Ok(Standing::Ours)) => {
                self.recovered();
                self.renewed = Some(began);
                self.seen = None;
                self.lead(true, "the Lease was free or had run out");
            }
            Ok(Ok(Standing::Theirs(holder))) => {
                self.recovered();
                self.renewed = None;
                self.written = None;
                self.lead(false, &holder);
            }
            Ok(Err(failure)) => self.failed(&failure.to_string()),
            Err(_elapsed) => self.failed("the API server did not answer in time"),
        }
        let pause = self.settings.retry.mul_f64(rand::random_range(0.9..1.1));
        match self.time_left(Instant::now()) {
            Some(left) => pause.min(left),
            None => pause,
        }
    }

    /// How long this replica may go on leading without renewing; `None` while it does not lead.
    fn time_left(&self, now: Instant) -> Option<Duration> {
        let until = self.renewed? + self.settings.renew_within;
        Some(until.saturating_duration_since(now))
    }

    fn overdue(&mut self) {
        self.renewed = None;
        self.written = None;
        let why = format!(
            "the Lease could not be renewed for {:?}",
            self.settings.renew_within
        );
        self.lead(false, &why);
    }

    fn failed(&mut self, why: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                lease = self.settings.lease,
                "the Lease cannot be asked for: {why}; trying again every {:?}",
                self.settings.retry
            );
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(
                lease = self.settings.lease,
                "the Lease can be asked for again"
            );
        }
    }

    fn lead(&self, leading: bool, why: &str) {
        let (lease, identity) = (&self.settings.lease, &self.settings.identity);
        self.leading.send_if_modified(|now| {
            if *now == leading {
                return false;
            }
            if leading {
                tracing::info!(lease, identity, "this replica leads: {why}");
            } else {
                tracing::info!(lease, identity, "this replica no longer leads: {why}");
            }
            *now = leading;
            true
        });
    }

    async fn attempt(&mut self) -> Result<Standing, ApiFailure> {
        for _ in 0..TRIES {
            let current = match self.written.take() {
                Some(written) => Some(written),
                None => self.read().await?,
            };
            let written = match current {
                None => self.create().await,
                Some(lease) => {
                    if let Some(holder) = self.held_by_another(&lease) {
                        return Ok(Standing::Theirs(holder));
                    }
                    self.replace(lease).await
                }
            };
            match written {
                Ok(lease) => {
                    self.written = Some(lease);
                    return Ok(Standing::Ours);
                }
                // Somebody wrote, made or deleted it in between: look again.
                Err(failure) if matches!(failure.code(), Some(404 | 409)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(Standing::Theirs(
            "others write the Lease all the time".to_owned(),
        ))
    }

    async fn read(&self) -> Result<Option<Lease>, ApiFailure> {
        let name = &self.settings.lease;
        within(self.what("get"), self.api.get_opt(name)).await
    }

    async fn create(&self) -> Result<Lease, ApiFailure> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.lease.clone()),
                namespace: Some(self.settings.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(self.claim(None)),
        };
        let request = PostParams::default();
        within(self.what("create"), self.api.create(&request, &lease)).await
    }

    /// Writes the Lease for this replica. The resource version it was read with is the guard
    /// against two replicas that both found it free.
    async fn replace(&self, mut lease: Lease) -> Result<Lease, ApiFailure> {
        lease.spec = Some(self.claim(lease.spec.take()));
        self.put(&lease).await
    }

    async fn put(&self, lease: &Lease) -> Result<Lease, ApiFailure> {
        let request = PostParams::default();
        let put = self.api.replace(&self.settings.lease, &request, lease);
        within(self.what("update"), put).await
    }

    fn claim(&self, former: Option<LeaseSpec>) -> LeaseSpec {
        let former = former.unwrap_or_default();
        let now = Some(MicroTime(Timestamp::now()));
        let ours = former.holder_identity.as_deref() == Some(&self.settings.identity);
        let transitions = former.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: Some(seconds(self.settings.duration)),
            acquire_time: if ours {
                former.acquire_time
            } else {
                now.clone()
            },
            renew_time: now,
            lease_transitions: Some(if ours {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }
    }

    /// Who else has the Lease; `None` if it is free, ours, or was not renewed for too long.
    fn held_by_another(&mut self, lease: &Lease) -> Option<String> {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty())?;
        if holder == self.settings.identity {
            return None;
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let now = Instant::now();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            Some(_) | None => {
                self.seen = Some((version, now));
                now
            }
        };
        let lasts = spec.lease_duration_seconds.unwrap_or(0);
        let lasts = Duration::from_secs(u64::try_from(lasts).unwrap_or(0));
        let expired = now.saturating_duration_since(since) >= lasts.max(self.settings.duration);
        (!expired).then(|| format!("{holder} has the Lease"))
    }

    /// Gives the Lease back, if this replica has it.
    async fn release(&self) {
        for _ in 0..TRIES {
            let mut lease = match self.read().await {
                Ok(Some(lease)) => lease,
                Ok(None) => return,
                Err(failure) => return tracing::warn!("the Lease was not given back: {failure}"),
            };
            let spec = lease.spec.take().unwrap_or_default();
            if spec.holder_identity.as_deref() != Some(&self.settings.identity) {
                return;
            }
            lease.spec = Some(LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..spec
            });
            match self.put(&lease).await {
                Ok(_) => return,
                // Our own last renewal may have come in between.
                Err(failure) if failure.code() == Some(409) => {}
                Err(failure) => return tracing::warn!("the Lease was not given back: {failure}"),
            }
        }
    }

    fn what(&self, verb: &str) -> String {
        format!(
            "{verb} Lease {}/{}",
            self.settings.namespace, self.settings.lease
        )
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
