//! The processes of the folder's mesh: started in order, kept in step with the folder, watched.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use mesh_api::workload::WorkloadId;
use tempfile::TempDir;

use super::OwnArgs;
use super::folder::{Folder, NothingToRun};
use super::plan::{Plan, Planned, Way};
use super::table::{self, say};
use super::watch::{self, Logs, Told};
use crate::mesh::processes::Processes;
use crate::mesh::topology::{self, Binaries, CONTROL_PLANE, Part, Proxy};
use crate::mesh::{MeshOptions, ports, tail};

/// How often processes, findings and logs are looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How long proxies may take to stop.
const STOPPING: Duration = Duration::from_secs(10);
/// What this program adds to the folder's objects.
const ADDED: &str = "added-for-you.yaml";

/// A mesh that runs.
#[derive(Debug)]
pub(super) struct Running {
    folder: Folder,
    plan: Plan,
    processes: Processes,
    binaries: Binaries,
    options: MeshOptions,
    control_plane: Ipv4Addr,
    follow: bool,
    told: Told,
    logs: Logs,
    /// Goes last: it holds what the processes use.
    _home: TempDir,
}

impl Running {
    /// Reads the folder, starts what it needs, prints the table.
    pub(super) async fn start(args: &OwnArgs) -> anyhow::Result<Self> {
        let binaries = topology::find_binaries(args.binaries.as_deref())?;
        let home = tempfile::Builder::new().prefix("mesh-").tempdir()?;
        let config = look_at(&args.dir, home.path())?;
        let mut folder = Folder::open(&config).await?;
        let mut plan = complete(&mut folder, &config, args.control_plane).await?;
        if plan.proxies.is_empty() {
            folder.settle().await?;
            plan = complete(&mut folder, &config, args.control_plane).await?;
        }
        tell(&folder, &plan);
        if plan.proxies.is_empty() {
            return Err(NothingToRun(format!(
                "{} has no workload to run a proxy for: write a WorkloadEntry with an address \
                 127.x.y.z (see --help)",
                args.dir.display()
            ))
            .into());
        }
        let mut running = Self {
            processes: Processes::new(home.path())?,
            folder,
            plan: Plan::default(),
            binaries,
            options: MeshOptions {
                access_log: args.access_log.clone(),
                min_drain: "0s".to_owned(),
                drain_timeout: "2s".to_owned(),
                ..MeshOptions::default()
            },
            control_plane: args.control_plane,
            follow: args.follow,
            told: Told::default(),
            logs: Logs::default(),
            _home: home,
        };
        let control_plane = topology::control_plane(args.control_plane, &running.binaries);
        let parts: Vec<Part> = plan
            .proxies
            .iter()
            .map(|(id, proxy)| running.part(id, proxy))
            .collect();
        let sockets = parts.iter().flat_map(|part| &part.ports);
        ports::check_free(control_plane.ports.iter().chain(sockets))?;
        running.processes.start(&control_plane)?;
        running.processes.ready(&control_plane).await?;
        for part in &parts {
            running.processes.start(part)?;
        }
        for part in &parts {
            running.processes.ready(part).await?;
        }
        running.plan = plan;
        say(&table::whole(&running.plan, running.admin()));
        running.look().await?;
        let logs = running.processes.log("*");
        say(&format!(
            "logs: {}\nctrl-C ends everything; what you save in {} is pushed",
            logs.display(),
            args.dir.display()
        ));
        Ok(running)
    }

    /// Keeps step with the folder and tells what happens, until something ends that all need.
    pub(super) async fn watch(&mut self) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = self.folder.changed() => {
                    changed?;
                    self.follow_folder().await?;
                }
                _tick = ticks.tick() => self.look().await?,
            }
        }
    }

    /// Asks everything to stop and waits for it: proxies first, which still talk to the control
    /// plane.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let proxies: Vec<String> = self
            .processes
            .names()
            .filter(|name| *name != CONTROL_PLANE)
            .map(str::to_owned)
            .collect();
        self.processes.stop(&proxies, STOPPING).await?;
        let rest: Vec<String> = self.processes.names().map(str::to_owned).collect();
        self.processes.stop(&rest, STOPPING).await
    }

    fn admin(&self) -> SocketAddr {
        (self.control_plane, 15014).into()
    }

    fn part(&self, id: &WorkloadId, proxy: &Planned) -> Part {
        let serving: BTreeSet<u16> = proxy
            .ways
            .iter()
            .map(Way::socket)
            .filter(|socket| socket.ip() == proxy.address)
            .map(|socket| socket.port())
            .collect();
        Proxy {
            name: &name_of(id),
            role: proxy.role.name(),
            workload: &id.to_string(),
            address: proxy.address,
            control_plane: (self.control_plane, 15012).into(),
            serving: &serving.into_iter().collect::<Vec<u16>>(),
        }
        .part(&self.binaries, &self.options)
    }

    /// Starts and stops proxies as workloads come, move and go.
    async fn follow_folder(&mut self) -> anyhow::Result<()> {
        let next = Plan::of(&self.folder);
        for complaint in &next.complaints {
            if !self.plan.complaints.contains(complaint) {
                say(&format!("! {complaint}"));
            }
        }
        let moved =
            |one: &Planned, other: &Planned| (one.address, one.role) != (other.address, other.role);
        let mut going = Vec::new();
        for (id, old) in &self.plan.proxies {
            let stays = next.proxies.get(id).is_some_and(|new| !moved(old, new));
            let name = name_of(id);
            if !stays && self.processes.pid(&name).is_some() {
                say(&format!("stopping the {} of {id}", old.role.name()));
                going.push(name);
            }
        }
        self.processes.stop(&going, STOPPING).await?;
        for (id, new) in &next.proxies {
            let old = self.plan.proxies.get(id);
            let is_same = old.is_some_and(|old| !moved(old, new));
            if is_same && old != Some(new) {
                say(&format!("changed:\n{}", table::of(id, new)));
            }
            if is_same {
                continue;
            }
            let part = self.part(id, new);
            // One workload that cannot run must not end the others.
            match ports::check_free(&part.ports) {
                Ok(()) => {
                    self.processes.start(&part)?;
                    say(&format!("started:\n{}", table::of(id, new)));
                }
                Err(busy) => say(&format!("! no proxy for {id}: {busy}")),
            }
        }
        self.plan = next;
        Ok(())
    }

    /// Looks at processes, findings and logs, and tells what is new.
    async fn look(&mut self) -> anyhow::Result<()> {
        if self.follow {
            let names: Vec<String> = self.processes.names().map(str::to_owned).collect();
            for name in names {
                let path = self.processes.log(&name);
                self.logs
                    .lines(&name, &path)
                    .iter()
                    .for_each(|line| say(line));
            }
        }
        for (name, status) in self.processes.ended()? {
            let told = format!("{name} ended with {status}");
            let log = tail(&self.processes.log(&name));
            if name == CONTROL_PLANE {
                bail!("{told}\n{log}");
            }
            say(&format!("! {told}; the others go on\n{log}"));
        }
        if let Some(mut found) = watch::findings(self.admin()).await {
            found.extend(self.folder.problems().map(str::to_owned));
            self.told.news(found).iter().for_each(|line| say(line));
        }
        Ok(())
    }
}

/// What a workload's proxy is called among processes and logs.
fn name_of(id: &WorkloadId) -> String {
    format!("{}.{}", id.namespace, id.name)
}

/// Makes the folder that is read: the user's, and beside it room for what is added.
fn look_at(dir: &Path, home: &Path) -> anyhow::Result<PathBuf> {
    let dir = dir
        .canonicalize()
        .with_context(|| format!("cannot read the folder {}", dir.display()))?;
    if !dir.is_dir() {
        bail!(
            "{} is not a folder; name the one with your YAML",
            dir.display()
        );
    }
    let config = home.join("config");
    std::fs::create_dir(&config)?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    // What is hidden is not read, which is about what is in the folder and not about the folder.
    let name = match name.trim_start_matches('.') {
        "" => "root",
        shown => shown,
    };
    std::os::unix::fs::symlink(&dir, config.join(name))?;
    Ok(config)
}

/// The plan, with a workload added for every Gateway that selects none.
async fn complete(folder: &mut Folder, config: &Path, near: Ipv4Addr) -> anyhow::Result<Plan> {
    let plan = Plan::of(folder);
    if plan.unserved.is_empty() {
        return Ok(plan);
    }
    let (text, added) = gateways(&plan, near);
    let staged = config.with_extension("staged");
    std::fs::write(&staged, text)?;
    std::fs::rename(&staged, config.join(ADDED))?;
    folder
        .until(|folder| added.iter().all(|id| folder.world.workload(id).is_some()))
        .await?;
    Ok(Plan::of(folder))
}

/// A WorkloadEntry for every selector without a workload.
fn gateways(plan: &Plan, near: Ipv4Addr) -> (String, Vec<WorkloadId>) {
    let mut text = String::new();
    let mut added = Vec::new();
    let mut taken = BTreeSet::new();
    for (index, labels) in plan.unserved.iter().enumerate() {
        let address = plan.free_address(near, &taken);
        taken.insert(address);
        let name = format!("gateway-{}", index + 1);
        let labels: &BTreeMap<String, String> = labels;
        // JSON is YAML, and needs no thought about quotes.
        let document = serde_json::json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": "istio-system"},
            "spec": {"address": address, "labels": labels},
        });
        let _written = writeln!(text, "---\n{document}");
        added.push(WorkloadId {
            namespace: "istio-system".into(),
            name: name.into(),
        });
    }
    (text, added)
}

/// What is wrong with the files, and who gets no proxy, before anything runs.
fn tell(folder: &Folder, plan: &Plan) {
    for problem in folder.problems() {
        say(&format!("! {problem}"));
    }
    for complaint in &plan.complaints {
        say(&format!("! {complaint}"));
    }
}
