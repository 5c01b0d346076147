//! Policies on the wire. One that cannot be read refuses everything.

use std::sync::Arc;

use super::field::{Invalid, Result, Wire, required};
use crate::name::PolicyName;
use crate::policy::{Policy, PolicyRule};
use crate::proto;
use crate::proto::policy::Rule;

pub(super) fn encode(policy: &Policy) -> proto::Policy {
    let Policy { name: _, rule } = policy;
    proto::Policy {
        rule: Some(rule.to_proto()),
    }
}

pub(super) fn decode(name: PolicyName, proto: proto::Policy) -> Result<Policy> {
    let proto::Policy { rule } = proto;
    Ok(Policy {
        name,
        rule: required("rule", rule)?,
    })
}

/// What stands in for a policy that cannot be read.
pub(super) fn unreadable(name: PolicyName, invalid: &Invalid) -> Policy {
    let path = invalid.path();
    let reason = invalid.reason();
    let whole = if path.is_empty() { "" } else { ": " };
    let reason = format!("the policy cannot be read: {path}{whole}{reason}");
    Policy {
        name,
        rule: PolicyRule::Refuse {
            reason: reason.into(),
        },
    }
}

impl Wire for PolicyRule {
    type Proto = Rule;

    fn to_proto(&self) -> Rule {
        match self {
            Self::Allow => Rule::Allow(proto::Unit {}),
            Self::Refuse { reason } => Rule::Refuse(proto::Refusal {
                reason: reason.to_proto(),
            }),
        }
    }

    fn from_proto(proto: Rule) -> Result<Self> {
        Ok(match proto {
            Rule::Allow(proto::Unit {}) => Self::Allow,
            Rule::Refuse(proto::Refusal { reason }) => Self::Refuse {
                reason: Arc::from(reason),
            },
        })
    }
}
