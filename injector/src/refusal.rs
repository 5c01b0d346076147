//! Why a pod that should get a sidecar cannot get one, told so that its author knows what to
//! change.

/// A pod is refused. The text names the place and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    /// With this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Because of an annotation.
    pub fn annotation(name: &str, value: &str, expected: &str) -> Self {
        const SHOWN: usize = 80;
        let shown: String = value.chars().take(SHOWN).collect();
        let more = if shown.len() < value.len() { "…" } else { "" };
        Self(format!(
            "annotation {name}: \"{shown}{more}\" cannot be used; {expected}"
        ))
    }
}
