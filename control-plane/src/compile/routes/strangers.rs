//! What there is to say about virtual services for hosts of other namespaces: that they act, for
//! now, or that they do not, and because of whom. Said once for all hosts of a namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::route::Domain;

use super::candidates::Spoken;
use crate::compile::diagnostics::{Diagnostic, Report, codes};
use crate::meta::ObjectKey;
use crate::model::ownership::{Standing, Viewer};

/// What happens to an object's routes for hosts that are not its namespace's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// They act, because nobody nearer has any.
    Acts,
    /// They give way to these, for clients of a namespace or (`None`) for all.
    GivesWay {
        winner: ObjectKey,
        client: Option<Arc<str>>,
    },
}

/// An object, whose the hosts are, and what happens to its routes for them.
type Case = (ObjectKey, Option<Arc<str>>, Fate);

/// Everything noted in one compilation.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    hosts: BTreeMap<Case, BTreeSet<Domain>>,
}

impl Strangers {
    /// Notes what was decided about one host.
    pub(crate) fn note(&mut self, viewer: &Viewer, host: &Domain, spoken: &Spoken<'_>) {
        let acting = spoken.groups.iter().flatten();
        if let (true, Some(_)) = (spoken.strangers, &spoken.owner) {
            for candidate in acting.clone() {
                self.add(&candidate.object.key, spoken, Fate::Acts, host);
            }
        }
        let Some(winner) = acting.map(|one| one.object).next() else {
            return;
        };
        let standing = viewer.standing(winner.namespace(), spoken.owner.as_deref());
        let client = (standing == Standing::Own
            && spoken.owner.as_deref() != Some(winner.namespace()))
        .then(|| Arc::clone(&viewer.namespace));
        for candidate in &spoken.giving_way {
            let fate = Fate::GivesWay {
                winner: winner.key.clone(),
                client: client.clone(),
            };
            self.add(&candidate.object.key, spoken, fate, host);
        }
    }

    fn add(&mut self, object: &ObjectKey, spoken: &Spoken<'_>, fate: Fate, host: &Domain) {
        let place = (object.clone(), spoken.owner.clone(), fate);
        self.hosts.entry(place).or_default().insert(host.clone());
    }

    /// Says all of it.
    pub(crate) fn report(&mut self, report: &mut Report) {
        for ((object, owner, fate), hosts) in std::mem::take(&mut self.hosts) {
            let hosts = listed(&hosts);
            let belongs = match &owner {
                Some(owner) => format!(", which belongs to namespace {owner}"),
                None => String::new(),
            };
            let (code, message) = match fate {
                Fate::Acts => (
                    codes::BY_STRANGER,
                    format!(
                        "acts on {hosts}{belongs}, only until a virtual service of that \
                         namespace, of the client's or of the root namespace does"
                    ),
                ),
                Fate::GivesWay { winner, client } => {
                    let clients = match client {
                        Some(client) => format!(" for clients in namespace {client}"),
                        None => String::new(),
                    };
                    let message = format!(
                        "has no effect on {hosts}{belongs}{clients}: {winner} comes first there"
                    );
                    (codes::SHADOWED, message)
                }
            };
            let finding = Diagnostic::new(code, &object, "spec.hosts", message);
            report.push(finding.maybe_hint(owner.map(|owner| {
                format!("write it in namespace {owner}, or in the client's for its clients")
            })));
        }
    }
}

fn listed(hosts: &BTreeSet<Domain>) -> String {
    let first = hosts.first().map(Domain::to_string).unwrap_or_default();
    match hosts.len() {
        0 | 1 => first,
        more => format!("{first} and {} more", more - 1),
    }
}
