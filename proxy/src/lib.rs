//! The data plane: sidecar and gateway in one binary, sockets in, sockets out.
//!
//! A connection enters at [`net`] (accept), is dispatched by [`outbound`], [`inbound`] or
//! [`gateway`], and is carried by one of the spines `outbound/http.rs`, `inbound/http.rs`,
//! `outbound/tcp.rs` and `inbound/tcp.rs`. Configuration enters at [`control`], becomes a
//! [`config::ActiveConfig`] and its sockets in [`listeners`], and is read by every
//! [`worker::Worker`] once per request or connection.
//!
//! - [`args`], [`bootstrap`]: what the process was started with
//! - [`command`], [`init`], [`request`]: what the binary does besides being a proxy
//! - [`app`], [`runtimes`], [`worker`]: the process, its threads, the state of one thread
//! - [`listeners`], [`net`]: sockets: bound, accepted, looked at, spliced
//! - [`outbound`], [`inbound`], [`gateway`]: what happens to a connection
//! - [`http`], [`filter`], [`upstream`], [`error`]: what happens to a request
//! - [`config`], [`control`]: the configuration in use and where it comes from
//! - [`telemetry`], [`admin`]: what the proxy says about itself
//! - [`pod`]: what it says and asks on behalf of the application beside it

pub mod admin;
pub mod app;
pub mod args;
pub mod bootstrap;
pub mod command;
pub mod config;
pub mod control;
pub mod error;
pub mod filter;
pub mod gateway;
pub mod http;
pub mod inbound;
mod init;
pub mod listeners;
pub mod net;
pub mod outbound;
pub mod pod;
mod request;
pub mod runtimes;
pub mod telemetry;
pub mod upstream;
pub mod worker;
