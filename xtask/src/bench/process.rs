//! A child process that cannot outlive the benchmark, and what it costs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::tools;

/// How long a child may take to be ready, and to end when told to.
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// The kernel counts CPU time for user space in hundredths of a second on every architecture we
/// build for.
const MILLIS_PER_TICK: f64 = 10.0;

/// A running child. Ends with this value, or with us if we die.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program on one CPU with its output in a file.
    pub(super) fn start(program: &Path, arguments: &[&str], cpu: u8, log: &Path) -> Result<Self> {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let output = File::create(log).with_context(|| log.display().to_string())?;
        let errors = output.try_clone().context("log of a child")?;
        let child = pinned(program, cpu)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        Ok(Self {
            child,
            name,
            log: log.to_owned(),
        })
    }

    /// Waits until `ready` says so; fails with the child's own words if it ends before or takes
    /// too long.
    pub(super) fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) -> Result<()> {
        let started = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait().context("child")? {
                bail!(
                    "{} ended ({status}) before {what}; it said:\n{}",
                    self.name,
                    self.tail()
                );
            }
            if started.elapsed() > START {
                let seconds = START.as_secs();
                bail!(
                    "{}: no {what} after {seconds} s; it said:\n{}",
                    self.name,
                    self.tail()
                );
            }
            thread::park_timeout(POLL);
        }
        Ok(())
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(20);
        lines
            .into_iter()
            .skip(skipped)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// CPU time of all threads so far.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("{} died", self.name))?;
        Cpu::read(&stat).with_context(|| path)
    }

    /// Resident and proportional memory in KiB.
    pub(super) fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        Memory::read(&text).with_context(|| path)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let told = i32::try_from(self.child.id())
            .is_ok_and(|id| kill(Pid::from_raw(id), Signal::SIGTERM).is_ok());
        let started = Instant::now();
        while told && started.elapsed() < STOP {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::park_timeout(POLL);
        }
        // An error means that it is gone, which is what we want.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A command that stays on one CPU and is killed with us. Both wrappers replace themselves by
/// the program, so the child's id is the program's.
pub(super) fn pinned(program: &Path, cpu: u8) -> Command {
    let setpriv = tools::find("setpriv").unwrap_or_else(|| PathBuf::from("setpriv"));
    let mut command = Command::new(setpriv);
    command
        .args(["--pdeathsig", "KILL", "taskset", "-c", &cpu.to_string()])
        .arg(program);
    command
}

/// Memory in KiB.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) struct Memory {
    pub(super) rss_kib: u64,
    pub(super) pss_kib: u64,
}

impl Memory {
    fn read(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            rss_kib: field("Rss:")?,
            pss_kib: field("Pss:")?,
        })
    }
}

/// CPU time in milliseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Cpu {
    pub(super) user: f64,
    pub(super) system: f64,
}

impl Cpu {
    /// utime and stime of a line of /proc/PID/stat: the 14th and 15th field, counted after the
    /// name, which may contain blanks.
    fn read(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(") ")?;
        let mut fields = after_name.split_whitespace().skip(11);
        let mut next = || fields.next()?.parse::<u32>().ok();
        Some(Self {
            user: f64::from(next()?) * MILLIS_PER_TICK,
            system: f64::from(next()?) * MILLIS_PER_TICK,
        })
    }
}

impl std::ops::Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }
}

/// Whether something accepts connections there.
pub(super) fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Whether a GET of the path is answered with 200; `host` is what it asks for.
pub(super) fn answers(address: &str, host: &str, path: &str) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        )
        .ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        Some(head == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_blanks() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0 20 0 1 0";
        let spent = Cpu {
            user: 1_000.0,
            system: 230.0,
        };
        assert_eq!(Cpu::read(stat), Some(spent));
        assert_eq!(Cpu::read("12 (a"), None);
    }

    #[test]
    fn memory_is_read_by_name() {
        let text = "5500-7ffd ---p 00000000 00:00 0 [rollup]\nRss:    1234 kB\nPss:  567 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(
            Memory::read(text),
            Some(Memory {
                rss_kib: 1234,
                pss_kib: 567
            })
        );
        assert_eq!(Memory::read("Rss: x kB"), None);
    }

    #[test]
    fn a_child_that_ends_early_fails_with_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut child = Process::start(
            Path::new("sh"),
            &["-c", "echo out of luck; exit 3"],
            0,
            &log,
        )
        .unwrap();
        let error = child
            .wait_until("listening", || false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("out of luck") && error.contains("exit status: 3"),
            "{error}"
        );
    }

    #[test]
    fn a_child_ends_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let child = Process::start(Path::new("sleep"), &["60"], 0, &log).unwrap();
        let own = PathBuf::from(format!("/proc/{}", child.child.id()));
        assert!(own.exists());
        drop(child);
        assert!(!own.exists());
    }
}
