//! HTTP as both spines use it: bodies on their way to an upstream, what a request must look like,
//! and what the proxy answers by itself.

pub mod body;
pub mod executor;
pub mod framing;
pub mod headers;
pub mod idle;
pub mod intake;
pub mod path;
pub mod respond;
