//! Lengths of time as options say them.

use std::time::Duration;

use mesh_api::mesh_config::Span;

/// What is said of a length of time that cannot be read.
pub(crate) const EXPECTED: &str = "expected a duration such as 500ms, 5s or 1m";

/// What the mesh's settings take for one, too: numbers with `ms`, `s`, `m` or `h`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    text.parse::<Span>().ok().map(Duration::from)
}

/// The same, for an option that is read at once.
pub(super) fn option(text: &str) -> Result<Duration, String> {
    parse(text).ok_or_else(|| EXPECTED.to_owned())
}
