//! Tells users what became of their objects: the conditions `Accepted`, `ResolvedRefs` and
//! `Programmed` in the status of every mesh object.
//!
//! Every replica counts which of its proxies have applied what; the leader sums the counts and
//! writes. What is to be said is computed anew from the newest examined world whenever something
//! happened ([`mod@view`], pure); what is written, and when, is the difference to what the objects
//! say already ([`plan`]), at a limited rate ([`writer`]).

pub mod bucket;
pub mod concern;
pub mod conditions;
pub mod events;
#[cfg(test)]
mod fixtures;
pub mod plan;
pub mod reasons;
pub mod refusal;
pub mod replicas;
pub mod tally;
pub mod view;
pub mod writer;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use mesh_runtime::drain::DrainWatch;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::discovery::registry::Registry;
use crate::push::board::Board;
use replicas::{Published, Publisher, Replicas};
use view::{Sources, View, view};
use writer::Writer;

/// Who writes, as `managedFields` will say.
pub const MANAGER: &str = "mesh-status";

/// Things that happen within this time are looked at together.
const COLLECT: Duration = Duration::from_millis(200);
/// Time alone changes something too: a proxy has been silent for long, another replica is gone.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);
/// After the start proxies come back first: before that, few of them have applied anything.
const WARM_UP: Duration = Duration::from_secs(10);

/// Who this replica is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its pod.
    pub pod: String,
    /// Where it and the Lease are.
    pub namespace: String,
}

/// Keeps the status of all mesh objects right until `drain`; writes while `leading` says so.
pub async fn run(
    client: Client,
    registry: Arc<Registry>,
    board: Arc<Board>,
    leading: watch::Receiver<bool>,
    settings: Settings,
    drain: DrainWatch,
) {
    let mut status = Status {
        replicas: Replicas::listen(client.clone(), &settings),
        publisher: Publisher::new(client.clone(), settings.clone()),
        writer: Writer::new(client, &settings, leading.clone()),
        registry,
        board,
        leading,
        started: Instant::now(),
    };
    tokio::select! {
        () = drain.triggered() => {}
        () = status.keep() => {}
    }
    status.publisher.withdraw(&[], Instant::now()).await;
}

struct Status {
    registry: Arc<Registry>,
    board: Arc<Board>,
    leading: watch::Receiver<bool>,
    replicas: Replicas,
    publisher: Publisher,
    writer: Writer,
    started: Instant,
}

impl Status {
    async fn keep(&mut self) {
        let mut examined = self.board.examined();
        let mut due = Instant::now();
        loop {
            tokio::select! {
                changed = examined.changed() => if changed.is_err() { return },
                changed = self.leading.changed() => if changed.is_err() { return },
                () = self.registry.changed() => {}
                () = self.board.reports_changed() => {}
                () = self.replicas.changed() => {}
                () = sleep_until(due) => {}
            }
            sleep(COLLECT).await;
            due = self.step().await.min(Instant::now() + AT_LEAST_EVERY);
        }
    }

    /// Looks at everything once; returns when to look again though nothing happens.
    async fn step(&mut self) -> Instant {
        let now = Instant::now();
        let warm = self.started + WARM_UP;
        if now < warm {
            return warm;
        }
        let Some(sources) = self.sources(now) else {
            return now + AT_LEAST_EVERY;
        };
        let (proxies, others) = (sources.proxies.clone(), sources.replicas.len());
        let view = match tokio::task::spawn_blocking(move || view(&sources)).await {
            Ok(view) => view,
            Err(error) => {
                tracing::error!(%error, "what objects' status should say could not be found out");
                return now + AT_LEAST_EVERY;
            }
        };
        let View { own, wanted } = view;
        let leads = *self.leading.borrow();
        metrics::gauge!("mesh_status_leader").set(f64::from(u8::from(leads)));
        let mut due = now + AT_LEAST_EVERY;
        let gone = self.replicas.gone(now);
        if leads && others == 0 {
            self.publisher.withdraw(&gone, now).await;
        } else {
            let published = Published::new(&proxies, &own, others + 1);
            due = due.min(self.publisher.step(published, &gone, now).await);
        }
        if leads {
            due = due.min(self.writer.step(&wanted).await);
        } else {
            self.writer.rest();
        }
        due
    }

    fn sources(&self, now: Instant) -> Option<Sources> {
        let examined = Arc::clone(self.board.examined().borrow().as_ref()?);
        let replicas = self.replicas.live(now);
        let world = &examined.input.world;
        let proxies = self.registry.applied(|lost| {
            let name = lost.who.workload.to_string();
            let moved = replicas.iter().any(|(_, other)| other.holds(&name));
            !moved && tally::expected_back(world, lost, now)
        });
        Some(Sources {
            reports: self.board.reports_by_object(),
            examined: Arc::clone(&examined),
            proxies,
            replicas,
            now,
        })
    }
}

#[cfg(test)]
mod tests;
