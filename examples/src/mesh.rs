//! A whole mesh on one machine, as the examples' tests and the demo run it: control plane,
//! ingress gateway, sidecars and shop as child processes over a folder of YAML.
//!
//! The YAML is written for addresses below `127.80.`; each running mesh gets a prefix of its
//! own, so that several stand side by side. Whoever drops a [`Mesh`] ends its processes, and
//! they end themselves when they lose the pipe to whoever started them.

mod amend;
mod child;
mod edit;
mod fetch;
mod instance;
mod options;
pub(crate) mod ports;
pub(crate) mod processes;
mod scrape;
mod sync;
#[cfg(test)]
mod tests;
pub(crate) mod topology;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use instance::Instance;
use processes::Processes;
use topology::Part;

pub use edit::with_split;
pub use fetch::{Fetched, fetch, post, send};
pub use options::MeshOptions;
pub use ports::BusyPort;
pub use scrape::Metrics;
pub use sync::ProxySync;

/// How long a child may take to stop once asked.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// How often something is looked at that is waited for.
const POLL: Duration = Duration::from_millis(20);

/// A running mesh.
#[derive(Debug)]
pub struct Mesh {
    instance: Instance,
    folder: TempDir,
    parts: Vec<Part>,
    processes: Processes,
}

impl Mesh {
    /// Starts a mesh and waits until every part is ready.
    pub async fn start(options: MeshOptions) -> anyhow::Result<Self> {
        Self::start_watched(options, |_started| {}).await
    }

    /// Starts a mesh, telling `progress` each part that became ready.
    pub async fn start_watched(
        options: MeshOptions,
        mut progress: impl FnMut(&str),
    ) -> anyhow::Result<Self> {
        let binaries = topology::find_binaries(options.binaries.as_deref())?;
        let (instance, parts) = match options.instance {
            Some(number) => {
                let instance = Instance::numbered(number);
                let parts = topology::parts(&instance, &binaries, &options);
                ports::check_free(parts.iter().flat_map(|part| &part.ports))?;
                (instance.locked()?, parts)
            }
            None => {
                instance::first_free(|instance| topology::parts(instance, &binaries, &options))?
            }
        };
        let folder = tempfile::Builder::new().prefix("mesh-").tempdir()?;
        let mut mesh = Self {
            instance,
            processes: Processes::new(folder.path())?,
            folder,
            parts,
        };
        mesh.write_folders(&options)?;
        // Everything else wants to hear from the control plane at once.
        mesh.start_part(topology::CONTROL_PLANE)?;
        mesh.wait_ready(topology::CONTROL_PLANE).await?;
        progress(topology::CONTROL_PLANE);
        let others: Vec<String> = mesh
            .parts
            .iter()
            .map(|part| part.name.clone())
            .filter(|name| name != topology::CONTROL_PLANE)
            .collect();
        for name in &others {
            mesh.start_part(name)?;
        }
        for name in &others {
            mesh.wait_ready(name).await?;
            progress(name);
        }
        Ok(mesh)
    }

    fn write_folders(&self, options: &MeshOptions) -> anyhow::Result<()> {
        for sub in ["config", "staging"] {
            std::fs::create_dir_all(self.folder.path().join(sub))?;
        }
        for story in std::iter::once("shop").chain(options.stories.iter().map(String::as_str)) {
            let source = options.examples.join(story);
            let entries = std::fs::read_dir(&source)
                .with_context(|| format!("cannot read the example folder {}", source.display()))?;
            for entry in entries {
                let path = entry?.path();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "yaml")
                {
                    let file = path.file_name().unwrap_or_default().to_string_lossy();
                    let text = std::fs::read_to_string(&path)?;
                    self.write_config(&format!("{story}-{file}"), &text)?;
                }
            }
        }
        Ok(())
    }

    /// The folder that the control plane watches.
    pub fn config_dir(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// Where each child's output goes, a file per part.
    pub fn log_dir(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// Writes one file of the configuration in one step, addresses adapted to this mesh.
    /// Files of an example folder are named `FOLDER-FILE`.
    pub fn write_config(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let staged = self.folder.path().join("staging").join(file);
        let target = self.config_dir().join(file);
        std::fs::write(&staged, self.instance.localize(text))
            .and_then(|()| std::fs::rename(&staged, &target))
            .with_context(|| format!("cannot write {}", target.display()))
    }

    /// Reads one file of the configuration, with this mesh's addresses.
    pub fn read_config(&self, file: &str) -> anyhow::Result<String> {
        let path = self.config_dir().join(file);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Removes one file of the configuration.
    pub fn remove_config(&self, file: &str) -> anyhow::Result<()> {
        let path = self.config_dir().join(file);
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// The names of all parts: `control-plane`, proxies by workload (`frontend-1`),
    /// applications with `-app` behind it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }

    /// The address 127.N.`third`.`fourth` of this mesh.
    pub fn ip(&self, third: u8, fourth: u8) -> Ipv4Addr {
        self.instance.ip(third, fourth)
    }

    /// Where users enter: the ingress gateway.
    pub fn gateway(&self) -> SocketAddr {
        (self.ip(0, 1), 8080).into()
    }

    /// A part's own address.
    pub fn address_of(&self, name: &str) -> anyhow::Result<Ipv4Addr> {
        Ok(self.part(name)?.address)
    }

    /// The outbound HTTP listener of a workload's sidecar.
    pub fn outbound(&self, workload: &str) -> anyhow::Result<SocketAddr> {
        Ok((self.address_of(workload)?, 15001).into())
    }

    /// The HTTP address of an application, as `backend-v1`, around its sidecar.
    pub fn app(&self, workload: &str) -> anyhow::Result<SocketAddr> {
        Ok((self.address_of(&format!("{workload}-app"))?, 8080).into())
    }

    /// A page of the control plane's admin listener.
    pub async fn control_plane(&self, path: &str) -> anyhow::Result<Fetched> {
        fetch((self.ip(0, 2), 15014).into(), path).await
    }

    /// A page of a proxy's admin listener.
    pub async fn proxy(&self, workload: &str, path: &str) -> anyhow::Result<Fetched> {
        fetch((self.address_of(workload)?, 15000).into(), path).await
    }

    /// A scrape of a proxy's metrics, or of the control plane's.
    pub async fn metrics(&self, name: &str) -> anyhow::Result<Metrics> {
        let (port, path) = match name {
            topology::CONTROL_PLANE => (15014, "/metrics"),
            _ => (15090, "/stats/prometheus"),
        };
        let page = fetch((self.address_of(name)?, port).into(), path).await?;
        page.expect_ok()
            .with_context(|| format!("metrics of {name}"))?;
        Ok(Metrics::parse(&page.body))
    }

    /// Tells an application to misbehave, see `POST /control` of the shop.
    pub async fn order(&self, workload: &str, orders: &serde_json::Value) -> anyhow::Result<()> {
        post(self.app(workload)?, "/control", &orders.to_string())
            .await?
            .expect_ok()
    }

    /// What an application has counted.
    pub async fn counters(&self, workload: &str) -> anyhow::Result<serde_json::Value> {
        let page = fetch(self.app(workload)?, "/control/counters").await?;
        page.expect_ok()?;
        Ok(serde_json::from_str(&page.body)?)
    }

    /// The process id of a running part.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.processes.pid(name)
    }

    /// Starts a part that is not running, without waiting for it.
    pub fn start_part(&mut self, name: &str) -> anyhow::Result<()> {
        let part = self.part(name)?.clone();
        self.processes.start(&part)
    }

    /// Ends a part with SIGKILL.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.part(name)?;
        self.processes.kill(name)
    }

    /// Asks a part to stop with SIGTERM and waits until it has.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.part(name)?;
        self.processes.stop(&[name.to_owned()], STOP_DEADLINE).await
    }

    /// Kills a part, starts it again and waits until it is ready.
    pub async fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        self.kill(name)?;
        self.start_part(name)?;
        self.wait_ready(name).await
    }

    /// Waits until a part is ready; on failure says what it answered and what it logged.
    pub async fn wait_ready(&mut self, name: &str) -> anyhow::Result<()> {
        let part = self.part(name)?.clone();
        self.processes.ready(&part).await
    }

    /// The last lines of every part's output, for the report of a failed test.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for name in self.names() {
            let log = self.processes.log(name);
            // Writing to a String cannot fail.
            let _written = writeln!(all, "== {name}\n{}", tail(&log));
        }
        all
    }

    /// Keeps the folder with configuration and logs when the mesh ends; answers where it is.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_path_buf()
    }

    fn part(&self, name: &str) -> anyhow::Result<&Part> {
        self.parts
            .iter()
            .find(|part| part.name == name)
            .with_context(|| {
                let names: Vec<&str> = self.names().collect();
                format!("no part is named {name:?}; there are {}", names.join(", "))
            })
    }
}

impl Drop for Mesh {
    /// A test that failed shows what the processes said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = self.keep_folder();
            let said = format!("{}\nkept: {}\n", self.logs(), kept.display());
            // With nowhere to write to there is nobody to tell.
            drop(std::io::stderr().write_all(said.as_bytes()));
        }
    }
}

/// The end of a log file.
pub(crate) fn tail(path: &Path) -> String {
    const LINES: usize = 15;
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(LINES);
    let mut end = format!("  last lines of {}:\n", path.display());
    for line in lines.iter().skip(skipped) {
        let _written = writeln!(end, "  | {line}");
    }
    end
}

/// Looks again and again until there is something to return; names what was waited for, and
/// the last error, if time runs out.
pub async fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        let seen = look().await;
        let expired = begun.elapsed() > deadline;
        match seen {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if expired => bail!("waited {deadline:?} for {what}"),
            Err(error) if expired => {
                return Err(error.context(format!("waited {deadline:?} for {what}")));
            }
            Ok(None) | Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
