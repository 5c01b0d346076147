//! Why a resource cannot be read, as something an operator can act on.

use mesh_kubernetes::client::{chain, server};

use crate::crd::problem::{Problem, Severity};

/// Why a resource cannot be read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The API server does not know the resource.
    NotServed,
    /// The service account may not read it.
    Forbidden(String),
    /// The API server does not know who is asking.
    Unauthorized(String),
    /// The API server is away, or has no time.
    Unreachable(String),
    /// Something else.
    Other(String),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// What was known is too old to go on from; everything has to be listed again.
    Expired,
    /// Something an operator should know.
    Trouble(Trouble),
}

impl From<&kube::Error> for Failure {
    fn from(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Trouble(Trouble::Unreachable(chain(error)));
        };
        Self::of_status(status)
    }
}

impl Failure {
    /// What a status of the API server means.
    pub(super) fn of_status(status: &kube::core::Status) -> Self {
        let message = if status.message.is_empty() {
            format!("HTTP status {} {}", status.code, status.reason)
        } else {
            status.message.clone()
        };
        Self::Trouble(match status.code {
            410 => return Self::Expired,
            401 => Trouble::Unauthorized(message),
            403 => Trouble::Forbidden(message),
            404 => Trouble::NotServed,
            429 | 500..=599 => Trouble::Unreachable(message),
            _ => Trouble::Other(message),
        })
    }

    /// No answer came in time.
    pub(super) fn silence() -> Self {
        Self::Trouble(Trouble::Unreachable("no answer in time".to_owned()))
    }
}

impl Trouble {
    /// Whether this is the API server's trouble rather than that of one resource.
    pub(super) const fn is_general(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unauthorized(_))
    }

    /// The label of the metric.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::NotServed => "not_served",
            Self::Forbidden(_) => "forbidden",
            Self::Unauthorized(_) => "unauthorized",
            Self::Unreachable(_) => "unreachable",
            Self::Other(_) => "other",
        }
    }

    /// Whether both are of one kind, so that nothing new has to be said.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// What to tell the operator about a resource.
    pub(super) fn problem(&self, resource: &str) -> Problem {
        match self {
            Self::NotServed => Problem::new(
                Severity::Warning,
                format!("{resource} cannot be read: the API server does not serve them"),
            )
            .hint("apply the CustomResourceDefinitions of this version; until then there are none"),
            Self::Forbidden(message) => Problem::new(
                Severity::Error,
                format!("{resource} cannot be read: {message}"),
            )
            .hint(format!(
                "the control plane's service account needs get, list and watch on {resource}; \
                 apply the roles of this version"
            )),
            Self::Unauthorized(message) => Problem::new(
                Severity::Error,
                format!("the API server does not accept our credentials: {message}"),
            )
            .hint("check the service account of the control plane; what is known stays in force"),
            Self::Unreachable(message) => Problem::new(
                Severity::Warning,
                format!("{} does not answer as it should: {message}", server()),
            )
            .hint("what is known stays in force; changes are seen once it answers"),
            Self::Other(message) => Problem::new(
                Severity::Error,
                format!("{resource} cannot be read: {message}"),
            ),
        }
    }
}
