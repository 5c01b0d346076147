//! The command line of `injector`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use injector::names::{CONTROL_PLANE_NAMESPACE, INJECTOR_NAMESPACE};
use injector::{ClusterVersion, Home};
use mesh_runtime::LogFormat;
use mesh_runtime::build_info::BuildInfo;
use mesh_runtime::logging::Levels;

/// Puts the mesh's sidecar into pods: as a webhook of the API server, or into files.
#[derive(Debug, Parser)]
#[command(name = "injector", version = version())]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let build = BuildInfo::of("injector").to_string();
        build.strip_prefix("injector ").unwrap_or(&build).to_owned()
    });
    &VERSION
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer the API server's questions about new pods.
    ///
    /// Reads ConfigMaps `istio` (key mesh, in the control plane's namespace) and
    /// `istio-sidecar-injector` (key values, in its own) and follows them. Fills its own
    /// certificate authority into a Secret, renews its certificate while it serves, and keeps
    /// caBundle of its MutatingWebhookConfiguration right.
    ///
    /// Ready (GET /ready) once it has a certificate that the API server trusts. Pods that should
    /// have a sidecar and have none are at GET /debug/missing (kubectl port-forward).
    ///
    /// Example, in a pod: injector serve
    /// Example, at a desk: injector serve --kubeconfig ~/.kube/config --namespace istio-injector
    #[command(verbatim_doc_comment)]
    Serve(Box<Serve>),
    /// Put the sidecar into the workloads of a file.
    ///
    /// Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs, Pods and lists of them
    /// are changed, other objects pass through. Pods may still refuse with the label
    /// sidecar.istio.io/inject=false. Comments in the file are lost.
    ///
    /// Examples:
    ///   injector inject -f shop.yaml | kubectl apply -f -
    ///   injector inject -f shop.yaml --from-cluster --output injected.yaml
    ///   kubectl get deploy web -o yaml | injector inject -f - --values values.json
    #[command(verbatim_doc_comment)]
    Inject(Box<Inject>),
    /// Restart the workloads whose pods missed injection.
    ///
    /// Deployments, StatefulSets and DaemonSets are restarted one after the other, as `kubectl
    /// rollout restart` does. Pods that stand alone and Jobs are named and left alone. It runs
    /// with the rights of whoever calls it: the server itself may restart nothing.
    ///
    /// Examples:
    ///   injector restart-missing --namespace shop --dry-run
    ///   injector restart-missing --all-namespaces --outdated
    #[command(verbatim_doc_comment)]
    RestartMissing(Box<RestartMissing>),
}

/// How the API server is reached.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// A kubeconfig file, to run outside the cluster [default: the pod's service account].
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig file [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// Where the mesh is installed.
#[derive(Debug, Args)]
pub(crate) struct Places {
    /// The namespace of the control plane, with the mesh's settings.
    #[arg(long, value_name = "NAMESPACE", default_value = CONTROL_PLANE_NAMESPACE)]
    istio_namespace: String,
    /// The namespace of the injector, with its values.
    #[arg(long, value_name = "NAMESPACE", default_value = INJECTOR_NAMESPACE)]
    injector_namespace: String,
}

impl Places {
    /// The same as the library has it.
    pub(crate) fn home(&self) -> Home {
        Home {
            control_plane: self.istio_namespace.clone(),
            injector: self.injector_namespace.clone(),
        }
    }
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigMapNames {
    /// The ConfigMap with the mesh's settings, key `mesh`.
    #[arg(long, value_name = "NAME", default_value = "istio")]
    pub(crate) mesh_config_map: String,
    /// The ConfigMap with the installation's values, key `values`.
    #[arg(long, value_name = "NAME", default_value = "istio-sidecar-injector")]
    pub(crate) values_config_map: String,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// The namespace it runs in, with the ConfigMap of its values and its Secret. Pods there get
    /// no sidecar.
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "POD_NAMESPACE",
        default_value = INJECTOR_NAMESPACE
    )]
    pub(crate) namespace: String,
    /// The namespace of the control plane, with the mesh's settings. The webhooks that come with the
    /// mesh do not ask about pods there.
    #[arg(long, value_name = "NAMESPACE", default_value = CONTROL_PLANE_NAMESPACE)]
    pub(crate) istio_namespace: String,
    /// Where reviews are answered, over TLS, at /inject.
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:15017")]
    pub(crate) webhook: SocketAddr,
    /// Answers reviews only to clients with a certificate of one of the roots in this file (PEM).
    /// For clusters whose API servers are told to send one; by default they send none.
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_client_ca: Option<PathBuf>,
    /// Where /metrics, /ready, /version and, for this pod alone, /debug/missing are.
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:15014")]
    pub(crate) monitoring: SocketAddr,
    /// The Service in front of it: the certificate is for its names.
    #[arg(long, value_name = "NAME", default_value = "istio-sidecar-injector")]
    pub(crate) service: String,
    /// The MutatingWebhookConfiguration whose caBundle is kept.
    #[arg(long, value_name = "NAME", default_value = "istio-sidecar-injector")]
    pub(crate) webhook_configuration: String,
    /// The Secret with its certificate authority. It must be there, and is filled in if empty.
    #[arg(long, value_name = "NAME", default_value = "istio-sidecar-injector-ca")]
    pub(crate) ca_secret: String,
    /// How long its serving certificates are good for; renewed when a third of it is left.
    #[arg(long, value_name = "DURATION", default_value = "2160h", value_parser = duration)]
    pub(crate) certificate_valid: Duration,
    /// How long API servers may take to learn of a new root before it is used.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) root_roll_out: Duration,
    #[command(flatten)]
    pub(crate) maps: ConfigMapNames,
    /// How often it looks for pods that missed injection.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub(crate) look_every: Duration,
    /// After SIGTERM, how long reviews are still accepted: until the Service stops sending them.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) stop_delay: Duration,
    /// The log's format.
    #[arg(long, value_name = "text|json", default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Which log lines are written: trace, debug, info, warning, error, critical or off; then
    /// NAME=LEVEL for modules and libraries, as info,injector=debug,h2=warning.
    #[arg(long, value_name = "LEVELS", default_value_t)]
    pub(crate) log_level: Levels,
    /// Stops when standard input ends: for a process that must not outlive the one that started
    /// it.
    #[arg(long)]
    pub(crate) exit_on_stdin_close: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Inject {
    /// The file with the workloads; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: PathBuf,
    /// Where the outcome goes [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// Takes values, mesh settings and version from the cluster.
    #[arg(long, conflicts_with_all = ["values", "mesh_config", "kubernetes_version"])]
    pub(crate) from_cluster: bool,
    /// The installation's values, JSON or YAML [default: none].
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Option<PathBuf>,
    /// The mesh's settings, YAML [default: none].
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_config: Option<PathBuf>,
    /// The version of the cluster the file is for; before 1.29 sidecars are containers like
    /// others.
    #[arg(long, value_name = "VERSION", value_parser = cluster_version, default_value = "1.33")]
    pub(crate) kubernetes_version: ClusterVersion,
    /// The proxy's image, whatever the values say.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) proxy_image: Option<String>,
    #[command(flatten)]
    pub(crate) places: Places,
    #[command(flatten)]
    pub(crate) maps: ConfigMapNames,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true))]
pub(crate) struct RestartMissing {
    /// The namespace to look at.
    #[arg(short, long, value_name = "NAMESPACE", group = "where")]
    pub(crate) namespace: Option<String>,
    /// Looks at all namespaces that get sidecars.
    #[arg(short = 'A', long, group = "where")]
    pub(crate) all_namespaces: bool,
    /// Restarts those with another proxy image than new pods get as well.
    #[arg(long)]
    pub(crate) outdated: bool,
    /// Changes nothing; says what would be restarted.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to wait between two workloads.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) pause: Duration,
    #[command(flatten)]
    pub(crate) places: Places,
    #[command(flatten)]
    pub(crate) maps: ConfigMapNames,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: mesh_api::mesh_config::Span = text.parse().map_err(|error| format!("{error}"))?;
    Ok(span.0)
}

fn cluster_version(text: &str) -> Result<ClusterVersion, String> {
    let (major, minor) = text
        .trim_start_matches('v')
        .split_once('.')
        .unwrap_or_default();
    ClusterVersion::read(major, minor).ok_or_else(|| "write a version such as 1.33".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_its_help_shows_examples() {
        Arguments::command().debug_assert();
        for (command, example) in [
            ("serve", "injector serve --kubeconfig"),
            ("inject", "kubectl apply -f -"),
            ("restart-missing", "--dry-run"),
        ] {
            let mut arguments = Arguments::command();
            let command = arguments.find_subcommand_mut(command).unwrap();
            let help = command.render_long_help().to_string();
            assert!(help.contains(example), "{help}");
        }
    }

    #[test]
    fn versions_and_durations_are_read_or_refused_with_an_example() {
        let parse = |words: &[&str]| Arguments::try_parse_from(words).map_err(|e| e.to_string());
        parse(&[
            "injector",
            "inject",
            "-f",
            "x",
            "--kubernetes-version",
            "v1.28",
        ])
        .unwrap();
        let bad = [
            "injector",
            "inject",
            "-f",
            "x",
            "--kubernetes-version",
            "new",
        ];
        assert!(parse(&bad).unwrap_err().contains("such as 1.33"));
        assert!(parse(&["injector", "restart-missing"]).is_err());
        let bad = ["injector", "serve", "--stop-delay", "5"];
        assert!(parse(&bad).unwrap_err().contains("not a duration"));
    }
}
