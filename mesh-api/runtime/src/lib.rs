//! Process plumbing every binary of the mesh shares, so that start-up, scraping and
//! stopping look and behave the same in each of them.
//!
//! | module | what it gives |
//! |---|---|
//! | [`logging`] | one subscriber, text or JSON, filtered by level |
//! | [`lines`] | a log's way out, that never holds up who writes |
//! | [`vital`] | work whose end is the process's end |
//! | [`prometheus`] | the metrics recorder, and one page that also takes other sections |
//! | [`admin`] | a small HTTP/1.1 listener that the crates mount routes on |
//! | [`https`] | the same listener behind TLS, for webhooks |
//! | [`seats`] | who may have a connection to these listeners when there are many |
//! | [`shares`] | something limited, of which no source gets more than is left |
//! | [`json`] | how much a JSON text is to have in memory |
//! | [`neighbours`] | this machine and its node, for whom some are kept |
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
mod bodies;
pub mod build_info;
pub mod drain;
pub mod durable;
pub mod files;
pub mod https;
pub mod json;
pub mod lines;
pub mod logging;
pub mod memory;
pub mod neighbours;
pub mod pki;
pub mod process;
pub mod prometheus;
pub mod readiness;
pub mod seats;
pub mod shares;
pub mod shutdown;
pub mod tls;
pub mod vital;

pub use admin::{AdminRequest, AdminResponse, AdminServer, Router};
pub use backoff::Backoff;
pub use build_info::BuildInfo;
pub use drain::{Drain, DrainWatch, Drained, InFlight};
pub use logging::LogFormat;
pub use prometheus::{Prometheus, ScrapeSection};
pub use readiness::{Gate, Readiness};
pub use seats::SeatLimits;
pub use shutdown::{Shutdown, StopReason};
pub use vital::Vital;
