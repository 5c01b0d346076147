//! Who may come in. The only place a [`Permit`] is made.

use std::sync::Arc;

use mesh_api::name::PolicyName;
use mesh_api::policy::PolicyRule;

use crate::config::ActiveConfig;
use crate::config::live::LiveConfig;
use crate::error::PolicyFault;

/// The right to bring one request, or one connection's bytes, to the application. It cannot be
/// made outside this file, nor used twice.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    policy: Option<PolicyName>,
}

/// Asks the policy of a port. A port without a policy lets everything in; a policy that is named
/// but missing lets nothing in.
pub fn admit(config: &ActiveConfig, policy: Option<&PolicyName>) -> Result<Permit, PolicyFault> {
    let permit = Permit {
        policy: policy.cloned(),
    };
    let Some(name) = policy else {
        return Ok(permit);
    };
    match config.policy(name).map(|policy| &policy.rule) {
        Some(PolicyRule::Allow) => Ok(permit),
        Some(PolicyRule::Refuse { reason }) => Err(PolicyFault::NotEnforceable {
            reason: Arc::clone(reason),
        }),
        None => Err(PolicyFault::Missing),
    }
}

impl Permit {
    /// Uses the permit up: what it allows is done once.
    pub fn spend(self) {
        let Self { policy: _ } = self;
    }

    /// Resolves when the policy that gave this permit does so no longer. A policy that is gone
    /// with its port lets what it once let in finish.
    pub async fn revoked(self, live: &LiveConfig) -> PolicyFault {
        let Some(name) = self.policy else {
            return std::future::pending().await;
        };
        let mut changes = live.changed();
        loop {
            // Looked at after subscribing, or a change while the application was being connected
            // to would go unseen.
            if let Err(fault @ PolicyFault::NotEnforceable { .. }) =
                admit(&live.load(), Some(&name))
            {
                return fault;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
