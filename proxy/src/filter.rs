//! What a route does to a request besides choosing where it goes: one kind per file.

pub mod cors;
pub mod fault;
pub mod headers;
pub mod redirect;
pub mod rewrite;
