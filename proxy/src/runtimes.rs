//! The threads of the process: one for control, one per worker.
//!
//! The main thread runs the control runtime (configuration, admin pages, scrapes). Every worker
//! has a thread and a single-threaded runtime of its own, so that nothing on the request path
//! is shared or moved between threads.

use std::io;
use std::rc::Rc;
use std::thread;

use tokio::runtime::{Builder, LocalOptions, Runtime};
use tokio::sync::{mpsc, oneshot};

use crate::dispatch::{self, Command};
use crate::worker::Worker;

/// Commands that may wait for a worker.
const COMMANDS: usize = 16;

/// The control runtime.
pub fn control() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A running worker thread.
#[derive(Debug)]
pub struct WorkerThread {
    /// How it is told what to do; it ends when this is dropped.
    pub commands: mpsc::Sender<Command>,
    /// Resolves when the thread has ended, for whatever reason.
    pub ended: oneshot::Receiver<()>,
}

/// Starts a worker thread; `build` runs on it.
pub fn spawn_worker(
    id: usize,
    build: impl FnOnce() -> Rc<Worker> + Send + 'static,
) -> io::Result<WorkerThread> {
    let (commands, received) = mpsc::channel(COMMANDS);
    let (alive, ended) = oneshot::channel::<()>();
    let runtime = Builder::new_current_thread();
    thread::Builder::new()
        .name(format!("worker-{id}"))
        .spawn(move || {
            // Dropped however this thread ends, a panic included.
            let _alive = alive;
            let mut runtime = runtime;
            match runtime.enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    runtime.block_on(async move { dispatch::run(build(), received).await });
                }
                Err(error) => tracing::error!(worker = id, %error, "no runtime for a worker"),
            }
        })?;
    Ok(WorkerThread { commands, ended })
}
