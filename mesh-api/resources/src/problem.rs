//! What is wrong, or worth knowing, about an object: which field, why, and the way out.

use std::fmt;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// Accepted, but probably not what was meant.
    Warning,
    /// Refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One problem of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Path of the field, such as `spec.http[0].retries.attempts`.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// The way out, where there is one to name.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without field or hint.
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            field: None,
            message: message.into(),
            hint: None,
        }
    }

    /// The same problem, at a field.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same problem, with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// The place in a document, grown and shrunk while it is walked.
#[derive(Clone, Debug, Default)]
pub struct FieldPath {
    text: String,
    lengths: Vec<usize>,
}

impl FieldPath {
    /// Steps into a field.
    pub fn push_field(&mut self, name: &str) {
        self.lengths.push(self.text.len());
        let plain = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if plain {
            if !self.text.is_empty() {
                self.text.push('.');
            }
            self.text.push_str(name);
        } else {
            self.bracket(&format!("{name:?}"));
        }
    }

    /// Steps into an element of a list.
    pub fn push_index(&mut self, index: usize) {
        self.lengths.push(self.text.len());
        self.bracket(&index.to_string());
    }

    fn bracket(&mut self, text: &str) {
        self.text.push('[');
        self.text.push_str(text);
        self.text.push(']');
    }

    /// Steps back out.
    pub fn pop(&mut self) {
        if let Some(length) = self.lengths.pop() {
            self.text.truncate(length);
        }
    }

    /// The path so far.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
