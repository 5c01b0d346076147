//! What may come in at a port.

use std::sync::Arc;

use serde::Serialize;

use crate::name::PolicyName;

/// What may come in at an inbound port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// The decision.
    pub rule: PolicyRule,
}

/// The decision of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyRule {
    /// Everything may.
    Allow,
    /// Nothing may: HTTP is answered 503 with the reason, TCP is closed. For objects that ask
    /// for protection this mesh cannot enforce yet, and for policies that cannot be decoded.
    Refuse {
        /// Why, naming the object.
        reason: Arc<str>,
    },
}
