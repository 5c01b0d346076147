//! HTTP as both spines use it: server connections, bodies, what a request must look like, and
//! what the proxy answers by itself.

pub mod arrival;
pub mod body;
pub mod exchange;
pub mod executor;
pub mod headers;
pub mod idle;
pub mod intake;
pub mod path;
pub mod respond;
pub mod server;
pub mod upgrade;
