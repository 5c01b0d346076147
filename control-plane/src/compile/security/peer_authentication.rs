//! `PeerAuthentication`: which of its ports a workload wants to be called only with mutual TLS.

use std::sync::Arc;

use mesh_api::policy::PolicyRule;
use mesh_api::units::Port;
use mesh_api::workload::Labels;

use super::{Ask, Protection};
use crate::crd::object::Resource;
use crate::crd::peer_authentication::{MutualTlsMode, PeerAuthenticationSpec};
use crate::meta::ObjectKey;
use crate::model::World;
use crate::model::workload::{pairs, selects};

type PeerAuthentication = Arc<Resource<PeerAuthenticationSpec>>;

impl Protection {
    /// The mode in effect: the workload's, else the namespace's, else the mesh's; one object a
    /// level. `portLevelMtls` is of the workload's object only, and counts the workload's ports,
    /// whether anybody declares them or not.
    pub(super) fn peer_authentication(&mut self, world: &World, namespace: &str, labels: &Labels) {
        let unselective = |one: &&PeerAuthentication| {
            one.spec
                .selector
                .as_ref()
                .is_none_or(|selector| selector.match_labels.is_empty())
        };
        let root = &*world.settings().root_namespace;
        let objects = &world.peer_authentications;
        let mesh = objects.of_namespace(root).find(unselective);
        let own = objects.of_namespace(namespace).find(unselective);
        let selecting = objects
            .of_namespace(namespace)
            // One with a selector in the root namespace is for nobody.
            .filter(|_| namespace != root)
            .find(|one| {
                !unselective(one)
                    && one
                        .spec
                        .selector
                        .as_ref()
                        .is_some_and(|selector| selects(pairs(&selector.match_labels), labels))
            });
        for level in [selecting, own, mesh].into_iter().flatten() {
            let mode = level.spec.mtls.as_ref().map(|mtls| mtls.mode);
            if let Some(rule) = mode.and_then(|mode| self.rule(mode, &level.key, "spec.mtls.mode"))
            {
                self.elsewhere = rule;
                break;
            }
        }
        let Some(selecting) = selecting else {
            return;
        };
        for (port, mtls) in &selecting.spec.port_level_mtls {
            let field = format!("spec.portLevelMtls[{port}].mode");
            let rule = self.rule(mtls.mode, &selecting.key, &field);
            if let (Some(port), Some(rule)) = (Port::new(*port), rule) {
                self.ports.insert(port, rule);
            }
        }
    }

    /// What a mode means; `None` where it leaves that to a wider one.
    fn rule(&mut self, mode: MutualTlsMode, object: &ObjectKey, field: &str) -> Option<PolicyRule> {
        match mode {
            MutualTlsMode::Unset => None,
            MutualTlsMode::Disable | MutualTlsMode::Permissive => Some(PolicyRule::Allow),
            MutualTlsMode::Strict => {
                let ask = Ask::new(object, field, "STRICT mutual TLS");
                let rule = ask.rule();
                self.asks.push(ask);
                Some(rule)
            }
        }
    }
}
