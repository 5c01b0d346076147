//! What is kept, from the ConfigMap the leader stores it in.
//!
//! It is read before anything is pushed, and followed, so that a replica that missed a change has
//! the same mesh as the one that saw it. What cannot be read is said and left out: a mesh without
//! what is kept is better than none.

use std::sync::Arc;

use serde_json::Value;

use super::keep::{Cut, Data};
use super::single::Single;
use super::trouble::Trouble;
use crate::crd::problem::{Problem, Severity};
use crate::keep::KEY;
use crate::model::Kept;

/// The text the ConfigMap holds; none if the key is missing.
pub(super) type Content = Option<String>;

/// Takes what is needed from the object.
pub(super) fn content(object: &Cut<Data>) -> Content {
    let text = object.value.get("data").and_then(|data| data.get(KEY));
    text.and_then(Value::as_str).map(str::to_owned)
}

/// What is known of what is kept.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether the start need not wait for it.
    pub(super) known: bool,
    content: Option<Content>,
    problems: Vec<Problem>,
    trouble: Option<Trouble>,
}

/// What a step brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct News {
    /// Something is kept, or it has become known that nothing is.
    pub(super) kept: Option<Arc<Kept>>,
    /// There is something else to say.
    pub(super) reports: bool,
}

impl State {
    /// Takes in what became of the ConfigMap.
    pub(super) fn take(&mut self, step: Single<Content>) -> News {
        let content = match step {
            Single::Watching => {
                return News {
                    kept: None,
                    reports: self.trouble.take().is_some(),
                };
            }
            Single::Failed(trouble) => return self.failed(trouble),
            Single::Absent => None,
            Single::There(content) => Some(content),
        };
        self.trouble = None;
        if std::mem::replace(&mut self.known, true) && self.content == content {
            return News::default();
        }
        let (kept, problems) = match &content {
            None => (Kept::default(), vec![absent()]),
            // As it is installed: nothing was kept yet.
            Some(None) => (Kept::default(), Vec::new()),
            Some(Some(text)) => {
                let (kept, wrong) = Kept::read(text);
                (kept, wrong.iter().map(unreadable).collect())
            }
        };
        self.content = content;
        self.problems = problems;
        News {
            kept: Some(Arc::new(kept)),
            reports: true,
        }
    }

    fn failed(&mut self, trouble: Trouble) -> News {
        let mut news = News::default();
        // The API server will be back. That it refuses may last, and must not hold up the mesh.
        if !trouble.is_general() && !std::mem::replace(&mut self.known, true) {
            news.kept = Some(Arc::default());
        }
        let said = self.trouble.as_ref();
        news.reports = !said.is_some_and(|one| one.is_like(&trouble));
        if news.reports {
            self.trouble = Some(trouble);
        }
        news
    }

    /// What there is to say.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Why it cannot be read now.
    pub(super) const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }
}

fn absent() -> Problem {
    Problem::new(
        Severity::Warning,
        "does not exist; a restart of the control plane loses the former form of what is held back",
    )
    .hint("apply the manifests of this version, which create it")
}

fn unreadable(wrong: &crate::model::kept::NotKept) -> Problem {
    Problem::new(
        Severity::Error,
        format!("cannot be read in part and is used without it: {wrong}"),
    )
    .hint("the leader writes it anew when what is kept changes, at the latest in ten minutes")
}
