//! One object of the cluster: what counts of it, and what there is to say about it.

use crate::crd::decode::refused;
use crate::crd::problem::Problem;
use crate::crd::{Decoded, Object, Outcome, Selects};
use crate::model::kept::Former;

/// An object, as it was read last.
#[derive(Debug)]
pub(super) struct Entry {
    /// The last good version; if there never was one, which workloads it says it is for.
    pub(super) object: Result<Object, Selects>,
    /// What there is to say.
    pub(super) problems: Vec<Problem>,
    /// The newest version, if that was refused.
    refused: Option<Box<Decoded>>,
}

impl Entry {
    /// What was read, where these were good versions before.
    pub(super) fn new(decoded: Decoded, formers: impl IntoIterator<Item = Object>) -> Self {
        match decoded.outcome {
            Outcome::Object(object) => Self {
                object: Ok(object),
                problems: decoded.problems,
                refused: None,
            },
            Outcome::Skipped | Outcome::Rejected => {
                let mut entry = Self {
                    object: Err(decoded.selects.clone()),
                    problems: Vec::new(),
                    refused: Some(Box::new(decoded)),
                };
                entry.fall_back(formers);
                entry
            }
        }
    }

    /// A version that was read, and that is not merely a stand-in.
    fn good(&self) -> Option<&Object> {
        let object = self.object.as_ref().ok();
        object.filter(|object| !object.meta().stands_in)
    }

    /// Takes in a good version somebody else knows; `false` if that changes nothing.
    pub(super) fn adopt(&mut self, former: Object) -> bool {
        let before = self.object.clone();
        let own = self.good().cloned();
        self.fall_back([Some(former), own].into_iter().flatten());
        self.object != before
    }

    /// Falls back to a former version, if the newest was refused.
    fn fall_back(&mut self, formers: impl IntoIterator<Item = Object>) {
        if let Some(newest) = &self.refused {
            let instead = newest.instead(formers);
            self.problems.clone_from(&newest.problems);
            self.problems.push(refused(instead.as_ref()));
            self.object = instead.ok_or_else(|| newest.selects.clone());
        }
    }

    /// The version that counts for a newer one.
    pub(super) fn former(&self) -> Option<Former> {
        self.refused.as_ref()?;
        Former::of(self.good()?)
    }
}
