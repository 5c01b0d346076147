//! What may come in at the ports of a workload.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::name::PolicyName;
use crate::units::Port;

/// What may come in at a workload: an answer for every port there is, declared by anybody or not.
///
/// Every listener that lets something in names a policy, and what it lets in is what [`Policy::at`]
/// says of the port the connection is for: the port of the workload, not that of a service in
/// front of it (`PeerAuthentication.spec.portLevelMtls` counts the same way).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// The rule for every port that `ports` says nothing about.
    pub elsewhere: PolicyRule,
    /// Ports with a rule of their own.
    pub ports: BTreeMap<Port, PolicyRule>,
}

impl Policy {
    /// One rule for every port.
    pub const fn uniform(name: PolicyName, rule: PolicyRule) -> Self {
        Self {
            name,
            elsewhere: rule,
            ports: BTreeMap::new(),
        }
    }

    /// The rule for a port.
    pub fn at(&self, port: Port) -> &PolicyRule {
        self.ports.get(&port).unwrap_or(&self.elsewhere)
    }
}

/// The decision of a policy about a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyRule {
    /// Everything may come in.
    Allow,
    /// Nothing may: HTTP is answered 503 with the reason, TCP is closed. For objects that ask
    /// for protection this mesh cannot enforce yet, and for policies that cannot be decoded.
    Refuse {
        /// Why, naming the object.
        reason: Arc<str>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_has_a_rule() {
        let refuse = PolicyRule::Refuse {
            reason: "no".into(),
        };
        let mut policy = Policy::uniform(PolicyName("p".into()), refuse.clone());
        let [open, other] = [9_090, 65_535].map(|port| Port::new(port).unwrap());
        policy.ports.insert(open, PolicyRule::Allow);
        assert_eq!(policy.at(open), &PolicyRule::Allow);
        assert_eq!(policy.at(other), &refuse);
    }
}
