//! From HTTP to something else: after the upstream's 101, bytes both ways until one side ends.
//!
//! Nothing the client sends after its request reaches the upstream before the upstream agreed:
//! hyper keeps it until the upgrade is complete.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::response::Tail;
use crate::telemetry::ResponseFlag;

/// Carries an upgraded connection; `tail` ends with it.
pub fn tunnel(
    client: OnUpgrade,
    upstream: OnUpgrade,
    mut tail: Tail,
    drain: mesh_runtime::drain::DrainWatch,
) {
    tokio::task::spawn_local(async move {
        let _in_flight = drain.guard();
        let (client, upstream) = match tokio::try_join!(client, upstream) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "an upgrade was not completed");
                return;
            }
        };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        match copy_bidirectional(&mut client, &mut upstream).await {
            Ok((_received, _sent)) => {}
            Err(error) => {
                tracing::trace!(%error, "a tunnel broke");
                tail.record.flag(ResponseFlag::UpstreamClosed);
            }
        }
        tail.record.finish();
    });
}
