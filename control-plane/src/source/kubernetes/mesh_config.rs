//! The settings of the mesh, from a ConfigMap.

use serde_json::Value;

use super::keep::{Cut, Data};
use super::single::Single;
use super::trouble::Trouble;
use crate::crd::problem::Problem;
use crate::model::kept::KeptSettings;
use crate::source::MeshReading;
use crate::source::mesh_config::{Found, KEY, Resolved, resolve};

/// What the ConfigMap holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The settings as text; none if the key is missing.
    text: Option<String>,
    /// Which object it is, for events.
    pub(super) uid: String,
}

impl Content {
    /// Takes what is needed from the object.
    pub(super) fn of(object: &Cut<Data>) -> Self {
        let text = object.value.get("data").and_then(|data| data.get(KEY));
        Self {
            text: text.and_then(Value::as_str).map(str::to_owned),
            uid: object.metadata("uid").to_owned(),
        }
    }
}

/// What is known of the settings: a function of the ConfigMap and of the last good values.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether it is known if there is a ConfigMap.
    known: bool,
    content: Option<Content>,
    /// Whether it is known if values are kept.
    kept_known: bool,
    kept: Option<KeptSettings>,
    /// What comes of it; none while something is not known.
    resolved: Option<Resolved>,
    trouble: Option<Trouble>,
}

/// What a step brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Other settings are in force.
    pub(super) settings: bool,
    /// There is something else to say.
    pub(super) reports: bool,
}

impl State {
    /// Takes in what became of the ConfigMap.
    pub(super) fn take(&mut self, step: Single<Content>) -> News {
        let content = match step {
            Single::Watching => {
                return News {
                    settings: false,
                    reports: self.trouble.take().is_some(),
                };
            }
            Single::Failed(trouble) => {
                let known = self
                    .trouble
                    .as_ref()
                    .is_some_and(|one| one.is_like(&trouble));
                if !known {
                    self.trouble = Some(trouble);
                }
                return News {
                    settings: false,
                    reports: !known,
                };
            }
            Single::Absent => None,
            Single::There(content) => Some(content),
        };
        self.trouble = None;
        if std::mem::replace(&mut self.known, true) && self.content == content {
            return News::default();
        }
        self.content = content;
        self.resolve()
    }

    /// Takes in the values that are kept, if there are any.
    pub(super) fn adopt(&mut self, kept: Option<&KeptSettings>) -> News {
        self.kept_known = true;
        if let Some(kept) = kept {
            self.kept = Some(kept.clone());
        }
        self.resolve()
    }

    fn resolve(&mut self) -> News {
        if !self.known || !self.kept_known {
            return News::default();
        }
        let content = self.content.as_ref();
        let found = content.map_or(Found::Absent, |content| {
            Found::There(content.text.as_deref())
        });
        let resolved = resolve(found, self.kept.as_ref());
        let in_force = resolved.open.is_empty();
        if in_force {
            self.kept = Some(resolved.reading.kept.clone());
        }
        let news = News {
            settings: in_force && self.in_force() != Some(&resolved.reading),
            reports: true,
        };
        self.resolved = Some(resolved);
        news
    }

    /// The settings in force; none while it is not known what they are.
    pub(super) fn in_force(&self) -> Option<&MeshReading> {
        let resolved = self.resolved.as_ref();
        let resolved = resolved.filter(|resolved| resolved.open.is_empty());
        resolved.map(|resolved| &resolved.reading)
    }

    /// Why there are no settings in force, as something to wait for.
    pub(super) fn waits_for(&self, name: &str) -> Option<String> {
        match &self.resolved {
            None => Some(name.to_owned()),
            Some(resolved) if resolved.open.is_empty() => None,
            Some(resolved) => Some(format!(
                "{name}, in which {} cannot be read",
                resolved.open.join(", ")
            )),
        }
    }

    /// The object the settings were read from.
    pub(super) fn uid(&self) -> Option<&str> {
        self.content.as_ref().map(|content| content.uid.as_str())
    }

    /// What there is to say.
    pub(super) fn problems(&self) -> &[Problem] {
        let resolved = self.resolved.as_ref();
        resolved.map_or(&[], |resolved| &resolved.problems)
    }

    /// Why it cannot be read now.
    pub(super) const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }
}
