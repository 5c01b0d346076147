//! Stores what is kept where a restart finds it: in a file, or in one object of the cluster.
//!
//! It happens beside the pushes and never holds one up. What cannot be stored now is tried again
//! until it can, and a gauge says so meanwhile.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mesh_runtime::backoff::Backoff;
use tokio::sync::watch;

use crate::model::Kept;

mod config_map;
mod file;

pub use config_map::{KEY, KeptConfigMap, NAME};
pub use file::KeptFile;

/// The first wait after a failure, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Changes that come faster than this are not all stored; the newest always is.
const PACE: Duration = Duration::from_millis(50);

/// What is stored is stored afresh after this time, in case it is no more what it was.
const AFRESH: Duration = Duration::from_mins(10);

/// The gauge that is 1 while something is kept that is not stored.
pub const UNSTORED: &str = "mesh_kept_unstored";

/// Where what is kept is stored.
pub trait Place: Send + Sync + 'static {
    /// Stores a text in the place of the one there was.
    fn write(&self, text: String) -> impl Future<Output = Result<(), String>> + Send;
}

/// What the push loop says is to be kept; `None` until the first state is complete.
pub type ToKeep = watch::Receiver<Option<Arc<Kept>>>;

/// Stores the newest, for as long as it is this process that does (`ours`), until nobody says any
/// more what that is. A drain does not end it: as long as there are pushes there is news.
pub async fn run(place: impl Place, mut newest: ToKeep, mut ours: watch::Receiver<bool>) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut stored: Option<Arc<Kept>> = None;
    let mut told = Vec::new();
    loop {
        let kept = newest.borrow_and_update().clone();
        if !*ours.borrow_and_update() {
            // Whoever stores meanwhile may store something else.
            stored = None;
            metrics::gauge!(UNSTORED).set(0.0);
        }
        let next = kept.filter(|kept| *ours.borrow() && stored.as_ref() != Some(kept));
        let Some(kept) = next else {
            tokio::select! {
                changed = newest.changed() => if changed.is_err() {
                    return;
                },
                () = changed(&mut ours) => {}
                // Somebody may have changed or removed what was stored.
                () = tokio::time::sleep(AFRESH) => stored = None,
            }
            continue;
        };
        let (text, left_out) = kept.to_text();
        for one in left_out.iter().filter(|one| !told.contains(*one)) {
            tracing::error!("{one}");
        }
        told = left_out;
        match place.write(text).await {
            Ok(()) => {
                backoff.reset();
                metrics::gauge!(UNSTORED).set(if told.is_empty() { 0.0 } else { 1.0 });
                stored = Some(kept);
                tokio::time::sleep(PACE).await;
            }
            Err(error) => {
                if backoff.attempts() == 0 {
                    tracing::error!(
                        %error,
                        "what is kept could not be stored, and a restart would lose it; it is \
                         tried again until it can be"
                    );
                }
                metrics::gauge!(UNSTORED).set(1.0);
                tokio::time::sleep(backoff.next_delay(rand::random())).await;
            }
        }
    }
}

/// Waits for a change; whoever is gone changes nothing.
async fn changed(ours: &mut watch::Receiver<bool>) {
    if ours.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
