//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use mesh_runtime::logging::LogFormat;

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
    /// resources, in any number of files. A broken file keeps the last good version of its own
    /// objects and is reported here, on /debug/diagnostics and in the metrics.
    ///
    /// Example: control-plane serve --config-dir ./mesh
    #[command(verbatim_doc_comment)]
    Serve(Box<Serve>),
}

/// Settings of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The folder with the YAML files; sub-folders are read too.
    #[arg(long, value_name = "DIR")]
    pub config_dir: PathBuf,
    /// Where proxies connect. The stream is plaintext in folder mode, so it must be loopback.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15012")]
    pub listen: SocketAddr,
    /// Where /ready, /metrics and /debug are served; loopback too.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15014")]
    pub admin: SocketAddr,
    /// The domain that ends every service's full name.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub domain: String,
    /// The namespace whose policies are mesh-wide.
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    pub root_namespace: String,
    /// The log's format.
    #[arg(long, value_name = "text|json", default_value_t)]
    pub log_format: LogFormat,
    /// The log's filter: a level, or a list such as info,control_plane=debug.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log_level: String,
    /// End when standard input closes, so that no process outlives the one that started it.
    #[arg(long)]
    pub exit_on_stdin_close: bool,
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
        if self.domain.is_empty() || self.domain.starts_with('.') || self.domain.ends_with('.') {
            problems.push(format!(
                "--domain \"{}\" must be a name like cluster.local",
                self.domain
            ));
        }
        problems
    }
}
