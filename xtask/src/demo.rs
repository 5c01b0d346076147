//! `cargo xtask demo`: builds the mesh and hands over to the demo program.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{cargo, tools};

/// Where users reach the demo, and where its proxies reach the control plane. The demo program
/// checks every port it uses; these two tell before a long build that another one runs.
const FRONT_DOOR: &str = "127.80.0.1:8080";
const CONTROL_PLANE: &str = "127.80.0.2:15012";

/// Watch a whole mesh route real traffic on this machine (no root, no Kubernetes)
///
/// Builds the control plane, the proxy and a small shop, starts them on loopback addresses,
/// sends traffic and shows how a 90/10 split, a live change, header routing and a dying backend
/// behave. Ends by itself with a summary; Ctrl-C ends everything it started.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Options for the demo itself, passed on as they are:
  --keep          leave everything running and print the URLs and the folder to edit
  --requests N    how many requests the split is measured over
  --no-color      plain output

Examples:
  cargo xtask demo
  cargo xtask demo --keep")]
pub(crate) struct Args {
    /// Options for the demo program
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    options: Vec<String>,
}

/// Checks, builds, and becomes the demo program.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    tools::require_build_tools()?;
    for address in [FRONT_DOOR, CONTROL_PLANE] {
        require_free(address)?;
    }
    become_example("demo", &args.options)
}

/// Builds what a mesh needs, and nothing besides, and becomes one of the programs of the examples.
pub(crate) fn become_example(name: &str, options: &[String]) -> Result<ExitCode> {
    let folder = cargo::build_programs(
        "quick",
        &["control-plane", "proxy", "examples"],
        &["control-plane", "proxy", "shop", name],
    )?;
    let program = folder.join(name);
    // It takes our place: Ctrl-C, other signals and the exit code are its own, and no process is
    // left in between that could die alone.
    let error = Command::new(&program).args(options).exec();
    Err(error).with_context(|| format!("{} could not be started", program.display()))
}

/// Fails if somebody listens on the address already.
fn require_free(address: &str) -> Result<()> {
    let parsed: SocketAddr = address.parse().context("address of the demo")?;
    match TcpListener::bind(parsed) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "port {} on {} is busy, which the demo needs. Another demo is probably running: end it \
             (Ctrl-C in its terminal) or find who holds the port with `ss -ltnp 'sport = :{}'`",
            parsed.port(),
            parsed.ip(),
            parsed.port()
        ),
        Err(error) => Err(error).with_context(|| format!("the demo cannot listen on {address}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named_and_a_free_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let message = require_free(&address.to_string()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("port {}", address.port())),
            "{message}"
        );
        drop(listener);
        require_free(&address.to_string()).unwrap();
    }

    #[test]
    fn an_address_that_is_not_ours_says_so() {
        let message = format!("{:#}", require_free("192.0.2.1:80").unwrap_err());
        assert!(
            message.contains("cannot listen on 192.0.2.1:80"),
            "{message}"
        );
    }
}
