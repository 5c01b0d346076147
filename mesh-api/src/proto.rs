//! The generated messages and stubs of `proto/mesh/v1`: the one place they are mounted, and the
//! only code that no lint looks at.
//!
//! `PROTOCOL.md` says what the messages mean.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::str_to_string,
    clippy::wildcard_imports,
    clippy::wildcard_enum_match_arm,
    reason = "generated code"
)]

include!(concat!(env!("OUT_DIR"), "/mesh.v1.rs"));
