//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use mesh_runtime::logging::{Levels, LogFormat};

/// The mesh's control plane: reads Services and Istio resources, compiles them, and pushes each
/// proxy the configuration it needs.
#[derive(Debug, Parser)]
#[command(name = "control-plane", version, about, long_about = None)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve proxies from a folder of YAML files, watched for changes.
    ///
    /// The folder holds Kubernetes Services, EndpointSlices, Pods or WorkloadEntries, and Istio
    /// resources, in any number of files. MeshConfig is key `mesh` of a ConfigMap `istio` in the
    /// root namespace. A broken file keeps the last good version of its own objects, also over a
    /// restart, and is reported here, on /debug/diagnostics and in the metrics. A start waits until
    /// all folders below could be listed.
    ///
    /// Example: control-plane serve --config-dir ./mesh
    #[command(verbatim_doc_comment)]
    Serve(Box<Serve>),
    /// Serve the proxies of a Kubernetes cluster.
    ///
    /// Reads Services, EndpointSlices, Pods, Namespaces, Nodes and the mesh's own resources from
    /// the API server, and MeshConfig from ConfigMap `istio`. Proxies connect over TLS and prove
    /// with a service-account token which pod they belong to. It also keeps the root certificate,
    /// validates objects at admission and writes their status.
    ///
    /// Example, in a pod: control-plane kubernetes
    /// Example, at a desk: control-plane kubernetes --kubeconfig ~/.kube/config
    #[command(verbatim_doc_comment)]
    Kubernetes(Box<Kubernetes>),
    /// Write the CustomResourceDefinitions of every kind the mesh reads.
    ///
    /// Example: control-plane crds --output deploy/crds
    #[command(verbatim_doc_comment)]
    Crds(Crds),
    /// Check the settings of a mesh, as they stand under key `mesh` of ConfigMap `istio`.
    ///
    /// Names every key that does not exist or has a value it cannot have, and fails if there is
    /// one. It takes the settings themselves or the ConfigMap around them.
    ///
    /// Example: control-plane check-mesh-config mesh-config.yaml
    /// Example: kubectl get configmap -n istio-system istio -o yaml | control-plane
    ///   check-mesh-config -
    #[command(verbatim_doc_comment)]
    CheckMeshConfig(CheckMeshConfig),
}

/// Settings of `check-mesh-config`.
#[derive(Debug, Args)]
pub struct CheckMeshConfig {
    /// The file; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Settings of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The folder with the YAML files; sub-folders are read too.
    #[arg(long, value_name = "DIR")]
    pub config_dir: PathBuf,
    /// Where what must outlive a restart is kept: the former form of what is held back, and the
    /// last good settings. Not inside the folder of --config-dir
    /// [default: .NAME.state beside the folder NAME].
    #[arg(long, value_name = "DIR", env = "STATE_DIRECTORY")]
    pub state_dir: Option<PathBuf>,
    /// Where proxies connect. The stream is plaintext in folder mode, so it must be loopback.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15012")]
    pub listen: SocketAddr,
    /// Where /ready, /metrics and /debug are served; loopback too.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15014")]
    pub admin: SocketAddr,
    #[command(flatten)]
    #[doc(hidden)]
    pub common: Common,
}

/// Settings every way of serving shares.
#[derive(Debug, Args)]
pub struct Common {
    /// The domain that ends every service's full name.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub domain: String,
    /// The namespace whose policies are mesh-wide.
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "POD_NAMESPACE",
        default_value = "istio-system"
    )]
    pub root_namespace: String,
    /// The log's format.
    #[arg(long, value_name = "text|json", default_value_t)]
    pub log_format: LogFormat,
    /// Which log lines are written: trace, debug, info, warning, error, critical or off; then
    /// NAME=LEVEL for modules and libraries, as info,control_plane=debug,h2=warning.
    #[arg(long, value_name = "LEVELS", default_value_t)]
    pub log_level: Levels,
    /// End when standard input closes, so that no process outlives the one that started it.
    #[arg(long)]
    pub exit_on_stdin_close: bool,
}

/// Settings of `kubernetes`.
#[derive(Debug, Args)]
pub struct Kubernetes {
    /// A kubeconfig file, to run outside the cluster [default: the pod's service account].
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig file [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Name of this replica, unique among them: the pod's name.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "istiod")]
    pub pod_name: String,
    /// Name of this cluster in telemetry.
    #[arg(
        long,
        value_name = "NAME",
        env = "CLUSTER_ID",
        default_value = "Kubernetes"
    )]
    pub cluster_id: String,
    /// Where proxies connect, over TLS.
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:15012")]
    pub listen: SocketAddr,
    /// Where /metrics, /version and /ready are served to anyone, and /debug to this machine.
    #[arg(
        long,
        alias = "monitoringAddr",
        value_name = "IP:PORT",
        default_value = "[::]:15014"
    )]
    pub monitoring: SocketAddr,
    /// Where /ready is served for probes.
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:8080")]
    pub probes: SocketAddr,
    /// Where the API server asks whether an object is valid, over TLS.
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:15017")]
    pub webhook: SocketAddr,
    /// Answer there only clients with a certificate of one of the roots in this file (PEM). For
    /// clusters whose API servers are told to send one; by default they send none.
    #[arg(long, value_name = "FILE")]
    pub webhook_client_ca: Option<PathBuf>,
    /// The validating webhook configuration whose trust and failure policy to keep right.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "istio-validator-istio-system"
    )]
    pub webhook_configuration: String,
    #[command(flatten)]
    #[doc(hidden)]
    pub common: Common,
}

/// Settings of `crds`.
#[derive(Debug, Args)]
pub struct Crds {
    /// The folder the files are written to, one per kind. Without it, all go to standard output.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Change nothing; fail if a file in the folder differs.
    #[arg(long, requires = "output")]
    pub check: bool,
}

impl Common {
    fn problems(&self) -> Option<String> {
        let domain = &self.domain;
        let bad = domain.is_empty() || domain.starts_with('.') || domain.ends_with('.');
        bad.then(|| format!("--domain \"{domain}\" must be a name like cluster.local"))
    }
}

impl Serve {
    /// What is wrong with the settings taken together, all at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (flag, address) in [("--listen", self.listen), ("--admin", self.admin)] {
            if !address.ip().is_loopback() {
                problems.push(format!(
                    "{flag} {address} is not a loopback address; the folder source has no \
                     encryption and no authentication, so it serves this machine only (use \
                     127.x.y.z or [::1])"
                ));
            }
        }
        if !self.config_dir.is_dir() {
            problems.push(format!(
                "--config-dir {} is not a folder; create it or name the one with your YAML files",
                self.config_dir.display()
            ));
        }
        if let (Ok(state), Ok(config)) =
            (absolute(&self.state_dir()), self.config_dir.canonicalize())
            && state.starts_with(&config)
        {
            problems.push(format!(
                "--state-dir {} is inside --config-dir {}, where files are read as \
                 configuration; name a folder elsewhere",
                state.display(),
                config.display()
            ));
        }
        problems.extend(self.common.problems());
        problems
    }

    /// Where what must outlive a restart is kept.
    pub fn state_dir(&self) -> PathBuf {
        if let Some(named) = &self.state_dir {
            return named.clone();
        }
        let folder = self.config_dir.canonicalize();
        let mut beside = folder.unwrap_or_else(|_not_there| self.config_dir.clone());
        let name = beside.file_name().unwrap_or_default().to_owned();
        let hidden = format!(".{}.state", name.to_string_lossy());
        beside.set_file_name(hidden);
        beside
    }
}

/// A path without links, also where its last part does not exist yet.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let path = std::path::absolute(path)?;
    match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) => Ok(absolute(above)?.join(name)),
        _ => Ok(path),
    }
}

impl Kubernetes {
    /// What is wrong with the settings taken together, all at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::from_iter(self.common.problems());
        let listeners = [
            ("--listen", self.listen),
            ("--monitoring", self.monitoring),
            ("--probes", self.probes),
            ("--webhook", self.webhook),
        ];
        for (index, (flag, address)) in listeners.iter().enumerate() {
            let taken = listeners.iter().take(index).find(|(_, one)| one == address);
            if let Some((other, _)) = taken.filter(|_| address.port() != 0) {
                problems.push(format!("{flag} and {other} are both {address}"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn kubernetes(arguments: &[&str]) -> Kubernetes {
        let line = ["control-plane", "kubernetes"].iter().chain(arguments);
        match Arguments::parse_from(line).command {
            Command::Kubernetes(settings) => *settings,
            other @ (Command::Serve(_) | Command::Crds(_) | Command::CheckMeshConfig(_)) => {
                panic!("{other:?}")
            }
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn two_listeners_on_one_address_are_named() {
        let settings = kubernetes(&["--probes", "[::]:15014"]);
        assert_eq!(
            settings.problems(),
            ["--probes and --monitoring are both [::]:15014"]
        );
        assert!(kubernetes(&[]).problems().is_empty());
    }
}
