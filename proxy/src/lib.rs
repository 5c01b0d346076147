//! The data plane: sidecar and gateway in one binary, sockets in, sockets out.
//!
//! A connection enters at [`net`] (accept), is given by [`dispatch`] to [`outbound`], [`inbound`]
//! or [`gateway`], and is carried by one of the spines `routed/http.rs`, `inbound/http.rs`,
//! `routed/tcp.rs` and `inbound/tcp.rs`. Configuration enters at [`control`], becomes a
//! [`config::ActiveConfig`] and its sockets in [`listeners`], and is read by every
//! [`worker::Worker`] once per request or connection.
//!
//! The modules below are rooms on floors: a room uses what lies on the floors under it, nothing
//! beside it and nothing above. `ARCHITECTURE.md` draws the floors, `cargo xtask tidy` checks
//! them.

pub mod admin;
pub mod app;
pub mod args;
pub mod authz;
pub mod bootstrap;
pub mod budgets;
pub mod carry;
pub mod command;
pub mod config;
pub mod control;
pub mod dispatch;
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
pub mod routed;
pub mod runtimes;
pub mod telemetry;
pub mod upstream;
pub mod worker;
