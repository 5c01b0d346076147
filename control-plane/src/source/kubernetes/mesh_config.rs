//! The settings of the mesh, from a ConfigMap.

use mesh_api::mesh_config::{ConfigProblem, MeshConfig};
use serde_json::Value;

use super::keep::{Cut, Data};
use super::single::Single;
use super::trouble::Trouble;
use crate::crd::problem::{Problem, Severity};
use crate::model::settings::not_acted_on;
use crate::source::MeshReading;

/// The key of the ConfigMap that holds the settings.
const KEY: &str = "mesh";

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

/// What is known of the settings.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether it is known if there is a ConfigMap.
    pub(super) known: bool,
    content: Option<Content>,
    /// The settings in force: the last that could be read.
    in_force: Option<MeshReading>,
    /// What there is to say about what was read.
    problems: Vec<Problem>,
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
        match step {
            Single::Watching => News {
                settings: false,
                reports: self.trouble.take().is_some(),
            },
            Single::Failed(trouble) => {
                let known = self
                    .trouble
                    .as_ref()
                    .is_some_and(|one| one.is_like(&trouble));
                if !known {
                    self.trouble = Some(trouble);
                }
                News {
                    settings: false,
                    reports: !known,
                }
            }
            Single::Absent => self.absent(),
            Single::There(content) => self.there(content),
        }
    }

    fn absent(&mut self) -> News {
        let first = !self.known;
        self.known = true;
        self.trouble = None;
        let was_there = self.content.take().is_some();
        if !first && !was_there {
            return News::default();
        }
        self.problems = vec![if self.in_force.is_some() {
            Problem::new(
                Severity::Warning,
                "is gone; the settings it held stay in force until the control plane is \
                 started again",
            )
            .hint("create it again, with the settings that should hold")
        } else {
            Problem::new(
                Severity::Info,
                "does not exist; every setting has its default",
            )
        }];
        News {
            settings: false,
            reports: true,
        }
    }

    fn there(&mut self, content: Content) -> News {
        self.known = true;
        self.trouble = None;
        if self.content.as_ref() == Some(&content) {
            return News::default();
        }
        let read = read(content.text.as_deref());
        self.content = Some(content);
        match read {
            Ok((reading, problems)) => {
                self.problems = problems;
                let settings = self.in_force.as_ref() != Some(&reading);
                self.in_force = Some(reading);
                News {
                    settings,
                    reports: true,
                }
            }
            Err(problem) => {
                let instead = if self.in_force.is_some() {
                    "the last settings that could be read stay in force"
                } else {
                    "every setting has its default"
                };
                self.problems = vec![problem.hint(format!("repair it; {instead}"))];
                News {
                    settings: false,
                    reports: true,
                }
            }
        }
    }

    /// The settings in force; none if all are at their defaults.
    pub(super) const fn in_force(&self) -> Option<&MeshReading> {
        self.in_force.as_ref()
    }

    /// The object the settings were read from.
    pub(super) fn uid(&self) -> Option<&str> {
        self.content.as_ref().map(|content| content.uid.as_str())
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

fn read(text: Option<&str>) -> Result<(MeshReading, Vec<Problem>), Problem> {
    let Some(text) = text else {
        return Err(Problem::new(Severity::Error, format!("has no key {KEY:?}")));
    };
    let document: Value = serde_saphyr::from_str(text).map_err(|error| {
        let reason = error.without_snippet().to_string();
        let reason = reason.lines().next().unwrap_or_default().to_owned();
        Problem::new(Severity::Error, format!("is not YAML: {reason}")).at(KEY)
    })?;
    let (config, problems) = MeshConfig::read(document.clone()).map_err(|found| problem(&found))?;
    let reading = MeshReading {
        not_acted_on: not_acted_on(&document, &config),
        config,
    };
    Ok((reading, problems.iter().map(problem).collect()))
}

fn problem(found: &ConfigProblem) -> Problem {
    let field = if found.key.is_empty() {
        KEY.to_owned()
    } else {
        format!("{KEY}.{}", found.key)
    };
    Problem::new(
        Severity::Error,
        format!("{}; the key keeps its default", found.message),
    )
    .at(field)
}
