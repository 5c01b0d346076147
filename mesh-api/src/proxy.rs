//! What a proxy is there for, and how connections reach it: said once in Hello, and asked by
//! whoever compiles for it and by the proxy itself.

use crate::proto;

/// What a proxy is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyRole {
    /// It stands beside one workload.
    Sidecar,
    /// It stands at the edge of the mesh.
    Gateway,
}

/// How connections reach a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaptureMode {
    /// Clients and applications call its own sockets.
    Explicit,
    /// The kernel redirects them; their original destination says what they want.
    OriginalDestination,
}

/// A number on the wire that stands for none of the values there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{number} is not a {what}; expected {expected}")]
pub struct UnknownValue {
    number: i32,
    what: &'static str,
    expected: &'static str,
}

impl ProxyRole {
    /// As reports and options call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Gateway => "gateway",
        }
    }

    /// Reads the number of `mesh.v1.Role`.
    pub fn from_wire(number: i32) -> Result<Self, UnknownValue> {
        match proto::Role::try_from(number) {
            Ok(proto::Role::Sidecar) => Ok(Self::Sidecar),
            Ok(proto::Role::Gateway) => Ok(Self::Gateway),
            Ok(proto::Role::Unspecified) | Err(_) => Err(UnknownValue {
                number,
                what: "role",
                expected: "1 (sidecar) or 2 (gateway)",
            }),
        }
    }
}

impl CaptureMode {
    /// As reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::OriginalDestination => "originalDestination",
        }
    }

    /// Reads the number of `mesh.v1.CaptureMode`.
    pub fn from_wire(number: i32) -> Result<Self, UnknownValue> {
        match proto::CaptureMode::try_from(number) {
            Ok(proto::CaptureMode::Explicit) => Ok(Self::Explicit),
            Ok(proto::CaptureMode::OriginalDestination) => Ok(Self::OriginalDestination),
            Ok(proto::CaptureMode::Unspecified) | Err(_) => Err(UnknownValue {
                number,
                what: "capture mode",
                expected: "1 (explicit) or 2 (original destination)",
            }),
        }
    }
}

impl From<ProxyRole> for proto::Role {
    fn from(role: ProxyRole) -> Self {
        match role {
            ProxyRole::Sidecar => Self::Sidecar,
            ProxyRole::Gateway => Self::Gateway,
        }
    }
}

impl From<CaptureMode> for proto::CaptureMode {
    fn from(mode: CaptureMode) -> Self {
        match mode {
            CaptureMode::Explicit => Self::Explicit,
            CaptureMode::OriginalDestination => Self::OriginalDestination,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_and_back() {
        for role in [ProxyRole::Sidecar, ProxyRole::Gateway] {
            let number = proto::Role::from(role).into();
            assert_eq!(ProxyRole::from_wire(number), Ok(role));
        }
        for mode in [CaptureMode::Explicit, CaptureMode::OriginalDestination] {
            let number = proto::CaptureMode::from(mode).into();
            assert_eq!(CaptureMode::from_wire(number), Ok(mode));
        }
    }

    #[test]
    fn what_is_not_said_is_not_guessed() {
        for number in [0, 3, -1] {
            let role = ProxyRole::from_wire(number).unwrap_err().to_string();
            assert!(
                role.starts_with(&format!("{number} is not a role")),
                "{role}"
            );
            assert!(CaptureMode::from_wire(number).is_err());
        }
    }
}
