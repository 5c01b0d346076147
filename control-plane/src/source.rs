//! Where objects come from: a folder of files here, Kubernetes beside it.
//!
//! Every source yields the same stream of [`Batch`]es; nothing behind it knows which one it was.

use std::fmt;
use std::sync::Arc;

use mesh_api::mesh_config::MeshConfig;

use crate::crd::problem::{Problem, Severity};
use crate::meta::ObjectKey;
use crate::model::kept::{Formers, KeptSettings};
use crate::model::{Change, Kept};

pub mod folder;
pub mod kubernetes;
pub mod mesh_config;

/// Changes that belong together, and what there is to say about where they came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Changes, at most one per object.
    pub changes: Vec<Change>,
    /// For each place that was read again, everything there is to say about it now. It replaces
    /// what was said about that place before; an empty list takes it back.
    pub reports: Vec<PlaceReports>,
    /// Other settings of the mesh.
    pub mesh: Option<Arc<MeshReading>>,
    /// The objects that count in a former form, if they are others than before.
    pub formers: Option<Arc<Formers>>,
    /// What another replica keeps, or this one kept before it was started again.
    pub kept: Option<Arc<Kept>>,
    /// Set once, on the first batch: with it the initial state is complete.
    pub initial_complete: bool,
}

/// The settings of the mesh, as they were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshReading {
    /// The settings.
    pub config: MeshConfig,
    /// Those that were written and that nobody acts on.
    pub not_acted_on: Vec<String>,
    /// The values to keep for the time when one of them cannot be read.
    pub kept: KeptSettings,
}

impl Batch {
    /// Whether the batch says nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.reports.is_empty()
            && self.mesh.is_none()
            && self.formers.is_none()
            && self.kept.is_none()
            && !self.initial_complete
    }
}

/// Everything there is to say about one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceReports {
    /// The place: a file, relative to the folder; in a cluster something unique.
    pub place: Arc<str>,
    /// What there is to say.
    pub reports: Vec<Report>,
}

/// Where a document stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, relative to the folder; `kubernetes` in a cluster.
    pub place: Arc<str>,
    /// The document within it; absent when all of the file is meant.
    pub position: Option<Position>,
}

/// A document within a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the document, from 1.
    pub document: usize,
    /// Line it begins at, from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        match self.position {
            Some(Position { document, line }) => write!(f, ", document {document} (line {line})"),
            None => Ok(()),
        }
    }
}

/// Something to say about a document or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub origin: Origin,
    /// The object, as far as it is known.
    pub object: Option<ObjectKey>,
    /// Path of the field.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl Report {
    /// A report of a problem at a place.
    pub fn new(origin: Origin, object: Option<ObjectKey>, problem: Problem) -> Self {
        let Problem {
            severity,
            field,
            message,
            hint,
        } = problem;
        Self {
            severity,
            origin,
            object,
            field,
            message,
            hint,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.severity, self.origin)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
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
