//! What a proxy refused, and what is therefore not tried again.

use std::collections::BTreeMap;

use mesh_api::error::Rejection;
use mesh_api::name::ResourceName;
use mesh_api::version::Version;

use super::view::{InFlight, View};
use crate::discovery::desired::DesiredState;

/// The refusals that still matter for the current desired state.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Refused pairs that the desired state still asks for.
    pub(super) withheld: BTreeMap<ResourceName, Version>,
    /// The proxy refused a removal for the sake of something it holds: nothing that could be
    /// referred to is removed until the desired state changes.
    pub(super) pinned: bool,
    /// It refused what cannot be said any other way: this desired state is not tried again.
    pub(super) stuck: bool,
}

impl Refusals {
    /// Forgets what no longer matters.
    pub(super) fn desired_changed(&mut self, desired: &DesiredState) {
        self.withheld
            .retain(|name, refused| desired.get(name).is_some_and(|now| now.version == *refused));
        self.pinned = false;
        self.stuck = false;
    }

    /// Whether exactly this version was refused.
    pub(super) fn withholds(&self, name: &ResourceName, version: Version) -> bool {
        self.withheld.get(name) == Some(&version)
    }

    /// Draws the consequences of a refused push; `newer` says whether there is something newer
    /// to say anyway.
    pub(super) fn refused(
        &mut self,
        push: &InFlight,
        rejections: &[Rejection],
        view: &View,
        desired: Option<&DesiredState>,
        newer: bool,
    ) {
        let mut learned = false;
        for rejection in rejections {
            let Some(name) = rejection.resource.known() else {
                continue;
            };
            if push.carried(name) == Some(rejection.version) {
                self.withhold(name, rejection.version, desired);
                learned = true;
            } else if view.version(name) == Some(rejection.version) {
                // Something it holds, which a removal would have left dangling.
                learned |= !std::mem::replace(&mut self.pinned, true);
            }
        }
        if learned {
            return;
        }
        // A refusal that makes no sense here, perhaps of a proxy of another version. The same
        // push would be refused again, so all of it is withheld.
        let mut nothing = true;
        for (name, version) in push.all_carried() {
            self.withhold(name, version, desired);
            nothing = false;
        }
        self.stuck = nothing && !newer;
    }

    /// Remembers a refused pair, unless something else is asked for by now.
    fn withhold(&mut self, name: &ResourceName, version: Version, desired: Option<&DesiredState>) {
        let now = desired.and_then(|desired| desired.get(name));
        if now.is_some_and(|now| now.version == version) {
            self.withheld.insert(name.clone(), version);
        }
    }
}
