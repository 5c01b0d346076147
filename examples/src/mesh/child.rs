//! One child process: started in a process group of its own, its output in a file, and
//! certain to be gone when its owner is.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    /// Held open for its end alone: with `--exit-on-stdin-close` a child ends when the pipe
    /// does, so that even a killed parent leaves nothing behind.
    _stdin: Option<ChildStdin>,
}

impl Child {
    pub(super) fn spawn(binary: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut process = Command::new(binary)
            .args(arguments)
            .arg("--exit-on-stdin-close")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A ctrl-C at the terminal is for the parent, which ends its children in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} {}", binary.display(), arguments.join(" ")))?;
        let stdin = process.stdin.take();
        Ok(Self {
            process,
            _stdin: stdin,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How the process ended, if it has.
    pub(super) fn exited(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) -> anyhow::Result<()> {
        match self.group() {
            Some(pid) => kill(pid, Signal::SIGTERM).context("SIGTERM"),
            None => Ok(()),
        }
    }

    /// Ends it at once.
    pub(super) fn kill(self) {
        drop(self);
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.process.id()).ok().map(Pid::from_raw)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(Some(_ended)) = self.process.try_wait() {
            return;
        }
        if let Some(group) = self.group()
            && let Err(error) = killpg(group, Signal::SIGKILL)
        {
            tracing::debug!(%error, "process group already gone");
        }
        if let Err(error) = self.process.wait() {
            tracing::warn!(%error, "a child could not be waited for");
        }
    }
}
