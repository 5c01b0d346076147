//! Policies on the wire. One that cannot be read refuses everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::field::{Invalid, Result, Wire, field, member, required};
use crate::name::PolicyName;
use crate::policy::{Policy, PolicyRule};
use crate::proto;
use crate::proto::policy_rule::Rule;

pub(super) fn encode(policy: &Policy) -> proto::Policy {
    let Policy {
        name: _,
        elsewhere,
        ports,
    } = policy;
    proto::Policy {
        elsewhere: Some(elsewhere.to_proto()),
        ports: ports
            .iter()
            .map(|(port, rule)| (port.to_proto(), rule.to_proto()))
            .collect(),
    }
}

pub(super) fn decode(name: PolicyName, proto: proto::Policy) -> Result<Policy> {
    let proto::Policy { elsewhere, ports } = proto;
    let mut rules = BTreeMap::new();
    for (at, (port, rule)) in ports.into_iter().enumerate() {
        let rule = field("value", rule).map_err(|invalid| invalid.within_item("ports", at))?;
        let port = field("key", port).map_err(|invalid| invalid.within_item("ports", at))?;
        rules.insert(port, rule);
    }
    Ok(Policy {
        name,
        elsewhere: required("elsewhere", elsewhere)?,
        ports: rules,
    })
}

/// What stands in for a policy that cannot be read.
pub(super) fn unreadable(name: PolicyName, invalid: &Invalid) -> Policy {
    let path = invalid.path();
    let reason = invalid.reason();
    let whole = if path.is_empty() { "" } else { ": " };
    let reason = format!("the policy cannot be read: {path}{whole}{reason}");
    let refuse = PolicyRule::Refuse {
        reason: reason.into(),
    };
    Policy::uniform(name, refuse)
}

impl Wire for PolicyRule {
    type Proto = proto::PolicyRule;

    fn to_proto(&self) -> proto::PolicyRule {
        let rule = match self {
            Self::Allow => Rule::Allow(proto::Unit {}),
            Self::Refuse { reason } => Rule::Refuse(proto::Refusal {
                reason: reason.to_proto(),
            }),
        };
        proto::PolicyRule { rule: Some(rule) }
    }

    fn from_proto(proto: proto::PolicyRule) -> Result<Self> {
        let proto::PolicyRule { rule } = proto;
        member("rule", rule, |rule| {
            Ok(match rule {
                Rule::Allow(proto::Unit {}) => Self::Allow,
                Rule::Refuse(proto::Refusal { reason }) => Self::Refuse {
                    reason: Arc::from(reason),
                },
            })
        })
    }
}
