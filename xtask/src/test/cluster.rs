//! The tests on a real Kubernetes: a cluster from nothing, the mesh deployed the way a user does
//! it, the tests, and everything removed again.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::steps::{self, Setting};
use super::{Done, SKIPS};
use crate::cluster::{self, Options, Running};
use crate::deploy::kubectl::Kubectl;
use crate::image::{self, Name, Profile};
use crate::{cargo, tools};

/// The test of an installation by kubectl alone, which needs a cluster without a mesh.
const BY_HAND: &str = "cluster_by_hand";
/// What a skipped test of this layer begins its name with.
const LAYER: &str = "cluster";
/// Tell the tests which cluster, and which kubectl to use on it.
const KUBECONFIG: &str = "MESH_TEST_KUBECONFIG";
const KUBECTL: &str = "MESH_TEST_KUBECTL";
const DUMP: Duration = Duration::from_mins(3);

/// How the tests on Kubernetes are run.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Kubernetes")]
pub(super) struct ClusterArgs {
    /// Also start a Kubernetes on this machine, deploy the mesh and run the tests that need both
    #[arg(long)]
    pub(super) cluster: bool,
    /// Use the cluster of this kubeconfig file, in which no mesh may be installed
    #[arg(long, value_name = "FILE", requires_all = ["cluster", "import"])]
    kubeconfig: Option<PathBuf>,
    /// The shell command that gives an image archive to that cluster, with {} for the file
    #[arg(long, value_name = "CMD {}", requires = "kubeconfig")]
    import: Option<String>,
    /// Leave cluster and mesh as they are afterwards
    #[arg(long, requires = "cluster")]
    keep: bool,
}

/// Whether a test was skipped only because this layer has its own step. That the step itself could
/// not run is another matter, and stays in the report.
pub(super) fn has_own_step(skip: &str) -> bool {
    let name = skip.strip_prefix("SKIPPED: ").unwrap_or(skip);
    name.starts_with(LAYER)
}

/// Where the tests run.
struct Place {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    /// What `deploy` and `undeploy` must be told to reach the same cluster.
    chosen: Vec<OsString>,
    /// How `deploy` gives images to it.
    import: Vec<OsString>,
    /// Where `microk8s` is found first.
    bin: Option<PathBuf>,
}

/// Runs the layer.
pub(super) fn run(setting: &Setting<'_>) -> Result<Done> {
    let args = setting.cluster;
    if args.kubeconfig.is_none() && !tools::is_root() {
        let reason = "tests on Kubernetes: one of our own needs root; or give --kubeconfig";
        return Ok(Done {
            ok: true,
            skips: vec![reason.to_owned()],
            ..Done::default()
        });
    }
    let images = image::default_folder()?;
    image::build(Profile::Quick, &images, Name::value_variants())?;
    let options = Options::default();
    let place = match &args.kubeconfig {
        Some(file) => Place::given(file, args.import.as_deref())?,
        None => Place::own(cluster::up(&options)?),
    };
    let mut done = on_cluster(&place, &images, setting);
    if !args.keep && setting.filter.is_none_or(|filter| BY_HAND.contains(filter)) {
        done = done.and_then(|done| by_hand(&place, done, setting));
    }
    if !matches!(&done, Ok(done) if done.ok) {
        collect(&place);
    }
    if args.keep {
        println!(
            "cluster and mesh stay (--keep): export KUBECONFIG={}",
            place.kubeconfig.display()
        );
        return done;
    }
    let removed = place.xtask("undeploy", &["--purge", "--yes"], &[]);
    let down = match &args.kubeconfig {
        Some(_) => Ok(()),
        None => cluster::down(&options),
    };
    for (what, outcome) in [("undeploy", removed), ("cluster down", down)] {
        if let (Err(error), Ok(done)) = (outcome, &mut done) {
            done.ok = false;
            done.note = format!("{what}: {error:#}; {}", done.note);
        }
    }
    done
}

/// Deploys twice, because the second time must change nothing, and runs the tests.
fn on_cluster(place: &Place, images: &Path, setting: &Setting<'_>) -> Result<Done> {
    let folder = ["--images".into(), images.as_os_str().to_owned()];
    let deploy = [&folder, place.import.as_slice()].concat();
    place.xtask("deploy", &[], &deploy)?;
    place.xtask("deploy", &["--skip-verify"], &deploy)?;
    run_tests(place, LAYER, setting)
}

/// Removes the mesh and runs the test that installs it without us.
fn by_hand(place: &Place, mut done: Done, setting: &Setting<'_>) -> Result<Done> {
    place.xtask("undeploy", &["--purge", "--yes"], &[])?;
    let setting = Setting {
        filter: None,
        ..*setting
    };
    let more = run_tests(place, BY_HAND, &setting)?;
    done.ok &= more.ok;
    done.counts.add(more.counts);
    done.skips.extend(more.skips);
    if !done.note.is_empty() && !more.note.is_empty() {
        done.note.push_str("; ");
    }
    done.note.push_str(&more.note);
    Ok(done)
}

/// Runs a file of tests on the cluster.
fn run_tests(place: &Place, file: &str, setting: &Setting<'_>) -> Result<Done> {
    let mut command = cargo::command();
    // Of the workspace, so that nothing is built twice: a package alone has other features.
    command
        .args(["test", "--workspace", "--test", file, "--no-fail-fast"])
        .env(SKIPS, setting.skips_file)
        .env(KUBECONFIG, &place.kubeconfig)
        .env(KUBECTL, &place.kubectl);
    if let Some(filter) = setting.filter {
        command.args(["--", filter]);
    }
    steps::stream(&mut command, &mut std::io::stdout())
}

impl Place {
    /// The cluster we started: `deploy` takes it for microk8s, as a user would have it.
    fn own(running: Running) -> Self {
        Self {
            kubectl: running.bin.join("kubectl"),
            kubeconfig: running.kubeconfig,
            chosen: Vec::new(),
            import: Vec::new(),
            bin: Some(running.bin),
        }
    }

    /// A cluster somebody else started.
    fn given(file: &Path, import: Option<&str>) -> Result<Self> {
        let kubectl = tools::find("kubectl").context("kubectl is not installed")?;
        let import = import.context("--import")?;
        Ok(Self {
            kubectl,
            kubeconfig: file.to_owned(),
            chosen: vec!["--kubeconfig".into(), file.into()],
            import: vec!["--import".into(), import.into()],
            bin: None,
        })
    }

    /// Runs one of our own commands on the cluster, as a user would type it.
    fn xtask(&self, command: &str, flags: &[&str], more: &[OsString]) -> Result<()> {
        // Not by its path: a build since we started may have put another file there.
        let program = "/proc/self/exe";
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = self.bin.iter().cloned().chain(env::split_paths(&path));
        let status = Command::new(program)
            .arg(command)
            .args(flags)
            .args(&self.chosen)
            .args(more)
            .env("PATH", env::join_paths(folders).context("PATH")?)
            .status()
            .with_context(|| format!("cargo xtask {command}"))?;
        if !status.success() {
            bail!("`cargo xtask {command}` failed; its message is above");
        }
        Ok(())
    }
}

/// Saves the state and the logs of every pod, for whoever looks into a failure.
fn collect(place: &Place) {
    let saved = dump(place);
    match saved {
        Ok(folder) => println!("state and logs of all pods: {}", folder.display()),
        Err(error) => println!("state and logs of the pods could not be saved: {error:#}"),
    }
}

fn dump(place: &Place) -> Result<PathBuf> {
    let folder = cargo::Metadata::load()?
        .target_directory()?
        .join("cluster-logs");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let into = format!("--output-directory={}", folder.display());
    let first = vec![
        "--kubeconfig".into(),
        place.kubeconfig.clone().into_os_string(),
    ];
    let kubectl = Kubectl::new(place.kubectl.as_os_str(), first);
    kubectl.succeed(
        &["cluster-info", "dump", "--all-namespaces", &into],
        None,
        DUMP,
    )?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_of_this_layer_have_their_own_step() {
        assert!(has_own_step(
            "SKIPPED: cluster shop: MESH_TEST_KUBECONFIG is not set"
        ));
        assert!(!has_own_step(
            "tests on Kubernetes: one of our own needs root"
        ));
        assert!(!has_own_step("capture in a namespace: nft not installed"));
    }

    #[test]
    fn our_own_cluster_is_found_as_microk8s() {
        let place = Place::own(Running {
            kubeconfig: "/c/admin.kubeconfig".into(),
            bin: "/c/bin".into(),
        });
        assert_eq!(place.kubectl, Path::new("/c/bin/kubectl"));
        assert!(place.chosen.is_empty(), "no flag: the default is microk8s");
        assert_eq!(place.bin.as_deref(), Some(Path::new("/c/bin")));
    }
}
