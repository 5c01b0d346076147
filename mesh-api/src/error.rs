//! Why a resource was refused: which one, which of its fields, and for what reason.

use std::fmt;

use crate::name::ResourceName;
use crate::version::Version;

/// Longest field path and longest reason that travel.
const MAX_TEXT: usize = 1000;

/// What a rejection is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectedName {
    /// A resource.
    Known(ResourceName),
    /// Text from the wire that names no resource this side knows; cut off at 1000 characters.
    Unreadable(String),
}

impl RejectedName {
    /// The name behind the text, if it is one.
    pub fn parse(text: &str) -> Self {
        match text.parse() {
            Ok(name) => Self::Known(name),
            Err(_) => Self::Unreadable(text.chars().take(MAX_TEXT).collect()),
        }
    }

    /// The name, unless it is unreadable.
    pub const fn known(&self) -> Option<&ResourceName> {
        match self {
            Self::Known(name) => Some(name),
            Self::Unreadable(_) => None,
        }
    }
}

impl fmt::Display for RejectedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(name) => name.fmt(f),
            Self::Unreadable(text) => f.write_str(text),
        }
    }
}

impl From<ResourceName> for RejectedName {
    fn from(name: ResourceName) -> Self {
        Self::Known(name)
    }
}

/// One thing wrong with a push.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rejection {
    /// The resource.
    pub resource: RejectedName,
    /// The version of it that was refused.
    pub version: Version,
    /// The field, `rules[2].action.forward.timeout` for example; empty: the whole resource.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Rejection {
    /// A rejection; over-long texts are cut off.
    pub fn new(
        resource: impl Into<RejectedName>,
        version: Version,
        field: impl fmt::Display,
        reason: impl fmt::Display,
    ) -> Self {
        Self {
            resource: resource.into(),
            version,
            field: short(field),
            reason: short(reason),
        }
    }
}

fn short(text: impl fmt::Display) -> String {
    text.to_string().chars().take(MAX_TEXT).collect()
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resource,
            version,
            field,
            reason,
        } = self;
        if field.is_empty() {
            write!(f, "{resource} (version {version}): {reason}")
        } else {
            write!(f, "{resource} (version {version}): {field}: {reason}")
        }
    }
}

impl std::error::Error for Rejection {}
