//! Lengths of time as options say them.

use std::time::Duration;

/// What is said of a length of time that cannot be read.
pub(crate) const EXPECTED: &str = "expected a duration such as 500ms, 5s or 1m";

/// A whole number and `ms`, `s`, `m` or `h`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u32 = number.parse().ok()?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        _ => return None,
    };
    unit.checked_mul(number)
}

/// The same, for an option that is read at once.
pub(super) fn option(text: &str) -> Result<Duration, String> {
    parse(text).ok_or_else(|| EXPECTED.to_owned())
}
