//! Who may come in. The only place a [`Permit`] is made.

use std::sync::Arc;

use mesh_api::name::PolicyName;
use mesh_api::policy::PolicyRule;

use crate::config::ActiveConfig;
use crate::error::PolicyFault;

/// The right to send one request to the application. It cannot be made outside this file, nor
/// used twice.
#[derive(Debug)]
#[must_use]
pub(super) struct Permit(());

impl Permit {
    /// Uses the permit up.
    pub(super) fn spend(self) {
        let Self(()) = self;
    }
}

/// Asks the policy of a port. A port without a policy lets everything in; a policy that is named
/// but missing lets nothing in.
pub(super) fn authorize(
    config: &ActiveConfig,
    policy: Option<&PolicyName>,
) -> Result<Permit, PolicyFault> {
    let Some(name) = policy else {
        return Ok(Permit(()));
    };
    match config.policy(name).map(|policy| &policy.rule) {
        Some(PolicyRule::Allow) => Ok(Permit(())),
        Some(PolicyRule::Refuse { reason }) => Err(PolicyFault::NotEnforceable {
            reason: Arc::clone(reason),
        }),
        None => Err(PolicyFault::Missing),
    }
}
