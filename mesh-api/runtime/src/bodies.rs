//! The bytes of requests' bodies that a listener of ours holds at a time: of all requests together,
//! and of each source ([`crate::shares`]).
//!
//! A body is counted from when its length is known, so that of many at once some come whole and not
//! all in part, until it has been answered. What does not fit waits a moment for others to be done.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::shares::{Crowded, Share, Shares};

/// How long a body waits for room at a time.
const WAITS: Duration = Duration::from_secs(1);

const HELD: &str = "mesh_listener_body_bytes";
const REFUSED: &str = "mesh_listener_bodies_refused_total";

/// The room for bodies at one listener.
#[derive(Debug)]
pub(crate) struct Bodies {
    bytes: Arc<Shares>,
    /// The port, as metrics name it.
    port: String,
}

/// Why a body was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It is larger than one may be.
    TooLong,
    /// It found no room.
    Crowded(Crowded),
    /// It did not come whole.
    Broken(hyper::Error),
}

/// What one request holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bodies: Arc<Bodies>,
    share: Share,
}

impl Bodies {
    /// All free.
    pub(crate) fn new(limit: usize, port: String) -> Arc<Self> {
        metrics::describe_gauge!(HELD, "Bytes of request bodies held at our own ports.");
        metrics::describe_counter!(
            REFUSED,
            "Requests to our own ports for whose body there was no room."
        );
        Arc::new(Self {
            bytes: Shares::new(limit),
            port,
        })
    }

    /// For a request from there; it holds nothing yet.
    pub(crate) fn hold(self: &Arc<Self>, source: IpAddr) -> Held {
        Held {
            bodies: Arc::clone(self),
            share: self.bytes.of(source),
        }
    }
}

impl Held {
    /// Reads a body of at most so many bytes, which it holds from then on.
    pub(crate) async fn read(&mut self, mut body: Incoming, most: usize) -> Result<Bytes, Unread> {
        let said = body.size_hint().exact().unwrap_or(0);
        let said = usize::try_from(said).unwrap_or(usize::MAX);
        if said > most {
            return Err(Unread::TooLong);
        }
        self.at_least(said).await?;
        // It need not be moved as it grows.
        let mut whole: Vec<u8> = Vec::with_capacity(said);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Unread::Broken)?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let now = whole.len().saturating_add(data.len());
            if now > most {
                return Err(Unread::TooLong);
            }
            self.at_least(now).await?;
            whole.extend_from_slice(&data);
        }
        Ok(Bytes::from(whole))
    }

    async fn at_least(&mut self, bytes: usize) -> Result<(), Unread> {
        let grown = self.share.grow(bytes, WAITS).await;
        let port = || self.bodies.port.clone();
        if let Err(crowded) = grown {
            metrics::counter!(REFUSED, "port" => port(), "reason" => crowded.name()).increment(1);
            return Err(Unread::Crowded(crowded));
        }
        self.show(0);
        Ok(())
    }

    /// How much is held, without so much.
    fn show(&self, without: usize) {
        if self.share.size() > 0 {
            let held = self.bodies.bytes.taken().saturating_sub(without);
            let held = u32::try_from(held).unwrap_or(u32::MAX);
            metrics::gauge!(HELD, "port" => self.bodies.port.clone()).set(f64::from(held));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.show(self.share.size());
    }
}
