//! The cluster's processes: started so that they outlive the command, and found again by what
//! was noted then. A process is ended only when it is the very one we started, because its
//! number may belong to another one by now.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::configuration::write_file;
use super::layout::Layout;

/// What the components find programs with (containerd its shims, kube-proxy `nft`).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a component may take to end by itself. Nothing that it could save is kept.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the kernel may take to end a process that is killed.
const KILLED: Duration = Duration::from_secs(10);

/// A process, told from a later one with the same number by when it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// In clock ticks since the machine was started.
    started: u64,
    /// Which start of the machine that was.
    boot: String,
}

impl Process {
    /// The process that has this number now, if there is one that still runs.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self {
            pid,
            started: start_time(&stat)?,
            boot: boot()?,
        })
    }

    pub(super) fn is_running(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Asks it to end, insists after a while, and returns when it is gone.
    pub(super) fn stop(&self, patience: Duration) -> Result<()> {
        for (signal, limit) in [(Signal::SIGTERM, patience), (Signal::SIGKILL, KILLED)] {
            if !self.is_running() {
                return Ok(());
            }
            match kill(Pid::from_raw(self.pid), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => bail!("process {} cannot be ended: {error}", self.pid),
            }
            let deadline = Instant::now() + limit;
            while self.is_running() && Instant::now() < deadline {
                nap();
            }
        }
        if self.is_running() {
            bail!("process {} does not end, not even when killed", self.pid);
        }
        Ok(())
    }
}

/// When a process was started, from its line in /proc; `None` for one that has ended and only
/// waits for its parent.
fn start_time(stat: &str) -> Option<u64> {
    // The second field is the name, in parentheses, and may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// The process that was started as this component and still runs.
pub(super) fn running(layout: &Layout, component: &str) -> Option<Process> {
    let noted = fs::read(layout.process(component)).ok()?;
    let process: Process = serde_json::from_slice(&noted).ok()?;
    process.is_running().then_some(process)
}

/// Starts a component unless it runs already.
pub(super) fn start(
    layout: &Layout,
    component: &str,
    program: &Path,
    arguments: &[String],
) -> Result<()> {
    if running(layout, component).is_some() {
        return Ok(());
    }
    let path = layout.log(component);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    // A session of its own: neither Ctrl-C nor the end of the terminal reaches it.
    let child = Command::new("setsid")
        .arg(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", layout.root())
        .current_dir(layout.root())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{component} could not be started with `setsid`"))?;
    let pid = i32::try_from(child.id())?;
    let Some(process) = Process::of(pid) else {
        bail!("{component} ended at once; {}", tail(layout, component));
    };
    write_file(
        &layout.process(component),
        &serde_json::to_string(&process)?,
    )
}

/// Ends a component if it runs.
pub(super) fn stop(layout: &Layout, component: &str) -> Result<()> {
    match running(layout, component) {
        Some(process) => process.stop(PATIENCE).context(component.to_owned()),
        None => Ok(()),
    }
}

/// The end of a component's log, for an error message.
pub(super) fn tail(layout: &Layout, component: &str) -> String {
    const LINES: usize = 15;
    let path = layout.log(component);
    let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let lines: Vec<&str> = text.as_deref().unwrap_or_default().lines().collect();
    let last = lines.len().saturating_sub(LINES);
    let shown: Vec<&str> = lines.into_iter().skip(last).collect();
    format!("the end of {}:\n{}", path.display(), shown.join("\n"))
}

/// The time between two looks at something that takes a moment.
#[expect(
    clippy::disallowed_methods,
    reason = "this program has one thread and nothing else to do"
)]
pub(super) fn nap() {
    thread::sleep(Duration::from_millis(50));
}

/// Waits until a probe succeeds, and fails early when the component it asks has died.
pub(super) fn wait_for(
    layout: &Layout,
    component: &str,
    limit: Duration,
    mut ready: impl FnMut() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        if ready() {
            return Ok(());
        }
        if running(layout, component).is_none() {
            bail!("{component} has ended; {}", tail(layout, component));
        }
        if Instant::now() >= deadline {
            bail!(
                "{component} was not ready after {} s; {}",
                limit.as_secs(),
                tail(layout, component)
            );
        }
        nap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(folder: &tempfile::TempDir) -> Layout {
        let layout = Layout::new(Some(folder.path())).unwrap();
        fs::create_dir_all(layout.logs()).unwrap();
        layout
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let rest = (4..=21).map(|n| n.to_string()).collect::<Vec<_>>();
        let stat = format!("7 (a) S) x) S {} 4711 23", rest.join(" "));
        assert_eq!(start_time(&stat), Some(4711));
        assert_eq!(start_time(&stat.replace(") S ", ") Z ")), None);
    }

    #[test]
    fn another_process_with_the_same_number_is_left_alone() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_running());
        let earlier = Process {
            started: own.started - 1,
            ..own.clone()
        };
        assert!(!earlier.is_running());
        // It would end this test.
        earlier.stop(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_process_is_started_once_and_ended() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let layout = layout(&folder);
        let sleep = || start(&layout, "nap", Path::new("sleep"), &["600".to_owned()]);
        sleep().unwrap();
        let first = running(&layout, "nap").unwrap();
        sleep().unwrap();
        assert_eq!(running(&layout, "nap"), Some(first.clone()));
        stop(&layout, "nap").unwrap();
        assert!(!first.is_running());
        stop(&layout, "nap").unwrap();
    }

    #[test]
    fn waiting_for_a_dead_process_ends_early_and_shows_its_last_words() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let layout = layout(&folder);
        let script = ["-c".to_owned(), "sleep 0.2; echo no way out".to_owned()];
        start(&layout, "sad", Path::new("sh"), &script).unwrap();
        let error = wait_for(&layout, "sad", Duration::from_mins(1), || false).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("sad has ended"), "{message}");
        assert!(message.contains("no way out"), "{message}");
    }
}
