//! What roles and their bindings grant to service accounts.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Account, kind_of, list, name_of, namespace_of, text_at, texts};

/// All grants of some manifests.
#[derive(Debug)]
pub(super) struct Rights {
    grants: Vec<Grant>,
}

#[derive(Debug)]
struct Grant {
    /// Who has it; nobody: every service account.
    account: Option<Account>,
    /// Where; nowhere: everywhere.
    namespace: Option<String>,
    groups: BTreeSet<String>,
    resources: BTreeSet<String>,
    /// Of which objects; none: all.
    names: BTreeSet<String>,
    verbs: BTreeSet<String>,
}

/// A place in the API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    pub(super) group: &'p str,
    /// With its subresource, as `pods/exec`.
    pub(super) resource: &'p str,
    /// Nothing: in some namespace that is not the mesh's own, or of the cluster.
    pub(super) namespace: Option<&'p str>,
}

/// Which object it is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'p> {
    /// Whatever its name is.
    Any,
    /// Some object, one of whose name is granted.
    Some,
    /// This one.
    Named(&'p str),
}

impl Rights {
    pub(super) fn of(objects: &[Value]) -> Self {
        let mut grants = Vec::new();
        for binding in objects {
            let namespace = match kind_of(binding) {
                "RoleBinding" => Some(namespace_of(binding).to_owned()),
                "ClusterRoleBinding" => None,
                _ => continue,
            };
            let kind = text_at(binding, "/roleRef/kind").unwrap_or_default();
            let name = text_at(binding, "/roleRef/name").unwrap_or_default();
            let role = objects.iter().find(|object| {
                kind_of(object) == kind
                    && name_of(object) == name
                    && (kind == "ClusterRole" || namespace.as_deref() == Some(namespace_of(object)))
            });
            let role = role.unwrap_or_else(|| panic!("{kind} {name} is bound and not there"));
            for subject in list(binding, "/subjects") {
                for rule in list(role, "/rules") {
                    grants.push(Grant::of(rule, subject, namespace.clone()));
                }
            }
        }
        Self { grants }
    }

    /// Whether the account may do one of these there.
    pub(super) fn may(
        &self,
        account: &Account,
        verbs: &[&str],
        place: Place<'_>,
        which: Which<'_>,
    ) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.holds(account, verbs, place, which))
    }

    /// The names of objects of which the account may do one of these there. Grants that name none
    /// are of all.
    pub(super) fn names(
        &self,
        account: &Account,
        verbs: &[&str],
        place: Place<'_>,
    ) -> BTreeSet<String> {
        self.grants
            .iter()
            .filter(|grant| grant.holds(account, verbs, place, Which::Some))
            .flat_map(|grant| grant.names.iter().cloned())
            .collect()
    }
}

impl Grant {
    fn of(rule: &Value, subject: &Value, namespace: Option<String>) -> Self {
        let name = text_at(subject, "/name").unwrap_or_default().to_owned();
        let account = match text_at(subject, "/kind") {
            Some("ServiceAccount") => Some(Account {
                namespace: text_at(subject, "/namespace")
                    .unwrap_or_default()
                    .to_owned(),
                name,
            }),
            // Groups have members we cannot list; taken for everybody.
            _ => None,
        };
        Self {
            account,
            namespace,
            groups: texts(rule, "/apiGroups"),
            resources: texts(rule, "/resources"),
            names: texts(rule, "/resourceNames"),
            verbs: texts(rule, "/verbs"),
        }
    }

    fn holds(&self, account: &Account, verbs: &[&str], place: Place<'_>, which: Which<'_>) -> bool {
        let has = |set: &BTreeSet<String>, one: &str| set.contains(one) || set.contains("*");
        let there = match (&self.namespace, place.namespace) {
            (None, _) => true,
            (Some(own), Some(asked)) => own == asked,
            (Some(_), None) => false,
        };
        let named = match which {
            Which::Any => self.names.is_empty(),
            Which::Some => true,
            Which::Named(name) => self.names.is_empty() || self.names.contains(name),
        };
        let every = place
            .resource
            .split_once('/')
            .map(|(_, sub)| format!("*/{sub}"));
        there
            && named
            && self.account.as_ref().is_none_or(|own| own == account)
            && has(&self.groups, place.group)
            && (has(&self.resources, place.resource)
                || every.is_some_and(|every| self.resources.contains(&every)))
            && verbs.iter().any(|verb| has(&self.verbs, verb))
    }
}
