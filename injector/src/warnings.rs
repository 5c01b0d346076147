//! What a user wrote about injection that does not do what they may think: said, never ignored in
//! silence.

use std::fmt;

use crate::decide::value;
use crate::names::{ANNOTATIONS, INJECT, INJECTION, PREFIXES, REVISION};
use crate::{Namespace, Pod};

/// One thing to tell the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The namespace names a revision, but its injection label wins.
    RevisionOverruled {
        /// The revision that has no effect.
        revision: String,
    },
    /// The pod names another revision than its namespace decides for.
    PodRevisionOverruled {
        /// The revision that has no effect.
        revision: String,
    },
    /// The pod's injection label or annotation is neither `true` nor `false`.
    NeitherTrueNorFalse {
        /// What it is.
        value: String,
    },
    /// Label and annotation disagree; the label wins.
    LabelBeatsAnnotation,
    /// The annotation alone is deprecated.
    AnnotationDeprecated,
    /// An annotation that looks like one of ours but is none.
    UnknownAnnotation {
        /// Its name.
        name: String,
    },
}

/// Everything worth telling about a pod in its namespace.
pub fn warnings(namespace: &Namespace, pod: &Pod) -> Vec<Warning> {
    let mut found = Vec::new();
    let injection = value(&namespace.labels, INJECTION);
    let revision = value(&namespace.labels, REVISION);
    if let (Some(_), Some(revision)) = (injection, revision) {
        found.push(Warning::RevisionOverruled {
            revision: revision.to_owned(),
        });
    }
    if let Some(own) = value(&pod.labels, REVISION)
        && (injection.is_some() || revision.is_some_and(|revision| revision != own))
    {
        found.push(Warning::PodRevisionOverruled {
            revision: own.to_owned(),
        });
    }
    let label = value(&pod.labels, INJECT);
    let annotation = value(&pod.annotations, INJECT);
    if let Some(value) = label
        .or(annotation)
        .filter(|value| !["true", "false"].contains(value))
    {
        found.push(Warning::NeitherTrueNorFalse {
            value: value.to_owned(),
        });
    }
    match (label, annotation) {
        (None, Some(_)) => found.push(Warning::AnnotationDeprecated),
        (Some(label), Some(annotation)) if label != annotation => {
            found.push(Warning::LabelBeatsAnnotation);
        }
        (Some(_) | None, _) => {}
    }
    let ours = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    for name in pod.annotations.keys().filter(|name| ours(name)) {
        if !ANNOTATIONS.contains(&name.as_str()) {
            found.push(Warning::UnknownAnnotation { name: name.clone() });
        }
    }
    found
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RevisionOverruled { revision } => write!(
                out,
                "the namespace's {REVISION}={revision} has no effect beside {INJECTION}; remove one"
            ),
            Self::PodRevisionOverruled { revision } => write!(
                out,
                "the pod's {REVISION}={revision} has no effect: its namespace decides the revision"
            ),
            Self::NeitherTrueNorFalse { value } => {
                write!(out, "{INJECT}={value} has no effect; use true or false")
            }
            Self::LabelBeatsAnnotation => {
                write!(
                    out,
                    "label and annotation {INJECT} disagree; the label wins"
                )
            }
            Self::AnnotationDeprecated => {
                write!(
                    out,
                    "the annotation {INJECT} is deprecated; use the label of that name"
                )
            }
            Self::UnknownAnnotation { name } => {
                write!(out, "the annotation {name} is unknown and has no effect")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labels;

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn found(namespace: Labels, labels: Labels, annotations: Labels) -> Vec<Warning> {
        let namespace = Namespace {
            name: "shop".to_owned(),
            labels: namespace,
        };
        warnings(
            &namespace,
            &Pod {
                labels,
                annotations,
                ..Pod::default()
            },
        )
    }

    #[test]
    fn a_plain_pod_is_fine() {
        let annotations = pairs([("sidecar.istio.io/proxyCPU", "1"), ("other.io/x", "y")]);
        let labels = pairs([(INJECT, "true")]);
        assert_eq!(
            found(pairs([(INJECTION, "enabled")]), labels, annotations),
            []
        );
    }

    #[test]
    fn labels_that_lose_are_named() {
        let both = pairs([(INJECTION, "enabled"), (REVISION, "canary")]);
        let expected = [
            Warning::RevisionOverruled {
                revision: "canary".to_owned(),
            },
            Warning::PodRevisionOverruled {
                revision: "old".to_owned(),
            },
        ];
        assert_eq!(
            found(both, pairs([(REVISION, "old")]), Labels::new()),
            expected
        );
        let agreeing = found(
            pairs([(REVISION, "a")]),
            pairs([(REVISION, "a")]),
            Labels::new(),
        );
        assert_eq!(agreeing, []);
    }

    #[test]
    fn values_and_annotations_without_effect_are_named() {
        let annotations = pairs([(INJECT, "false"), ("sidecar.istio.io/proxyCpu", "1")]);
        let expected = [
            Warning::NeitherTrueNorFalse {
                value: "yes".to_owned(),
            },
            Warning::LabelBeatsAnnotation,
            Warning::UnknownAnnotation {
                name: "sidecar.istio.io/proxyCpu".to_owned(),
            },
        ];
        assert_eq!(
            found(Labels::new(), pairs([(INJECT, "yes")]), annotations),
            expected
        );
        let deprecated = found(Labels::new(), Labels::new(), pairs([(INJECT, "true")]));
        assert_eq!(deprecated, [Warning::AnnotationDeprecated]);
    }

    #[test]
    fn a_warning_says_what_to_do() {
        let text = Warning::NeitherTrueNorFalse {
            value: "yes".to_owned(),
        }
        .to_string();
        assert!(text.contains("use true or false"), "{text}");
    }
}
