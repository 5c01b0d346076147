//! The example application: frontend, backend and store in one binary, so that every story
//! about the mesh has something real, small and observable to route to.

mod control;
mod grpc;
mod http;
mod next_tier;
mod reply;
mod serve;
mod tcp;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mesh_runtime::{Drain, Drained, Shutdown};

use control::Control;
use next_tier::NextTier;

/// The generated gRPC contract.
#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    missing_docs,
    unused_qualifications,
    reason = "generated from proto/shop/v1/shop.proto, where the documentation is"
)]
pub mod proto {
    tonic::include_proto!("shop.v1");
}

/// How long requests in progress may take once the shop was told to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Which tier a process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tier {
    /// Calls the backend.
    Frontend,
    /// Calls the store.
    Backend,
    /// Calls nobody.
    Store,
}

impl Tier {
    /// The tier's name as it appears in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Store => "store",
        }
    }
}

/// Flags of the `shop` binary.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "shop", about = "One tier of the example shop")]
pub struct ShopArgs {
    /// The tier to play.
    #[arg(value_enum)]
    pub tier: Tier,
    /// Where to serve HTTP/1.1 and cleartext HTTP/2 (gRPC included).
    #[arg(long, value_name = "IP:PORT")]
    pub listen: SocketAddr,
    /// A second address with the same answers, for a port of its own for gRPC.
    #[arg(long, value_name = "IP:PORT")]
    pub grpc_listen: Option<SocketAddr>,
    /// Where to serve TCP: one line "NAME VERSION", then whatever arrives.
    #[arg(long, value_name = "IP:PORT")]
    pub tcp_listen: Option<SocketAddr>,
    /// The version to answer with.
    #[arg(long, default_value = "v1")]
    pub version: String,
    /// The instance's name to answer with; the tier's name if left out.
    #[arg(long)]
    pub name: Option<String>,
    /// The sidecar's outbound HTTP listener. Without it the next tier is dialled directly.
    #[arg(long, value_name = "http://IP:PORT")]
    pub upstream_proxy: Option<String>,
    /// Where a frontend finds the backend.
    #[arg(long, value_name = "URL", default_value = "http://backend:8080")]
    pub backend_url: String,
    /// Where a backend finds the store.
    #[arg(long, value_name = "URL", default_value = "http://store:8080")]
    pub store_url: String,
    /// End at once when told to stop, cutting what is in progress, as programs do that do not
    /// care for signals.
    #[arg(long)]
    pub abrupt: bool,
    /// Stop when standard input closes, so that no shop outlives whoever started it.
    #[arg(long)]
    pub exit_on_stdin_close: bool,
}

/// One running tier: what every connection shares.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) tier: Tier,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) control: Control,
    pub(crate) next: Option<NextTier>,
}

impl App {
    fn new(args: &ShopArgs) -> anyhow::Result<Self> {
        let url = match args.tier {
            Tier::Frontend => Some(&args.backend_url),
            Tier::Backend => Some(&args.store_url),
            Tier::Store => None,
        };
        let next = url
            .map(|url| NextTier::new(url, args.upstream_proxy.as_deref()))
            .transpose()?;
        Ok(Self {
            tier: args.tier,
            name: args
                .name
                .clone()
                .unwrap_or_else(|| args.tier.as_str().to_owned()),
            version: args.version.clone(),
            control: Control::default(),
            next,
        })
    }
}

/// Runs one tier until it is told to stop.
pub async fn run(args: ShopArgs) -> anyhow::Result<()> {
    let mut shutdown =
        Shutdown::listen(args.exit_on_stdin_close).context("cannot listen for signals")?;
    let app = Arc::new(App::new(&args)?);
    let drain = Drain::new();
    for address in std::iter::once(args.listen).chain(args.grpc_listen) {
        let listener = serve::bind(address).await?;
        tokio::spawn(serve::http(listener, Arc::clone(&app), drain.watch()));
    }
    if let Some(address) = args.tcp_listen {
        let listener = serve::bind(address).await?;
        tokio::spawn(tcp::serve(listener, Arc::clone(&app), drain.watch()));
    }
    tracing::info!(name = %app.name, version = %app.version, address = %args.listen, "serving");

    let reason = shutdown.recv().await;
    tracing::info!(%reason, "stopping");
    if args.abrupt {
        return Ok(());
    }
    drain.trigger();
    tokio::select! {
        drained = drain.wait_idle(DRAIN_DEADLINE) => {
            if let Drained::DeadlinePassed { remaining } = drained {
                tracing::warn!(remaining, "connections cut off at the drain deadline");
            }
        }
        reason = shutdown.recv() => tracing::warn!(%reason, "told to stop again: not waiting"),
    }
    Ok(())
}
