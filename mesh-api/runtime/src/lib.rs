//! Process plumbing every binary of the mesh shares, so that start-up, scraping and
//! stopping look and behave the same in each of them.
//!
//! | module | what it gives |
//! |---|---|
//! | [`logging`] | one subscriber, text or JSON, filtered by level |
//! | [`prometheus`] | the metrics recorder, and one page that also takes other sections |
//! | [`admin`] | a small HTTP/1.1 listener that the crates mount routes on |
//! | [`https`] | the same listener behind TLS, for webhooks |
//! | [`readiness`] | named gates; ready when all are open |
//! | [`drain`] | tell everyone to finish, and wait until they have |
//! | [`shutdown`] | the reasons for a process to stop |
//! | [`durable`] | a file that is replaced as a whole |
//! | [`backoff`] | jittered exponential delay |
//! | [`build_info`] | which build this is |
//! | [`process`] | the process's own memory, CPU time and file descriptors |
//! | [`pki`] | a certificate authority, and the serving certificates it issues |
//! | [`tls`] | TLS configurations, with a certificate that may be exchanged while serving |

pub mod admin;
pub mod backoff;
pub mod build_info;
pub mod drain;
pub mod durable;
pub mod https;
pub mod logging;
pub mod memory;
pub mod pki;
pub mod process;
pub mod prometheus;
pub mod readiness;
pub mod shutdown;
pub mod tls;

pub use admin::{AdminRequest, AdminResponse, AdminServer, Router};
pub use backoff::Backoff;
pub use build_info::BuildInfo;
pub use drain::{Drain, DrainWatch, Drained, InFlight};
pub use logging::LogFormat;
pub use prometheus::{Prometheus, ScrapeSection};
pub use readiness::{Gate, Readiness};
pub use shutdown::{Shutdown, StopReason};
