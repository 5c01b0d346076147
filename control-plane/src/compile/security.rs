//! Protection a workload asks for, for every port it may have. What cannot be enforced yet is
//! refused, never left open; and what is said about it is read off what was compiled.

pub(crate) mod extension;
mod peer_authentication;
mod request;
mod wording;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use mesh_api::name::PolicyName;
use mesh_api::policy::{Policy, PolicyRule};
use mesh_api::units::Port;
use mesh_api::workload::Labels;

use super::diagnostics::{Diagnostic, Report, codes};
use super::scope::ProxyRole;
use crate::meta::ObjectKey;
use crate::model::World;
use extension::Guarded;

/// What may come in at a workload, and which objects want it so.
#[derive(Debug)]
pub(crate) struct Protection {
    elsewhere: PolicyRule,
    ports: BTreeMap<Port, PolicyRule>,
    asks: Vec<Ask>,
}

/// Protection that an object asks for and that cannot be given yet.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// The object.
    pub(crate) object: ObjectKey,
    /// The field that asks.
    pub(crate) field: String,
    /// What is the matter.
    pub(crate) matter: String,
    /// The way out.
    pub(crate) hint: &'static str,
    /// What callers are told.
    pub(crate) reason: Arc<str>,
}

impl Ask {
    /// For something that no release can do yet.
    pub(crate) fn new(object: &ObjectKey, field: impl Into<String>, what: impl Display) -> Self {
        Self {
            object: object.clone(),
            field: field.into(),
            matter: format!("{what} cannot be enforced yet"),
            hint: "remove the object, or wait for a release that enforces it",
            reason: Arc::from(format!(
                "{object} asks for {what}, which cannot be enforced yet"
            )),
        }
    }

    /// For what nobody can tell.
    fn unreadable(object: &ObjectKey) -> Self {
        Self {
            object: object.clone(),
            field: String::new(),
            matter: "it cannot be read".to_owned(),
            hint: "repair what is named for it, or remove it",
            reason: Arc::from(format!(
                "{object} cannot be read, so nobody knows what it asks for; repair or remove it"
            )),
        }
    }

    fn rule(&self) -> PolicyRule {
        let reason = Arc::clone(&self.reason);
        PolicyRule::Refuse { reason }
    }
}

impl Protection {
    /// What the security objects of the mesh ask of a workload, given by its namespace and labels.
    pub(crate) fn of(
        world: &World,
        (namespace, labels): (&str, &Labels),
        role: ProxyRole,
        report: &mut Report,
    ) -> Self {
        let mut made = Self {
            elsewhere: PolicyRule::Allow,
            ports: BTreeMap::new(),
            asks: Vec::new(),
        };
        match role {
            ProxyRole::Sidecar => made.peer_authentication(world, namespace, labels),
            // What a gateway takes from outside is the affair of its servers.
            ProxyRole::Gateway => {}
        }
        let who = (namespace, labels);
        let mut asks = request::unreadable(world, who, role);
        asks.extend(request::policies(world, who, report));
        let mut at_ports = Vec::new();
        for (guarded, ask) in extension::asks(world, who, role) {
            match guarded {
                Guarded::Everywhere => asks.push(ask),
                Guarded::Ports(ports) => at_ports.push((ports, ask)),
            }
        }
        if let Some(first) = asks.first() {
            made.elsewhere = first.rule();
            made.ports.clear();
        }
        made.asks.extend(asks);
        for (ports, ask) in at_ports {
            made.ports
                .extend(ports.into_iter().map(|port| (port, ask.rule())));
            made.asks.push(ask);
        }
        made
    }

    /// Refuses a port whatever else is said about it, because an object asks for something there.
    pub(crate) fn close_for(&mut self, port: Port, ask: Ask) {
        self.ports.insert(port, ask.rule());
        self.asks.push(ask);
    }

    /// Refuses a port whatever else is said about it.
    pub(crate) fn close(&mut self, port: Port, reason: &str) {
        let reason = Arc::from(reason);
        self.ports.insert(port, PolicyRule::Refuse { reason });
    }

    /// The policy. Only now it is known what becomes of the workload, so only now the objects that
    /// ask for what cannot be done are told.
    pub(crate) fn into_policy(self, name: PolicyName, report: &mut Report) -> Policy {
        let Self {
            elsewhere,
            ports,
            asks,
        } = self;
        let policy = Policy {
            name,
            elsewhere,
            ports,
        };
        let outcome = wording::outcome(&policy);
        for ask in asks {
            let message = format!("{}; {outcome}", ask.matter);
            report.push(
                Diagnostic::new(codes::NOT_ENFORCEABLE, &ask.object, ask.field, message)
                    .hint(ask.hint),
            );
        }
        policy
    }
}
