//! What a request holds of its upstream until the response is over.

use super::Grant;
use super::pool::{ActiveRequest, Busy, Http1Lease, Http2Stream};

/// What a request holds of its upstream until the response is over.
#[derive(Debug)]
pub struct UpstreamLease {
    /// The connection.
    pub connection: LeasedConnection,
    /// The endpoint is busy with it.
    pub busy: Busy,
    /// The cluster counts it.
    pub active: ActiveRequest,
    /// The right to be active, where there is a limit.
    pub grant: Option<Grant>,
}

/// A connection a request holds.
#[derive(Debug)]
pub enum LeasedConnection {
    /// Alone.
    Http1(Http1Lease),
    /// With others.
    Http2(Http2Stream),
}

impl UpstreamLease {
    /// The connection serves no further request.
    pub fn retire(&mut self) {
        if let LeasedConnection::Http1(lease) = &mut self.connection {
            lease.retire();
        }
    }

    /// The response was read to its end: the connection may serve another request.
    pub fn release(self) {
        let Self { connection, .. } = self;
        if let LeasedConnection::Http1(lease) = connection {
            lease.release();
        }
    }
}
