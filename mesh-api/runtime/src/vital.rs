//! Work a process cannot do without: when one piece of it ends, for whatever reason, the process is
//! not ready any more and ends too, and says why. A process that goes on without would look well
//! and do nothing.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError};

use crate::readiness::{Gate, Readiness};

/// Starts vital tasks. Clones share what they lead to.
#[derive(Debug, Clone)]
pub struct Vital {
    tell: mpsc::UnboundedSender<Loss>,
    alive: Gate,
}

/// Where the end of a vital task is heard of.
#[derive(Debug)]
pub struct Losses(mpsc::UnboundedReceiver<Loss>);

/// A vital task that ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {why}; the process cannot go on without it")]
pub struct Loss {
    /// What it did.
    pub what: String,
    /// How it ended.
    pub why: String,
}

/// A vital task that runs, whether or not this is kept.
#[derive(Debug)]
pub struct Task {
    abort: AbortHandle,
    ended: oneshot::Receiver<()>,
}

impl Task {
    /// Waits until it has ended, as when the process is stopping.
    pub async fn ended(self) {
        // It is never sent anything, but dropped.
        drop(self.ended.await);
    }

    /// Ends it where it stands.
    pub async fn cut(self) {
        self.abort.abort();
        self.ended().await;
    }
}

/// Ways a task that should not end has ended.
#[derive(Debug)]
enum End {
    Returned,
    Panicked(String),
    Failed(String),
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned => formatter.write_str("ended by itself"),
            Self::Panicked(message) => write!(formatter, "ended by a panic: {message}"),
            Self::Failed(error) => write!(formatter, "failed: {error}"),
        }
    }
}

impl Vital {
    /// None yet. Readiness gets a gate that closes with the first loss.
    pub fn new(readiness: &Readiness) -> (Self, Losses) {
        let (tell, losses) = mpsc::unbounded_channel();
        let alive = readiness.gate("everything vital runs");
        alive.open();
        (Self { tell, alive }, Losses(losses))
    }

    /// Runs `work` in the background, and tells when it has ended. Nobody listens any more once
    /// the process is stopping, when it may.
    pub fn spawn(
        &self,
        what: impl Into<String>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Task {
        self.spawn_fallible(what, async {
            work.await;
            Ok::<_, Infallible>(())
        })
    }

    /// The same for work that may fail.
    pub fn spawn_fallible<E: fmt::Display + Send + 'static>(
        &self,
        what: impl Into<String>,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Task {
        let (vital, what) = (self.clone(), what.into());
        let (alive, ended) = oneshot::channel();
        let work = tokio::spawn(work);
        let abort = work.abort_handle();
        tokio::spawn(async move {
            let end = match work.await {
                Ok(Ok(())) => End::Returned,
                Ok(Err(error)) => End::Failed(format!("{error:#}")),
                Err(error) => of_panic(error),
            };
            vital.lost(what, &end);
            drop::<oneshot::Sender<()>>(alive);
        });
        Task { abort, ended }
    }

    fn lost(&self, what: String, end: &End) {
        self.alive.close();
        let loss = Loss {
            what,
            why: end.to_string(),
        };
        // Nobody listens once the process is stopping.
        drop(self.tell.send(loss));
    }
}

impl Losses {
    /// Waits for the first loss that was not heard of yet.
    pub async fn next(&mut self) -> Loss {
        match self.0.recv().await {
            Some(loss) => loss,
            // Nothing is started any more, so nothing is lost.
            None => std::future::pending().await,
        }
    }
}

fn of_panic(error: JoinError) -> End {
    let Ok(payload) = error.try_into_panic() else {
        return End::Failed("it was cancelled".to_owned());
    };
    let text = payload.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    End::Panicked(text.unwrap_or("no message").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_way_to_end_is_told_and_readiness_goes_first() {
        let readiness = Readiness::new();
        let (vital, mut losses) = Vital::new(&readiness);
        assert!(readiness.is_ready());
        vital.spawn("what lasts", std::future::pending());
        vital.spawn("the loop", async {
            panic!("on purpose");
        });
        let loss = losses.next().await;
        assert!(!readiness.is_ready());
        assert_eq!(
            loss.to_string(),
            "the loop ended by a panic: on purpose; the process cannot go on without it"
        );
        vital.spawn("the watch", async {});
        assert_eq!(losses.next().await.why, "ended by itself");
        vital.spawn_fallible("the server", async {
            Err(std::io::Error::other("no more files"))
        });
        assert_eq!(losses.next().await.why, "failed: no more files");
        vital.spawn("the task", std::future::pending()).cut().await;
        assert_eq!(losses.next().await.why, "failed: it was cancelled");
    }
}
