//! The word or sentence that says how something ended, as the log prints it. Setting one costs no
//! allocation: a sentence was made when the configuration was.

use std::sync::Arc;

/// `RESPONSE_CODE_DETAILS`, or `CONNECTION_TERMINATION_DETAILS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Details {
    /// One of the words this proxy uses.
    Word(&'static str),
    /// A reason that came with the configuration.
    Reason(Arc<str>),
}

impl Details {
    /// What is printed.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Reason(reason) => reason,
        }
    }
}

impl From<&'static str> for Details {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<&Arc<str>> for Details {
    fn from(reason: &Arc<str>) -> Self {
        Self::Reason(Arc::clone(reason))
    }
}
