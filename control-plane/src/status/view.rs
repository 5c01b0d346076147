//! What the status of every object should say now. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::conditions::{Facts, Statement, statements};
use super::replicas::Published;
use super::tally::{Tally, tally};
use crate::compile::diagnostics::Diagnostic;
use crate::crd::Severity;
use crate::discovery::registry::Applied;
use crate::meta::ObjectKey;
use crate::push::board::Examined;
use crate::source::Report;

/// What the status of one object should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The form of the object this is said of; `None`: the newest one, which could not be read.
    pub generation: Option<i64>,
    /// How new the object is: newer ones are told about first.
    pub revision: u64,
    /// What there is to say.
    pub statements: [Statement; 3],
}

/// Everything the statuses are made from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The objects and what was found.
    pub examined: Arc<Examined>,
    /// What reading them found.
    pub reports: BTreeMap<ObjectKey, Vec<Report>>,
    /// What the proxies of this replica applied.
    pub proxies: Vec<Applied>,
    /// What other replicas counted, by their names.
    pub replicas: Vec<(String, Arc<Published>)>,
    /// Now.
    pub now: Instant,
}

/// What this replica counted, and what all statuses should say.
#[derive(Debug, Default)]
pub struct View {
    /// What this replica counted of its own proxies.
    pub own: BTreeMap<ObjectKey, Tally>,
    /// What statuses should say.
    pub wanted: BTreeMap<ObjectKey, Wanted>,
}

/// Makes both.
pub fn view(sources: &Sources) -> View {
    let Examined {
        input,
        findings,
        uses,
    } = &*sources.examined;
    let own = tally(input, uses, &sources.proxies, sources.now);
    let mut by_object: BTreeMap<&ObjectKey, Vec<&Diagnostic>> = BTreeMap::new();
    for finding in findings {
        if let Some(key) = &finding.object {
            by_object.entry(key).or_default().push(finding);
        }
    }
    let mut wanted = BTreeMap::new();
    for (key, newest) in input.objects.iter() {
        let mut total = own.get(key).cloned().unwrap_or_default();
        for (name, published) in &sources.replicas {
            add(&mut total, key, name, published);
        }
        let reports = sources.reports.get(key).map_or(&[][..], Vec::as_slice);
        let unread = reports.iter().any(|one| one.severity == Severity::Error);
        let facts = Facts {
            findings: by_object.get(key).map_or(&[][..], Vec::as_slice),
            reports,
            readable: newest.object.is_some(),
            tally: &total,
        };
        let one = Wanted {
            generation: newest.generation().filter(|_| !unread),
            revision: newest.revision,
            statements: statements(facts),
        };
        wanted.insert(key.clone(), one);
    }
    // What was never anything but unreadable may be known by its report alone.
    for (key, reports) in &sources.reports {
        let unread = reports.iter().any(|one| one.severity == Severity::Error);
        if unread && input.objects.find(key).is_none() {
            let facts = Facts {
                findings: &[],
                reports,
                readable: false,
                tally: &Tally::default(),
            };
            let one = Wanted {
                generation: None,
                revision: input.revision,
                statements: statements(facts),
            };
            wanted.insert(key.clone(), one);
        }
    }
    View { own, wanted }
}

/// Adds what another replica counted. Its proxies count as late while it has not counted this
/// form of the object.
fn add(total: &mut Tally, key: &ObjectKey, replica: &str, published: &Published) {
    let counted = published.tallies.get(&key.to_string());
    match counted {
        Some(counted) if counted.generation >= total.generation => total.add(counted),
        Some(counted) if counted.concerned == 0 => {}
        None if published.connected.is_empty() => {}
        Some(_) | None => {
            let proxies = counted.map_or(1, |counted| counted.concerned);
            total.wait_for(
                format!("proxies of replica {replica}"),
                "it has not seen this change".to_owned(),
            );
            total.concerned += proxies - 1;
        }
    }
}

#[cfg(test)]
mod tests;
