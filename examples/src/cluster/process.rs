//! Processes in pods, seen from the machine they run on: for faults no API offers.

use std::fs;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Processes of this machine whose command line holds all of these words.
pub fn processes_of(words: &[&str]) -> anyhow::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end while we look at it.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line);
        let mut arguments = line.split('\0');
        let program = arguments.next().unwrap_or_default();
        if program.ends_with("/proxy") && words.iter().all(|word| line.contains(word)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// A process that was stopped and goes on when this is dropped.
#[derive(Debug)]
pub struct Stopped(Pid);

impl Stopped {
    /// Stops a process without its knowledge (SIGSTOP).
    pub fn stop(pid: i32) -> anyhow::Result<Self> {
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGSTOP).with_context(|| format!("SIGSTOP to {pid}"))?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = kill(self.0, Signal::SIGCONT) {
            tracing::warn!(pid = %self.0, %error, "SIGCONT");
        }
    }
}
