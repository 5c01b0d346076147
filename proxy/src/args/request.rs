//! What `proxy request` and `proxy wait` are told.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Method;
use mesh_api::pod::DATA_DIR;
use mesh_api::reserved::HEALTH_PORT;

use super::duration;

const REQUEST_EXAMPLES: &str = "\
Examples:
  proxy request GET stats
  proxy request GET 'config_dump?resource=cluster/'
  proxy request POST 'logging?level=debug'
  proxy request POST /drain
  proxy request POST quit

Exit code: 0 if the answer is a success, 1 if it is not or nobody answers.";

/// The options of `proxy request`.
#[derive(Debug, Args)]
#[command(after_help = REQUEST_EXAMPLES)]
pub(crate) struct RequestOptions {
    /// GET or POST.
    pub(crate) method: Method,
    /// The page; a leading slash may be left out.
    pub(crate) path: String,
    /// The proxy's port [default: 15020 for /drain, /quitquitquit, /healthz and /app-health, the
    /// socket in --data-dir for /quit, else 15000].
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Where the proxy keeps its data, and the socket it is told to stop at.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
    /// The proxy's address.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) address: IpAddr,
    /// How long the answer may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::option)]
    pub(crate) timeout: Duration,
}

/// The options of `proxy wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitOptions {
    /// How long to wait for the proxy to be ready.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::option)]
    pub(crate) timeout: Duration,
    /// The proxy's address.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) address: IpAddr,
    /// The port readiness is asked at.
    #[arg(long, value_name = "PORT", default_value_t = HEALTH_PORT)]
    pub(crate) port: u16,
}
