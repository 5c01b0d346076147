//! From HTTP to a WebSocket: after the upstream's 101, bytes both ways until one side ends, or until
//! neither has said anything for too long.
//!
//! Nothing the client sends after its request reaches the upstream before the upstream agreed:
//! hyper keeps it until the upgrade is complete.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use mesh_runtime::drain::DrainWatch;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use super::response::Tail;
use crate::authz::{Permit, Sentry};
use crate::error::ProxyError;
use crate::net::splice::{Activity, Ended, Limits};
use crate::telemetry::ResponseFlag;

/// A connection that is about to change its protocol.
pub struct Tunnel {
    /// The client's end.
    pub client: OnUpgrade,
    /// The upstream's end.
    pub upstream: OnUpgrade,
    /// The request's record, and what it holds; ends with the tunnel.
    pub tail: Tail,
    /// When the tunnel ends although neither side does.
    pub limits: Limits,
    /// The right to carry it; revoked, the tunnel ends.
    pub permit: Permit,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Carries the bytes, in a task of its own.
    pub fn carry(self, drain: DrainWatch, sentry: Sentry) {
        tokio::task::spawn_local(async move {
            let _in_flight = drain.guard();
            self.run(&sentry).await;
        });
    }

    async fn run(self, sentry: &Sentry) {
        let Self {
            client,
            upstream,
            mut tail,
            limits,
            permit,
        } = self;
        let (client, upstream) = match tokio::try_join!(client, upstream) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "an upgrade was not completed");
                return;
            }
        };
        let activity = Activity::new();
        let mut client = Metered::new(client, &activity);
        let mut upstream = Metered::new(upstream, &activity);
        tokio::select! {
            biased;
            fault = permit.revoked(sentry) => {
                let fault = ProxyError::from(fault);
                if let Some(flag) = fault.flag() {
                    tail.record.flag(flag);
                }
                tail.record.set_details(fault.details());
            }
            ended = copy_bidirectional(&mut client, &mut upstream) => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "a tunnel broke");
                    tail.record.flag(ResponseFlag::UpstreamClosed);
                }
            }
            ended = limits.exceeded(&activity) => {
                let (flag, details) = if matches!(ended, Ended::Duration) {
                    (ResponseFlag::DurationTimeout, "max_connection_duration")
                } else {
                    (ResponseFlag::StreamIdle, "stream_idle_timeout")
                };
                tail.record.flag(flag);
                tail.record.set_details(details);
            }
        }
        tail.record.carried(client.read, upstream.read);
        tail.record.finish();
    }
}

/// One end of a tunnel: what is read from it is counted and keeps the tunnel alive.
struct Metered<'a> {
    io: TokioIo<Upgraded>,
    activity: &'a Activity,
    read: u64,
}

impl<'a> Metered<'a> {
    fn new(io: Upgraded, activity: &'a Activity) -> Self {
        Self {
            io: TokioIo::new(io),
            activity,
            read: 0,
        }
    }
}

impl AsyncRead for Metered<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = space.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, space);
        let count = space.filled().len().saturating_sub(before);
        if count > 0 {
            self.read += count as u64;
            self.activity.touch();
        }
        read
    }
}

impl AsyncWrite for Metered<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
