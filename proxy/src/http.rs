//! HTTP as both spines use it: bodies on their way to an upstream, what a request must look like,
//! and what the proxy answers by itself.

pub mod body;
pub mod early;
pub mod frame;
pub mod framing;
pub mod headers;
pub mod intake;
mod linger;
pub mod meter;
pub mod outbox;
pub mod path;
pub mod respond;
pub mod server_io;
pub mod translate;
pub mod watched;
