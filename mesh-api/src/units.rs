//! Small value types that make illegal numbers unrepresentable once config has been parsed.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Serialize, Serializer};

/// A TCP port; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port, or `None` for 0.
    pub const fn new(port: u16) -> Option<Self> {
        match NonZeroU16::new(port) {
            Some(port) => Some(Self(port)),
            None => None,
        }
    }

    /// The number.
    pub const fn value(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u32> for Port {
    type Error = OutOfRange;

    fn try_from(port: u32) -> Result<Self, OutOfRange> {
        u16::try_from(port)
            .ok()
            .and_then(Self::new)
            .ok_or(OutOfRange {
                value: u64::from(port),
                min: 1,
                max: 65_535,
            })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number from the wire lies outside what its field allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is out of range; allowed are {min} to {max}")]
pub struct OutOfRange {
    /// The number that was given.
    pub value: u64,
    /// The smallest number allowed.
    pub min: u64,
    /// The largest number allowed.
    pub max: u64,
}

/// A share in parts per million, 0 to 1,000,000; Istio's percentages have this precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PartsPerMillion(u32);

impl PartsPerMillion {
    /// Never.
    pub const ZERO: Self = Self(0);
    /// Always.
    pub const ALL: Self = Self(1_000_000);

    /// The share, or an error above 1,000,000.
    pub const fn new(parts: u32) -> Result<Self, OutOfRange> {
        if parts > 1_000_000 {
            return Err(OutOfRange {
                value: parts as u64,
                min: 0,
                max: 1_000_000,
            });
        }
        Ok(Self(parts))
    }

    /// The share of `percent` per cent; values outside 0 to 100 are clamped.
    pub fn from_percent(percent: f64) -> Self {
        let parts = (percent.clamp(0.0, 100.0) * 10_000.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=1,000,000 on the line above"
        )]
        Self(parts as u32)
    }

    /// Parts per million.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// Whether a draw, uniform over 0..1,000,000, falls into this share.
    pub const fn hits(self, draw: u32) -> bool {
        draw < self.0
    }
}

/// A list with at least one element.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NonEmpty<T>(Vec<T>);

impl<T> NonEmpty<T> {
    /// The list, or `None` if it is empty.
    pub fn new(items: Vec<T>) -> Option<Self> {
        if items.is_empty() {
            None
        } else {
            Some(Self(items))
        }
    }

    /// A list of one.
    pub fn one(item: T) -> Self {
        Self(vec![item])
    }

    /// The first element.
    pub fn first(&self) -> &T {
        match self.0.first() {
            Some(first) => first,
            None => unreachable!("a NonEmpty is only built from a list with an element"),
        }
    }
}

impl<T> std::ops::Deref for NonEmpty<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T> IntoIterator for &'a NonEmpty<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Serialize> Serialize for NonEmpty<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
