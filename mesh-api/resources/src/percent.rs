//! A share of requests, kept in parts per million so that no reader rounds differently.

use serde::{Deserialize, Serialize};

const PER_MILLION: f64 = 10_000.0;

/// `{ value: 12.5 }`: a share between 0 and 100 percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "PercentFields", into = "PercentFields")]
pub struct Percent(u32);

/// The form on the wire.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "Percent")]
struct PercentFields {
    /// Share in percent, from 0 to 100.
    #[serde(default)]
    value: f64,
}

/// Why a number is not a share.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PercentError {
    /// Outside 0 to 100.
    #[error("{0} is not between 0 and 100 percent")]
    OutOfRange(f64),
    /// More than zero, but less than can be expressed.
    #[error("{0} is less than the smallest share, 0.0001 percent; use 0 to turn it off")]
    TooFine(f64),
}

impl Percent {
    /// Reads a number of percent.
    pub fn new(value: f64) -> Result<Self, PercentError> {
        if !(0.0..=100.0).contains(&value) {
            return Err(PercentError::OutOfRange(value));
        }
        let parts = (value * PER_MILLION).round();
        if parts < 1.0 && value > 0.0 {
            return Err(PercentError::TooFine(value));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1,000,000"
        )]
        Ok(Self(parts as u32))
    }

    /// The share in parts per million; 1,000,000 is everything.
    pub const fn parts_per_million(self) -> u32 {
        self.0
    }
}

impl TryFrom<PercentFields> for Percent {
    type Error = PercentError;

    fn try_from(fields: PercentFields) -> Result<Self, PercentError> {
        Self::new(fields.value)
    }
}

impl From<Percent> for PercentFields {
    fn from(percent: Percent) -> Self {
        Self {
            value: f64::from(percent.0) / PER_MILLION,
        }
    }
}

impl schemars::JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        PercentFields::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        PercentFields::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_fractions_exactly() {
        for (value, parts) in [
            (0.0, 0),
            (0.0001, 1),
            (0.1, 1_000),
            (12.5, 125_000),
            (100.0, 1_000_000),
        ] {
            assert_eq!(
                Percent::new(value).map(Percent::parts_per_million),
                Ok(parts)
            );
        }
    }

    #[test]
    fn refuses_what_is_no_share() {
        for value in [-0.1, 100.1, f64::INFINITY] {
            assert_eq!(Percent::new(value), Err(PercentError::OutOfRange(value)));
        }
        assert!(Percent::new(f64::NAN).is_err());
        assert_eq!(Percent::new(0.00001), Err(PercentError::TooFine(0.00001)));
    }
}
