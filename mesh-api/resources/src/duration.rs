//! Durations as the API writes them: `5s`, `0.5s`, `1h30m`, in whole milliseconds.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

const NANOS_PER_MILLI: u128 = 1_000_000;
/// The longest duration the API knows: ten thousand years.
const MAX_MILLIS: u64 = 315_576_000_000_000;

/// A duration of at least one millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration(u64);

/// A duration that may also be `0s`, where zero has a meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurationOrZero(u64);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number with a unit.
    #[error(
        "{0:?} is not a duration; write a number with a unit, such as 5s, 0.5s, 200ms or 1h30m"
    )]
    Syntax(String),
    /// Finer than a millisecond.
    #[error("{0:?} is finer than a millisecond; use whole milliseconds")]
    TooFine(String),
    /// Zero where that is not allowed.
    #[error("{0:?} is too short; at least 1ms is needed (leave the field out for no value)")]
    Zero(String),
    /// Longer than the API knows.
    #[error("{0:?} is longer than ten thousand years")]
    TooLong(String),
}

impl Duration {
    /// The number of milliseconds, at least one.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl DurationOrZero {
    /// The number of milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whether this is `0s`.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Duration> for time::Duration {
    fn from(value: Duration) -> Self {
        Self::from_millis(value.0)
    }
}

impl From<DurationOrZero> for time::Duration {
    fn from(value: DurationOrZero) -> Self {
        Self::from_millis(value.0)
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        match parse_millis(text)? {
            0 => Err(DurationError::Zero(text.to_owned())),
            millis => Ok(Self(millis)),
        }
    }
}

impl FromStr for DurationOrZero {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        parse_millis(text).map(Self)
    }
}

impl TryFrom<String> for Duration {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl TryFrom<String> for DurationOrZero {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(value: Duration) -> Self {
        value.to_string()
    }
}

impl From<DurationOrZero> for String {
    fn from(value: DurationOrZero) -> Self {
        value.to_string()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_millis(self.0, f)
    }
}

impl fmt::Display for DurationOrZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_millis(self.0, f)
    }
}

fn write_millis(millis: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if millis.is_multiple_of(1000) {
        write!(f, "{}s", millis / 1000)
    } else {
        write!(f, "{millis}ms")
    }
}

fn parse_millis(text: &str) -> Result<u64, DurationError> {
    let syntax = || DurationError::Syntax(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    if text.is_empty() {
        return Err(syntax());
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split_at_first(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_at_first(after, |c| c.is_ascii_digit() || c == '.');
        let unit_nanos: u128 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" => 1_000,
            "ns" => 1,
            _ => return Err(syntax()),
        };
        let part = scale(number, unit_nanos).ok_or_else(syntax)?;
        nanos = part.checked_add(nanos).ok_or_else(too_long)?;
        rest = after;
    }
    if !nanos.is_multiple_of(NANOS_PER_MILLI) {
        return Err(DurationError::TooFine(text.to_owned()));
    }
    u64::try_from(nanos / NANOS_PER_MILLI)
        .ok()
        .filter(|millis| *millis <= MAX_MILLIS)
        .ok_or_else(too_long)
}

/// `number` (digits, at most one dot) times `unit`, exactly; parts finer than a nanosecond are refused.
fn scale(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Twenty digits are past any legal value and keep the products below within bounds.
    if (whole.is_empty() && fraction.is_empty())
        || whole.len() > 20
        || fraction.len() > 12
        || fraction.contains('.')
    {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<u128>().ok()
        }
    };
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fractional = digits(fraction)?.checked_mul(unit)?;
    if fractional % divisor != 0 {
        return None;
    }
    digits(whole)?
        .checked_mul(unit)?
        .checked_add(fractional / divisor)
}

fn split_at_first(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Duration")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration" })
    }
}

impl JsonSchema for DurationOrZero {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("DurationOrZero")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_exactly() {
        for (text, millis) in [
            ("5s", 5_000),
            ("0.5s", 500),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            (".25s", 250),
            ("1.s", 1_000),
            ("7ms", 7),
            ("2000us", 2),
            ("3000000ns", 3),
            ("1m0.001s", 60_001),
        ] {
            assert_eq!(
                text.parse::<Duration>().map(Duration::as_millis),
                Ok(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_not_a_duration() {
        for text in [
            "", "5", "s", "5 s", "-5s", "+5s", "5d", "1.2.3s", "5sec", "1e3s", ".s", "∞s", "5s ",
        ] {
            assert!(
                matches!(text.parse::<Duration>(), Err(DurationError::Syntax(_))),
                "{text}"
            );
        }
        assert!(matches!(
            "1us".parse::<Duration>(),
            Err(DurationError::TooFine(_))
        ));
        assert!(matches!(
            "0.0001s".parse::<Duration>(),
            Err(DurationError::TooFine(_))
        ));
        assert!(matches!(
            "99999999999999999999h".parse::<Duration>(),
            Err(DurationError::TooLong(_))
        ));
    }

    #[test]
    fn zero_only_where_it_means_something() {
        assert!(matches!(
            "0s".parse::<Duration>(),
            Err(DurationError::Zero(_))
        ));
        assert_eq!(
            "0s".parse::<DurationOrZero>().map(DurationOrZero::is_zero),
            Ok(true)
        );
    }

    #[test]
    fn prints_what_it_can_read() {
        for text in ["5s", "500ms", "3600s"] {
            assert_eq!(
                text.parse::<Duration>().map(|d| d.to_string()).as_deref(),
                Ok(text)
            );
        }
    }
}
