//! A request's body on its way to the upstream, not held in memory beyond what a retry policy asks
//! for; and the body of an answer as it comes from there.

mod client;
pub mod replay;
pub mod request;
mod upstream;

use std::fmt;

pub use client::{ClientBody, StreamBody};
pub use request::{BodyTap, Progress, RequestBody, Source};
pub use upstream::{BrokenOff, UpstreamBody};

/// Why a body ended early. The other side sees a broken connection or a reset stream, never a
/// message that looks complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The client stopped sending.
    Downstream,
    /// The upstream stopped sending.
    Upstream,
    /// The client sent or took nothing for too long, or the request's deadline passed meanwhile.
    Timeout,
    /// Another attempt took over.
    Superseded,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Downstream => "the client stopped sending",
            Self::Upstream => "the upstream stopped sending",
            Self::Timeout => "it took too long",
            Self::Superseded => "another attempt took over",
        })
    }
}

impl std::error::Error for BodyError {}
