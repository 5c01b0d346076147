//! Connections below any protocol: bound, accepted, looked at, spliced.

pub mod accept;
pub mod accepted;
pub mod bind;
pub mod client_hello;
pub mod connections;
pub mod detect;
pub mod dial;
pub mod original_dst;
pub mod port_holder;
pub mod slots;
pub mod sockets;
pub mod splice;
pub mod territory;

pub use accepted::{Accepted, Connection, HttpVersion, Prefixed, Way};
