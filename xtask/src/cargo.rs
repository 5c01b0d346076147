//! Runs Cargo for the other commands: where the workspace is, and builds that show progress.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// How often a build that writes to a file or a pipe says how far it is.
const PLAIN_REPORT: Duration = Duration::from_secs(10);

/// The Cargo that runs us, or the one on the `PATH`.
pub(crate) fn command() -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    command
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> PathBuf {
    // Cargo says where the package is now; the folder may have moved since we were compiled.
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().map_or_else(|| own.clone(), PathBuf::from)
}

/// The platform we build on, so that crates of other platforms are not counted.
fn host() -> Option<String> {
    let output = command().arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
}

/// What Cargo knows of the workspace, dependencies included.
pub(crate) struct Metadata(Value);

impl Metadata {
    /// Asks Cargo.
    pub(crate) fn load() -> Result<Self> {
        let output = command()
            .args(["metadata", "--format-version", "1"])
            .args(host().iter().flat_map(|host| ["--filter-platform", host]))
            .stderr(Stdio::inherit())
            .output()
            .context("cargo could not be started")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed (its message is above); is the network reachable?");
        }
        let parsed = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        Ok(Self(parsed))
    }

    /// Where Cargo puts what it builds (`CARGO_TARGET_DIR` and Cargo's settings included).
    pub(crate) fn target_directory(&self) -> Result<PathBuf> {
        let text = self.0.get("target_directory").and_then(Value::as_str);
        Ok(PathBuf::from(
            text.context("cargo metadata names no target_directory")?,
        ))
    }

    /// The document itself.
    pub(crate) fn document(&self) -> &Value {
        &self.0
    }

    /// About how many things Cargo will report when it builds these programs of these packages: one
    /// per library, program and build script, and one per build script that ran.
    fn expected_reports(&self, packages: &[&str], programs: &[&str]) -> u64 {
        let list = |key: &str| self.0.pointer(key).and_then(Value::as_array);
        let (Some(all), Some(nodes)) = (list("/packages"), list("/resolve/nodes")) else {
            return 0;
        };
        let by_id: BTreeMap<&str, &Value> = all
            .iter()
            .filter_map(|package| Some((text(package, "id")?, package)))
            .collect();
        let edges: BTreeMap<&str, &Value> = nodes
            .iter()
            .filter_map(|node| Some((text(node, "id")?, node)))
            .collect();
        let mut waiting: Vec<&str> = by_id
            .iter()
            .filter(|(_, package)| text(package, "name").is_some_and(|n| packages.contains(&n)))
            .map(|(id, _)| *id)
            .collect();
        let mut seen = BTreeSet::new();
        let mut reports = u64::try_from(programs.len()).unwrap_or_default();
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Some(package) = by_id.get(id) {
                reports += targets(package);
            }
            if let Some(node) = edges.get(id) {
                waiting.extend(dependencies(node));
            }
        }
        reports
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn items<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// What is built of a package that somebody depends on.
fn targets(package: &Value) -> u64 {
    let mut count = 0;
    for kind in items(package, "targets").flat_map(|target| items(target, "kind")) {
        count += match kind.as_str() {
            Some("lib" | "rlib" | "proc-macro") => 1,
            // Compiled, then run.
            Some("custom-build") => 2,
            _ => 0,
        };
    }
    count
}

/// The packages a node needs for a build on this machine, tests left out.
fn dependencies(node: &Value) -> impl Iterator<Item = &str> {
    items(node, "deps")
        .filter(|dependency| {
            items(dependency, "dep_kinds").any(|kind| text(kind, "kind") != Some("dev"))
        })
        .filter_map(|dependency| text(dependency, "pkg"))
}

/// What one line of Cargo's output told us.
enum Event {
    /// A line of Cargo's own messages: what it is doing now.
    Doing(String),
    /// One more thing is built.
    Built,
    /// The compiler reported an error; its rendered text.
    Error(String),
}

/// Builds some programs of some packages with a progress bar, and returns the folder they are in.
pub(crate) fn build_programs(
    profile: &str,
    packages: &[&str],
    programs: &[&str],
) -> Result<PathBuf> {
    let mut command = command();
    command.args(["build", "--profile", profile]);
    Ok(build(command, packages, programs)?.join(profile))
}

/// Builds programs that need nothing of the machine they will run on, and returns the folder
/// they are in. They say nothing of the folders they were built in either.
pub(crate) fn build_static(profile: &str, packages: &[&str], programs: &[&str]) -> Result<PathBuf> {
    // A platform named on the command line keeps build scripts and macros out of the flags, and
    // the output apart from that of every other build.
    let platform = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut flags = OsString::from("-Ctarget-feature=+crt-static");
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    // Our own files are named relative to the workspace already, but for those that are generated.
    // The workspace itself is left out: other flags for every checkout would build all crates anew.
    let target = Metadata::load()?.target_directory()?;
    for (folder, name) in [(cargo_home, "/cargo"), (Some(target), "/target")] {
        if let Some(folder) = folder {
            flags.push("\u{1f}--remap-path-prefix=");
            flags.push(folder);
            flags.push("=");
            flags.push(name);
        }
    }
    let mut command = command();
    command.args(["build", "--profile", profile, "--target", &platform]);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags);
    Ok(build(command, packages, programs)?
        .join(platform)
        .join(profile))
}

/// Runs a build of some programs with a progress bar, and returns Cargo's target folder.
fn build(mut command: Command, packages: &[&str], programs: &[&str]) -> Result<PathBuf> {
    let metadata = Metadata::load()?;
    command.args(["--message-format", "json-diagnostic-rendered-ansi"]);
    // All that is named, and nothing besides: every program is linked on its own.
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.args(programs.iter().flat_map(|program| ["--bin", program]));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cargo could not be started")?;
    let started = Instant::now();
    let mut progress = Progress::new(metadata.expected_reports(packages, programs), started);
    let failure = follow(child, &mut progress)?;
    progress.clear();
    if let Some(report) = failure {
        eprintln!("{report}");
        bail!(
            "the build of {} failed after {} s; the compiler's errors are above",
            programs.join(", "),
            started.elapsed().as_secs()
        );
    }
    eprintln!(
        "built {} in {} s",
        programs.join(", "),
        started.elapsed().as_secs()
    );
    metadata.target_directory()
}

/// Reads both outputs of Cargo until it ends. Returns what to show if it failed.
fn follow(mut child: Child, progress: &mut Progress) -> Result<Option<String>> {
    let (events, incoming) = mpsc::channel();
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let stderr = child.stderr.take().context("cargo has no stderr")?;
    let messages = events.clone();
    let readers = [
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(event) = read_message(&line)
                    && messages.send(event).is_err()
                {
                    break;
                }
            }
        }),
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if events.send(Event::Doing(line)).is_err() {
                    break;
                }
            }
        }),
    ];
    let (mut errors, mut log) = (Vec::new(), Vec::new());
    for event in incoming {
        match event {
            Event::Built => progress.built(),
            Event::Error(rendered) => errors.push(rendered),
            Event::Doing(line) => {
                progress.doing(line.trim());
                log.push(line);
            }
        }
    }
    for reader in readers {
        if reader.join().is_err() {
            bail!("reading cargo's output failed");
        }
    }
    if child.wait().context("cargo")?.success() {
        return Ok(None);
    }
    // Cargo's last lines name the package that failed, or say why nothing was compiled at all.
    let tail = log.len().saturating_sub(15);
    errors.extend(log.into_iter().skip(tail));
    Ok(Some(errors.join("\n")))
}

fn read_message(line: &str) -> Option<Event> {
    let message: Value = serde_json::from_str(line).ok()?;
    match text(&message, "reason")? {
        "compiler-artifact" | "build-script-executed" => Some(Event::Built),
        "compiler-message" => {
            let inner = message.get("message")?;
            let rendered = text(inner, "rendered")?;
            (text(inner, "level") == Some("error")).then(|| Event::Error(rendered.to_owned()))
        }
        _ => None,
    }
}

/// A bar on a terminal; elsewhere a line every few seconds.
struct Progress {
    bar: Option<ProgressBar>,
    done: u64,
    total: u64,
    started: Instant,
    reported: Instant,
    current: String,
}

impl Progress {
    fn new(total: u64, started: Instant) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "building [{bar:30}] {pos}/{len} {elapsed} {wide_msg}";
            let style = ProgressStyle::with_template(template);
            let bar = ProgressBar::new(total);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            eprintln!("building: about {total} crates and programs");
        }
        Self {
            bar,
            done: 0,
            total,
            started,
            reported: started,
            current: String::new(),
        }
    }

    fn built(&mut self) {
        self.done += 1;
        // The total is an estimate: a crate may be built twice, for build scripts and for us.
        self.total = self.total.max(self.done);
        self.show();
    }

    fn doing(&mut self, line: &str) {
        line.clone_into(&mut self.current);
        self.show();
    }

    fn show(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_length(self.total);
            bar.set_position(self.done);
            bar.set_message(self.current.clone());
        } else if self.reported.elapsed() >= PLAIN_REPORT {
            self.reported = Instant::now();
            let seconds = self.started.elapsed().as_secs();
            eprintln!(
                "building: {}/{} after {seconds} s: {}",
                self.done, self.total, self.current
            );
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests;
