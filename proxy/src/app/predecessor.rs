//! Whoever stops a proxy and starts it again at once meets the one that is going: it serves on
//! while it drains, and has its ports until it ends. The new one waits for that, instead of
//! giving up over a port that is about to be free.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use tokio::time::Instant;

use crate::net::bind::{self, BindError};
use crate::net::dial::dial;
use crate::pod::client;

/// How often is looked.
const POLL: Duration = Duration::from_millis(50);
/// How long the other one may take to say that it is ready.
const ASKING: Duration = Duration::from_secs(1);

/// Waits until `port`, where readiness is told, is free, for at most `limit` and only as long as
/// another proxy holds it that does not call itself ready. Whether the port can be had is found
/// out by whoever binds it next.
pub(super) async fn leave(port: SocketAddr, limit: Duration) {
    let begun = Instant::now();
    let mut told = false;
    while let Some(holder) = holder(port) {
        if begun.elapsed() >= limit || is_ready(port).await {
            return;
        }
        if !told {
            told = true;
            tracing::warn!(
                %port,
                "held by {holder}, a proxy that is not ready; waiting for up to {limit:?} in case \
                 it is stopping"
            );
        }
        tokio::time::sleep(POLL).await;
    }
    if told {
        tracing::info!(waited = ?begun.elapsed(), "the former proxy has gone");
    }
}

/// The other proxy that listens at a port.
fn holder(port: SocketAddr) -> Option<String> {
    let Err(BindError::InUse { holder, .. }) = bind::listen_alone(port) else {
        return None;
    };
    let own = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    holder
        .filter(|holder| holder.command == own.trim())
        .map(|holder| holder.to_string())
}

async fn is_ready(port: SocketAddr) -> bool {
    let request = Request::get("/healthz/ready")
        .header(header::HOST, port.to_string())
        .header(header::CONNECTION, "close")
        .body(Full::<Bytes>::default());
    let Ok(request) = request else { return false };
    let asked = async {
        let stream = dial(port, None, ASKING).await.ok()?;
        client::http1(stream, request, 0).await.ok()
    };
    match tokio::time::timeout(ASKING, asked).await {
        Ok(Some(answer)) => answer.status == StatusCode::OK,
        Ok(None) | Err(_) => false,
    }
}
