//! What a command line asks for: a proxy that runs until it is told to stop, or something done
//! at once.

use std::io::Write;

use bytes::Bytes;

use crate::args::{Args, Command};
use crate::bootstrap::Settings;
use crate::bootstrap::check::{self, InvalidSettings};
use crate::{init, request};

/// What a command line asks for.
#[derive(Debug)]
pub enum Task {
    /// Run a proxy.
    Serve(Box<Settings>),
    /// Done; this is what there is to show.
    Done(Bytes),
}

/// Why it cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// What was asked for did not succeed.
    #[error("{0}")]
    Failed(String),
}

impl From<InvalidSettings> for Failed {
    fn from(error: InvalidSettings) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Does what is done at once, and prepares what is not.
pub fn begin(args: Args) -> Result<Task, Failed> {
    match args.command {
        Command::Serve(serving) => Ok(Task::Serve(Box::new(check::settings(serving)?))),
        Command::Init(options) => match init::run(&options) {
            Ok(report) => Ok(Task::Done(report.to_string().into())),
            Err(init::InitError::Options(error)) => Err(Failed::Usage(error.to_string())),
            Err(error) => Err(Failed::Failed(error.to_string())),
        },
        Command::Request(options) => {
            let answer = once(request::request(&options))?;
            Ok(Task::Done(answer))
        }
        Command::Wait(options) => {
            once(request::wait(&options))?;
            Ok(Task::Done(Bytes::new()))
        }
    }
}

fn once<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::Failed(format!("cannot start: {error}")))?;
    runtime.block_on(work).map_err(Failed::Failed)
}

/// Writes what there is to show to standard output.
pub fn show(output: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let shown = stdout.write_all(output).and_then(|()| stdout.flush());
    match shown {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        shown => shown,
    }
}
