//! `cargo xtask mesh`: builds the mesh and hands over to the program that runs a folder of YAML.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::demo::become_example;
use crate::tools;

/// Run your own YAML on this machine (no root, no Kubernetes)
///
/// Starts a control plane over the folder, a gateway for every Gateway selector and a sidecar for
/// every workload found there, prints where to call and where your applications have to listen,
/// and tells what is wrong with the YAML. Edits are pushed as you save them. Ctrl-C ends
/// everything it started.
#[derive(Debug, clap::Args)]
#[command(after_help = EXPLAINED)]
pub(crate) struct Args {
    /// The folder with your YAML; it is watched, sub-folders included
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Options for the program itself, passed on as they are
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    options: Vec<String>,
}

const EXPLAINED: &str = "\
Options for the program itself, behind the folder:
  --follow                    also print what the processes log
  --control-plane 127.x.y.z   where the control plane is, ports 15012 and 15014
                              [default: 127.80.0.2]
  --access-log FORMAT         off, text or json [default: text]

What the folder needs, in any number of files:
  Service        a name, its ports, and a selector that finds workloads by label
  WorkloadEntry  one per workload: labels, and an address 127.x.y.z of its own, which is where
                 its proxy listens
  Sidecar        one per workload: ingress[] with captureMode NONE says which ports its proxy
                 opens, and defaultEndpoint where your application really listens
                 (another 127.x.y.z:PORT)
  Gateway        a WorkloadEntry with the labels it selects becomes its gateway; if there is
                 none, one is added for you. Without root, give the Service in front of it a
                 targetPort of 1024 or more
  VirtualService, DestinationRule, ServiceEntry and the rest as you know them; MeshConfig is the
                 key `mesh` of ConfigMap `istio` in namespace istio-system

What you start yourself: your applications, at the addresses the table prints. They call others
through their own proxy: HTTP with http_proxy=http://ADDRESS:15001, TCP at ADDRESS:PORT.

examples/README.md, \"Your own YAML\", goes through it step by step.";

/// Checks, builds, and becomes the program.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Told before a long build.
    if !args.dir.is_dir() {
        bail!(
            "{} is not a folder; name the one with your YAML, see `cargo xtask mesh --help`",
            args.dir.display()
        );
    }
    tools::require_build_tools()?;
    let mut words = vec![args.dir.to_string_lossy().into_owned()];
    words.extend(args.options.iter().cloned());
    become_example("mesh", &words)
}
