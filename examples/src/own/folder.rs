//! What is in the folder, read by the same code as the control plane's own: objects, the world
//! they make, and what is wrong with the files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use control_plane::model::{Change, Kept, MeshSettings, World};
use control_plane::source::Batch;
use control_plane::source::folder::{self, FolderWatch, Settings, Start};
use mesh_resources::Object;
use mesh_resources::gateway::GatewaySpec;
use mesh_resources::meta::ObjectKey;
use tokio::sync::mpsc;

/// How long reading the folder may take.
const READING: Duration = Duration::from_secs(15);

/// How long nothing may happen before what is there is all there is: what looks broken or cut off
/// is believed only when it has stayed for a while.
const SETTLING: Duration = Duration::from_millis(1_500);

/// The folder has nothing a mesh could be made of.
#[derive(Debug)]
pub(super) struct NothingToRun(pub(super) String);

impl std::fmt::Display for NothingToRun {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for NothingToRun {}

/// A folder that is watched, and what it says.
pub(super) struct Folder {
    pub(super) world: World,
    /// What each Gateway selects.
    pub(super) gateways: BTreeMap<ObjectKey, BTreeMap<String, String>>,
    /// What is wrong with each file.
    reports: BTreeMap<Arc<str>, Vec<String>>,
    batches: mpsc::Receiver<Batch>,
    _watch: FolderWatch,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Folder").finish_non_exhaustive()
    }
}

impl Folder {
    /// Reads everything once.
    pub(super) async fn open(path: &Path) -> anyhow::Result<Self> {
        let start = Start::new("istio-system", Kept::default());
        let (watch, batches) = folder::watch(path, Settings::default(), start)?;
        let mut folder = Self {
            world: World::new(MeshSettings {
                one_machine: true,
                ..MeshSettings::default()
            }),
            gateways: BTreeMap::new(),
            reports: BTreeMap::new(),
            batches,
            _watch: watch,
        };
        let reading = async {
            while let Some(batch) = folder.batches.recv().await {
                let complete = batch.initial_complete;
                folder.take(batch);
                if complete {
                    return Ok(());
                }
            }
            bail!("the folder is not read any more")
        };
        tokio::time::timeout(READING, reading)
            .await
            .with_context(|| format!("reading {} took too long", path.display()))??;
        Ok(folder)
    }

    /// Waits for the next change.
    pub(super) async fn changed(&mut self) -> anyhow::Result<()> {
        let batch = self.batches.recv().await;
        self.take(batch.context("the folder is not read any more")?);
        Ok(())
    }

    /// Waits until nothing more is found in the folder.
    pub(super) async fn settle(&mut self) -> anyhow::Result<()> {
        while let Ok(changed) = tokio::time::timeout(SETTLING, self.changed()).await {
            changed?;
        }
        Ok(())
    }

    /// Waits until `seen` is true of the folder.
    pub(super) async fn until(&mut self, seen: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let waiting = async {
            while !seen(self) {
                self.changed().await?;
            }
            Ok(())
        };
        tokio::time::timeout(READING, waiting)
            .await
            .context("what was added to the folder is not seen")?
    }

    /// What is wrong with the files, a line each.
    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        self.reports.values().flatten().map(String::as_str)
    }

    fn take(&mut self, batch: Batch) {
        for place in batch.reports {
            let lines = place.reports.iter().map(ToString::to_string).collect();
            self.reports.insert(place.place, lines);
        }
        if let Some(mesh) = &batch.mesh {
            self.world.configure(mesh);
        }
        for change in &batch.changes {
            match change {
                Change::Applied(Object::Gateway(gateway)) => {
                    let GatewaySpec { selector, .. } = &gateway.spec;
                    self.gateways.insert(gateway.key.clone(), selector.clone());
                }
                Change::Removed(key) | Change::Refused(key, _) => {
                    self.gateways.remove(key);
                }
                Change::Applied(_) => {}
            }
        }
        self.world.apply(batch.changes);
    }
}
