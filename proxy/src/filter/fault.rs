//! Faults on purpose: a delay, an abort, or a delay and then an abort, each for its share of
//! requests.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mesh_api::route::filter::AbortAnswer;
use mesh_api::route::{Fault, FaultAbort, FaultDelay};
use mesh_api::units::PartsPerMillion;

use crate::http::respond::LocalReply;

/// Whether a request is among this share.
pub fn draw(share: PartsPerMillion) -> bool {
    share == PartsPerMillion::ALL
        || (share > PartsPerMillion::ZERO
            && share.hits(rand::random_range(0..PartsPerMillion::ALL.value())))
}

/// How long this request is delayed.
pub fn delay(fault: &Fault) -> Option<Duration> {
    let FaultDelay { duration, share } = fault.delay?;
    draw(share).then_some(duration)
}

/// What this request is answered with instead of being forwarded.
pub fn abort(fault: &Fault) -> Option<LocalReply> {
    let FaultAbort { answer, share } = fault.abort.as_ref()?;
    draw(*share).then(|| {
        let body = Bytes::from_static(b"fault filter abort");
        match answer {
            AbortAnswer::Http(status) => LocalReply::new(*status, body),
            AbortAnswer::Grpc(status) => LocalReply {
                grpc_status: Some(*status),
                ..LocalReply::new(StatusCode::OK, body)
            },
        }
    })
}
