//! What was wrong with what users wrote, or is not done yet: with the object, the field and the
//! way out.

pub mod codes;

use std::collections::BTreeSet;
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub use crate::crd::Severity;
pub use codes::Code;

use crate::meta::ObjectKey;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Diagnostic {
    /// The object it is about; `None` for the mesh as a whole.
    pub object: Option<ObjectKey>,
    /// The field, `spec.http[0].route[1].destination.subset` for example; empty for the whole
    /// object.
    pub field: String,
    /// What kind of finding; stable.
    pub code: Code,
    /// What is the matter.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A finding about a field of an object.
    pub fn new(
        code: Code,
        object: &ObjectKey,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            object: Some(object.clone()),
            field: field.into(),
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same finding with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same finding with a way out, if there is one to name.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.severity())?;
        if let Some(object) = &self.object {
            write!(f, " {object}")?;
        }
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Diagnostic", 8)?;
        out.serialize_field("severity", &self.severity().to_string())?;
        out.serialize_field("code", self.code.as_str())?;
        let object = self.object.as_ref();
        out.serialize_field("kind", &object.map(|key| key.kind.as_str()))?;
        out.serialize_field("namespace", &object.map(|key| &key.namespace))?;
        out.serialize_field("name", &object.map(|key| &key.name))?;
        out.serialize_field("field", &self.field)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("hint", &self.hint)?;
        out.end()
    }
}

/// Findings, each once, in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Report(BTreeSet<Diagnostic>);

impl Report {
    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.insert(diagnostic);
    }

    /// Adds all findings of another report.
    pub fn extend(&mut self, other: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(other);
    }

    /// The findings, sorted by object and field.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// The findings, sorted by object and field.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        self.0.into_iter().collect()
    }
}
