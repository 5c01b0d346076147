//! Runs what hyper wants run beside a connection on the worker's own thread.

use hyper::rt::Executor;

/// Spawns on the current thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
