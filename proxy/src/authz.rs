//! Who may come in: the one place where that is decided, and the only one where a [`Permit`] is
//! made. Everything that carries bytes takes a permit, and lets go of them when it is revoked.

mod watch;

use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use mesh_api::name::PolicyName;
use mesh_api::policy::PolicyRule;
use mesh_api::units::Port;

use crate::config::ActiveConfig;
use crate::error::PolicyFault;

pub use watch::{Sentry, Watch};

/// Where somebody comes in: which policy is asked, and about which port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The policy of the listener.
    pub policy: PolicyName,
    /// The port, declared or not.
    pub port: Port,
}

/// The right to carry one request, or the bytes of one connection. It cannot be made outside this
/// file, nor used twice; a mirror's copy of a request has a copy of its permit.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    /// `None` for what the local application sends.
    place: Option<Rc<Place>>,
}

/// Asks the policy of a place. One that is missing lets nothing in.
pub fn admit(config: &ActiveConfig, place: &Rc<Place>) -> Result<Permit, PolicyFault> {
    ask(config, place)?;
    let place = Some(Rc::clone(place));
    Ok(Permit { place })
}

fn ask(config: &ActiveConfig, place: &Place) -> Result<(), PolicyFault> {
    match config.policy(&place.policy).map(|all| all.at(place.port)) {
        Some(PolicyRule::Allow) => Ok(()),
        Some(PolicyRule::Refuse { reason }) => Err(PolicyFault::NotEnforceable {
            reason: Arc::clone(reason),
        }),
        None => Err(PolicyFault::Missing),
    }
}

impl Permit {
    /// For what the local application sends: policies are about what comes in.
    pub const fn outbound() -> Self {
        Self { place: None }
    }

    /// Whether it is for what the local application sends.
    pub const fn is_outbound(&self) -> bool {
        self.place.is_none()
    }

    /// The same right for a copy of the request that goes to a mirror: it came in where the
    /// original did, and is there no longer than that may be.
    pub fn for_mirror(&self) -> Self {
        let place = self.place.as_ref().map(Rc::clone);
        Self { place }
    }

    /// Resolves when the policy that gave this permit does so no longer; at once, if that is so
    /// already.
    pub async fn revoked(self, sentry: &Sentry) -> PolicyFault {
        let Some(place) = self.place else {
            return pending().await;
        };
        let mut watch = sentry.watch_from_the_start(place);
        poll_fn(|context| watch.lost(context).map_or(Poll::Pending, Poll::Ready)).await
    }
}
