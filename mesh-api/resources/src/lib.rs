//! The API users write: one file per kind, one Rust type per kind, strict decoding and validation.
//!
//! Nothing downstream meets raw YAML or an unchecked field: [`decode()`] turns one document into an
//! [`Object`], or into a full list of what is wrong with it. The crate knows no client and no
//! runtime, so that whatever reads the mesh's YAML can link it alone.

mod absent;
pub mod authorization_policy;
pub mod bytes;
pub mod decode;
pub mod definition;
pub mod destination_rule;
pub mod duration;
pub mod envoy_filter;
pub mod gateway;
pub mod kind;
pub mod kubernetes;
pub mod meta;
pub mod object;
mod open;
pub mod peer_authentication;
pub mod percent;
pub mod problem;
pub mod proxy_config;
pub mod request_authentication;
#[cfg(any(test, feature = "testing"))]
pub mod samples;
pub mod selector;
pub mod service_entry;
pub mod sidecar;
pub mod status;
pub mod string_match;
pub mod telemetry;
pub mod traffic_extension;
pub mod validate;
pub mod virtual_service;
pub mod wasm_plugin;
pub mod workload_entry;
pub mod workload_group;

pub use decode::{Decoded, Outcome, Selects, decode};
pub use duration::{Duration, DurationOrZero};
pub use kind::Kind;
pub use object::{Object, Resource};
pub use percent::Percent;
pub use problem::{Problem, Severity};
pub use string_match::StringMatch;
