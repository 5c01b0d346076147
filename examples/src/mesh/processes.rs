//! Child processes by name: started, waited for, asked to stop, and gone with their owner.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::child::Child;
use super::fetch::fetch;
use super::topology::{FOLDER, Part};
use super::{POLL, tail};

/// How long a part may take to become ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// The running ones.
#[derive(Debug)]
pub(crate) struct Processes {
    folder: PathBuf,
    children: BTreeMap<String, Child>,
}

impl Processes {
    /// None yet; `folder` is where those to come have their data and logs.
    pub(crate) fn new(folder: &Path) -> std::io::Result<Self> {
        for sub in ["logs", "data"] {
            std::fs::create_dir_all(folder.join(sub))?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            children: BTreeMap::new(),
        })
    }

    /// Where a part's output goes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// Starts a part that is not running, without waiting for it.
    pub(crate) fn start(&mut self, part: &Part) -> anyhow::Result<()> {
        let name = &part.name;
        if self.children.contains_key(name) {
            bail!("{name} is running already");
        }
        let arguments: Vec<String> = part
            .arguments
            .iter()
            .map(|text| text.replace(FOLDER, &self.folder.to_string_lossy()))
            .collect();
        let child = Child::spawn(&part.binary, &arguments, &self.log(name))
            .with_context(|| format!("cannot start {name}"))?;
        self.children.insert(name.clone(), child);
        Ok(())
    }

    /// Waits until a part is ready; on failure says what it answered and what it logged.
    pub(crate) async fn ready(&mut self, part: &Part) -> anyhow::Result<()> {
        let name = &part.name;
        let (address, path) = part.probe;
        let begun = Instant::now();
        let mut last;
        loop {
            last = match fetch(address, path).await {
                Ok(page) if page.status == 200 => return Ok(()),
                Ok(page) => format!("{} {}", page.status, page.body.trim()),
                Err(error) => format!("{error:#}"),
            };
            let exited = match self.children.get_mut(name) {
                Some(child) => child.exited()?,
                None => bail!("{name} is not running"),
            };
            if let Some(status) = exited {
                self.children.remove(name);
                last = format!("the process ended with {status}");
                break;
            }
            if begun.elapsed() > READY_DEADLINE {
                last = format!("not ready after {READY_DEADLINE:?}: {last}");
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        let log = tail(&self.log(name));
        bail!("{name} (http://{address}{path}): {last}\n{log}")
    }

    /// The process id of a running part.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        self.children.get(name).map(Child::pid)
    }

    /// The names of the running ones.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.children.keys().map(String::as_str)
    }

    /// Those that ended by themselves since this was last asked.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Vec<(String, ExitStatus)>> {
        let mut ended = Vec::new();
        for (name, child) in &mut self.children {
            if let Some(status) = child.exited()? {
                ended.push((name.clone(), status));
            }
        }
        for (name, _) in &ended {
            self.children.remove(name);
        }
        Ok(ended)
    }

    /// Ends a part with SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        match self.children.remove(name) {
            Some(child) => child.kill(),
            None => bail!("{name} is not running"),
        }
        Ok(())
    }

    /// Asks some parts to stop, all at once, and waits until they have; who takes longer than
    /// `limit` is ended.
    pub(crate) async fn stop(&mut self, names: &[String], limit: Duration) -> anyhow::Result<()> {
        let mut stopping = Vec::with_capacity(names.len());
        for name in names {
            let Some(child) = self.children.remove(name) else {
                bail!("{name} is not running")
            };
            child.terminate()?;
            stopping.push((name, child));
        }
        let begun = Instant::now();
        for (name, mut child) in stopping {
            while child.exited()?.is_none() {
                if begun.elapsed() > limit {
                    bail!("waited {limit:?} for {name} to stop");
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }
}
