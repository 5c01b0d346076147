//! A Kubernetes cluster as a source of objects.
//!
//! One task follows each resource ([`follow`]), cuts objects down while they are read ([`keep`])
//! and decodes them as if they came from a file. One task puts what they see together
//! ([`reconcile`]) and passes on what is different. Whatever happens to the API server, what was
//! passed on stays in force.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::Batch;
use crate::crd::Kind;

mod credentials;
mod entry;
mod events;
mod follow;
mod keep;
mod kept;
mod mesh_config;
mod objects;
mod reconcile;
mod resources;
mod single;
mod trouble;

use credentials::{SecretName, Verdict};
use follow::Closed;
use keep::{Cut, Data};
use reconcile::Reconciler;
use single::{Single, SingleSink};

/// What to watch, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the mesh itself.
    pub root_namespace: String,
    /// The ConfigMap there that holds the mesh's settings.
    pub mesh_config: String,
    /// The ConfigMap there that holds what is kept.
    pub kept: String,
    /// Whether this replica is the one that stores what is kept, and so knows better than what it
    /// stored.
    pub leading: watch::Receiver<bool>,
    /// The Deployment of the control plane there, which events about the settings are also
    /// attached to; none: no events.
    pub deployment: Option<String>,
    /// How patient the source is.
    pub timing: Timing,
}

impl Settings {
    /// The usual names.
    pub fn new(root_namespace: &str, leading: watch::Receiver<bool>) -> Self {
        Self {
            root_namespace: root_namespace.to_owned(),
            mesh_config: super::mesh_config::NAME.to_owned(),
            kept: crate::keep::NAME.to_owned(),
            leading,
            deployment: Some("istiod".to_owned()),
            timing: Timing::default(),
        }
    }
}

/// How patient the source is.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long the API server may take to answer.
    pub answer: Duration,
    /// How long one watch lasts. A connection that dies in silence is noticed when its watch
    /// should have ended.
    pub watch: Duration,
    /// The first wait after a failure.
    pub retry: Duration,
    /// The longest wait after a failure.
    pub retry_longest: Duration,
    /// A watch that lasted this long did not fail at once.
    pub lively: Duration,
    /// How long a kind may be unknown to an API server that has just started.
    pub settle: Duration,
    /// Most objects in one answer.
    pub page: u32,
    /// Time between two lines about what the start waits for.
    pub remind: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(20),
            watch: Duration::from_mins(1),
            retry: Duration::from_millis(400),
            retry_longest: Duration::from_secs(10),
            lively: Duration::from_secs(5),
            settle: Duration::from_secs(3),
            page: 500,
            remind: Duration::from_secs(15),
        }
    }
}

/// Observations that may wait before a follower waits.
const OBSERVATIONS: usize = 1024;
/// Batches that may wait before the source waits for its reader.
const BATCHES: usize = 16;

/// Something that was observed.
#[derive(Debug)]
enum Observed {
    /// Of the objects of a kind.
    Objects(Kind, objects::Step),
    /// Of the settings of the mesh.
    MeshConfig(Single<mesh_config::Content>),
    /// Of what is kept.
    Kept(Single<kept::Content>),
    /// Of a Secret a Gateway names.
    Secret(SecretName, Single<Verdict>),
}

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct KubernetesWatch {
    tasks: JoinSet<Result<(), String>>,
}

impl KubernetesWatch {
    /// Resolves when the watch has ended, and says why. To keep it is to keep the watch.
    pub async fn ended(mut self) -> Result<(), String> {
        match self.tasks.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(()),
        }
    }
}

/// Watches a cluster. Batches before the first complete one only hold reports; that one holds all
/// objects there are.
pub fn watch(client: Client, settings: Settings) -> (KubernetesWatch, mpsc::Receiver<Batch>) {
    let (batches, receiver) = mpsc::channel(BATCHES);
    let mut tasks = JoinSet::new();
    tasks.spawn(Source::new(client, settings).run(batches));
    (KubernetesWatch { tasks }, receiver)
}

/// The task that puts everything together.
struct Source {
    client: Client,
    settings: Settings,
    reconciler: Reconciler,
    sender: mpsc::Sender<Observed>,
    observed: mpsc::Receiver<Observed>,
    /// The followers; they end with this.
    followers: JoinSet<()>,
    secrets: BTreeMap<SecretName, AbortHandle>,
    herald: Option<events::Herald>,
}

impl Source {
    fn new(client: Client, settings: Settings) -> Self {
        let (sender, observed) = mpsc::channel(OBSERVATIONS);
        let deployment = settings.deployment.as_deref();
        let herald = deployment.map(|name| events::Herald::new(client.clone(), &settings, name));
        Self {
            reconciler: Reconciler::new(Kind::ALL, &settings),
            client,
            settings,
            sender,
            observed,
            followers: JoinSet::new(),
            secrets: BTreeMap::new(),
            herald,
        }
    }

    /// Runs until nobody takes batches any more, or until a follower has ended.
    async fn run(mut self, batches: mpsc::Sender<Batch>) -> Result<(), String> {
        self.follow();
        let mut remind = tokio::time::interval(self.settings.timing.remind);
        remind.tick().await;
        let mut seen = Vec::new();
        loop {
            tokio::select! {
                _ = self.observed.recv_many(&mut seen, OBSERVATIONS) => {}
                _ = remind.tick(), if !self.reconciler.is_complete() => {
                    let missing = self.reconciler.waits_for().join(", ");
                    tracing::info!("no configuration is pushed before these are read: {missing}");
                    continue;
                }
                () = batches.closed() => return Ok(()),
                Some(ended) = self.followers.join_next() => {
                    is_wanted(ended)?;
                    continue;
                }
            }
            let now = Instant::now();
            for one in seen.drain(..) {
                self.reconciler.take(one, now);
            }
            if let Some(wanted) = self.reconciler.secrets() {
                self.follow_secrets(&wanted);
            }
            let batch = self.reconciler.flush();
            if let Some(herald) = &mut self.herald {
                herald.tell(&self.reconciler);
            }
            if !batch.is_empty() && batches.send(batch).await.is_err() {
                return Ok(());
            }
        }
    }

    fn follow(&mut self) {
        let timing = self.settings.timing;
        for kind in Kind::ALL {
            resources::follow(
                &mut self.followers,
                &self.client,
                kind,
                timing,
                &self.sender,
            );
        }
        self.follow_config_map(
            &self.settings.mesh_config.clone(),
            |found| mesh_config::Content::of(&found),
            Observed::MeshConfig,
        );
        self.follow_config_map(
            &self.settings.kept.clone(),
            |found| kept::content(&found),
            Observed::Kept,
        );
    }

    fn follow_config_map<T: Send + 'static>(
        &mut self,
        name: &str,
        read: fn(Cut<Data>) -> T,
        wrap: fn(Single<T>) -> Observed,
    ) {
        let sender = self.sender.clone();
        let sink = SingleSink::new(read, move |step| {
            let sender = sender.clone();
            let observed = wrap(step);
            async move { sender.send(observed).await.map_err(|_gone| Closed) }
        });
        let target = single::target("configmaps", &self.settings.root_namespace, name);
        self.followers.spawn(follow::follow::<Data>(
            self.client.clone(),
            target,
            self.settings.timing,
            sink,
        ));
    }

    fn follow_secrets(&mut self, wanted: &BTreeSet<SecretName>) {
        self.secrets.retain(|name, follower| {
            let keep = wanted.contains(name);
            if !keep {
                follower.abort();
            }
            keep
        });
        for name in wanted {
            if self.secrets.contains_key(name) {
                continue;
            }
            let sender = self.sender.clone();
            let own = name.clone();
            let sink = SingleSink::new(
                |secret| credentials::examine(&secret),
                move |step| {
                    let sender = sender.clone();
                    let observed = Observed::Secret(own.clone(), step);
                    async move { sender.send(observed).await.map_err(|_gone| Closed) }
                },
            );
            let target = single::target("secrets", &name.namespace, &name.name);
            let follower =
                follow::follow::<Data>(self.client.clone(), target, self.settings.timing, sink);
            let handle = self.followers.spawn(follower);
            self.secrets.insert(name.clone(), handle);
        }
    }
}

/// A follower ends when nobody wants what it follows; without another one the mesh would be deaf.
fn is_wanted(ended: Result<(), JoinError>) -> Result<(), String> {
    match ended {
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(format!("a follower ended: {error}")),
        Ok(()) => Err("a follower ended by itself".to_owned()),
    }
}

#[cfg(test)]
mod tests;
