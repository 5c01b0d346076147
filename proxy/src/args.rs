//! The command line: what can be said, and what it means if nothing is said.
//!
//! Values stay text here; [`crate::bootstrap::check`] reads them, so that all mistakes are
//! reported together and not one per attempt.

pub(crate) mod duration;
pub(crate) mod request;

use std::sync::LazyLock;

use clap::builder::BoolishValueParser;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use mesh_runtime::build_info::BuildInfo;

use crate::init::options::InitOptions;
use request::{RequestOptions, WaitOptions};

/// The data plane of the mesh: carries a workload's traffic by the rules its control plane sends.
#[derive(Debug, Parser)]
#[command(name = "proxy", version = version(), after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  A sidecar on one machine, listening at the workload's own loopback address:
    proxy sidecar --workload shop/backend-1 --address 127.80.1.1 \\
        --control-plane http://127.0.0.1:15012 --data-dir /var/tmp/backend-1
  A gateway:
    proxy gateway --workload istio-system/ingress-1 --address 127.80.0.1 \\
        --control-plane http://127.0.0.1:15012 --data-dir /var/tmp/ingress-1
  What a sidecar is doing, from inside its pod (the binary is also called pilot-agent there):
    proxy request GET stats

Ports:
  15000  admin pages (at --address if that is loopback, else at 127.0.0.1)
  15020  /stats/prometheus (with the application's), /healthz/ready, /app-health/, and from
         inside the pod POST /drain and /quitquitquit
  15021  /healthz/ready
  15090  /stats/prometheus";

fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let build = BuildInfo::of("proxy").to_string();
        build.strip_prefix("proxy ").unwrap_or(&build).to_owned()
    });
    &VERSION
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Serve(Serving),
    /// Makes the kernel redirect a pod's TCP connections to its sidecar, and checks that it does.
    Init(Box<InitOptions>),
    /// Asks the proxy of this pod something.
    Request(RequestOptions),
    /// Waits until the proxy of this pod is ready.
    Wait(WaitOptions),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Serving {
    /// Runs beside one workload and carries its inbound and outbound traffic.
    Sidecar(Box<Options>),
    /// Runs alone at the edge of the mesh.
    Gateway(Box<Options>),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) identity: IdentityOptions,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
    #[command(flatten)]
    pub(crate) stopping: StoppingOptions,
    #[command(flatten)]
    pub(crate) application: ApplicationOptions,
    #[command(flatten)]
    pub(crate) logs: LogOptions,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Who this is and whom it asks")]
pub(crate) struct IdentityOptions {
    /// The workload it stands for, as the control plane knows it.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) workload: String,
    /// The workload's IP address. Probes are answered there and upstream connections come from
    /// it.
    #[arg(long, value_name = "IP")]
    pub(crate) address: String,
    /// Where configuration comes from: https, or http on one machine.
    #[arg(long, value_name = "https://HOST:PORT")]
    pub(crate) control_plane: String,
    /// The roots an https control plane is trusted by, in PEM. Read at every connection.
    #[arg(long, value_name = "FILE")]
    pub(crate) control_plane_root: Option<std::path::PathBuf>,
    /// The service-account token that says to an https control plane whose proxy this is. Read at
    /// every connection.
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<std::path::PathBuf>,
    /// Where the last good configuration is kept, for a start without control plane. Created if
    /// missing; no two proxies may share one.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: std::path::PathBuf,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Traffic")]
pub(crate) struct TrafficOptions {
    /// How traffic arrives: clients address the listeners, or the kernel redirects connections
    /// to ports 15001 and 15006.
    #[arg(long, value_enum, default_value_t = ModeArg::Explicit)]
    pub(crate) mode: ModeArg,
    /// Worker threads [default: the CPU quota rounded up, 1 or 2].
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<String>,
    /// Connections from the application, and from others, at any time. When there are as many, the
    /// one that has had nothing to do for longest goes. Lowered to what open files and memory allow.
    #[arg(long, value_name = "N", default_value = "50000")]
    pub(crate) max_connections: String,
    /// How long a client may take to send the head of a request.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) header_read_timeout: String,
    /// How long a client may send nothing of a body it announced, or take nothing of an answer that
    /// lies ready for it. Streams of gRPC may be silent for as long as connections may be idle
    /// [default: what the mesh's settings say, or 5m].
    #[arg(long, value_name = "DURATION", env = "MESH_STREAM_IDLE_TIMEOUT")]
    pub(crate) stream_idle_timeout: Option<String>,
    /// How long an HTTP connection may have no request [default: what the mesh's settings say, or
    /// 1h at a gateway, 65m at a sidecar, so that the proxies that call it are the first to close
    /// theirs].
    #[arg(long, value_name = "DURATION", env = "ISTIO_META_IDLE_TIMEOUT")]
    pub(crate) idle_timeout: Option<String>,
    /// How long a port without a declared protocol waits for the client's first bytes before the
    /// connection is taken for TCP; 0s waits as long as the connection lives. What the mesh's
    /// settings say (`protocolDetectionTimeout`) counts instead.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) detect_timeout: String,
    /// Lets the kernel choose the source address of upstream connections instead of --address.
    /// Servers then cannot tell which workload is calling.
    #[arg(long)]
    pub(crate) no_bind_source: bool,
    /// Accepts requests of HTTP/1.0, which are otherwise answered 426.
    #[arg(long, env = "ISTIO_META_HTTP10", value_parser = BoolishValueParser::new())]
    pub(crate) http10: bool,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Stopping")]
pub(crate) struct StoppingOptions {
    /// After SIGTERM, how long new connections are still accepted, so that clients can learn
    /// that this workload is going.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) min_drain: String,
    /// After that, how long what is in flight may take. Both together should stay below the
    /// platform's grace period (30 s on Kubernetes).
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    pub(crate) drain_timeout: String,
    /// Stops, quickly but cleanly, when standard input ends: for a proxy that must not outlive
    /// the process that started it.
    #[arg(long)]
    pub(crate) exit_on_stdin_close: bool,
    /// Waits for the last connection to end, however long that takes, instead of cutting what
    /// --drain-timeout leaves; the platform's grace period is the limit then.
    #[arg(
        long,
        env = "EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) exit_on_zero_active_connections: bool,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "The application beside it")]
pub(crate) struct ApplicationOptions {
    /// Its probes, which the kubelet asks at port 15020 instead:
    /// {"/app-health/CONTAINER/readyz": {"httpGet": {"port": 8080}}}.
    #[arg(
        long,
        value_name = "JSON",
        env = "ISTIO_KUBE_APP_PROBERS",
        hide_env_values = true
    )]
    pub(crate) app_probers: Option<String>,
    /// Where its metrics are, which port 15020 adds to the proxy's:
    /// {"scrape": "true", "port": "8080", "path": "/metrics"}.
    #[arg(
        long,
        value_name = "JSON",
        env = "ISTIO_PROMETHEUS_ANNOTATIONS",
        hide_env_values = true
    )]
    pub(crate) app_metrics: Option<String>,
    /// The address of the pod's node: its kubelet may have the application's hooks run at port
    /// 15020, as may the pod's default gateway and the pod itself.
    #[arg(long, value_name = "IP", env = "HOST_IP", hide_env_values = true)]
    pub(crate) host_ip: Option<String>,
    /// More addresses and blocks the kubelet may call from, where the node calls from others.
    #[arg(
        long,
        value_name = "IP,CIDR",
        value_delimiter = ',',
        env = "MESH_KUBELET_ADDRESSES",
        hide_env_values = true
    )]
    pub(crate) kubelet_addresses: Vec<String>,
}

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Logs")]
pub(crate) struct LogOptions {
    /// Whether every request and connection leaves a line on standard output.
    #[arg(long, value_enum, default_value_t = AccessLogArg::Off)]
    pub(crate) access_log: AccessLogArg,
    /// How log lines on standard error look: text or json.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: String,
    /// Which log lines are written: trace, debug, info, warning, error, critical or off; then
    /// NAME=LEVEL for what Envoy calls a logger, modules and libraries, as info,http=debug.
    #[arg(long, value_name = "LEVELS", default_value = "info")]
    pub(crate) log_level: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeArg {
    /// Clients address the listeners.
    Explicit,
    /// The kernel redirects connections.
    Capture,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AccessLogArg {
    /// No lines.
    Off,
    /// Lines of text.
    Text,
    /// JSON objects.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        assert!(
            help.contains("proxy sidecar --workload") && help.contains("15021"),
            "{help}"
        );
    }
}
