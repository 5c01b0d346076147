//! What is written, and when: the difference between what objects should say and what they say.
//! Pure; the times are given.
//!
//! A status is what people and scripts wait on, so a new form of an object is told about at once.
//! What only rephrases a standing statement waits until it has settled, so that proxies that come
//! and go do not rewrite every object each time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::conditions::{Statement, Truth};
use super::reasons;
use super::view::Wanted;
use crate::crd::status::Condition;
use crate::meta::ObjectKey;

/// Proxies usually have a change within this time, so that one write says it all.
const ACKNOWLEDGED_SOON: Duration = Duration::from_millis(600);
/// An object that all had applied is not called unprogrammed for less than this.
const DOUBT: Duration = Duration::from_secs(2);
/// Rephrasings of bad news, such as another proxy that is waited for.
const BAD_NEWS: Duration = Duration::from_secs(1);
/// Rephrasings of good news, such as another number of proxies.
const GOOD_NEWS: Duration = Duration::from_secs(10);

/// What an object says now, of our own conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// The object's UID.
    pub uid: Option<String>,
    /// Our conditions.
    pub conditions: Vec<Condition>,
}

impl Said {
    /// The generation our conditions are about.
    pub fn generation(&self) -> Option<i64> {
        let generations = self
            .conditions
            .iter()
            .filter_map(|one| one.observed_generation);
        generations.min()
    }

    fn condition(&self, about: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|one| one.condition_type == about)
    }
}

/// Since when objects say something else than they should.
#[derive(Debug, Default)]
pub struct Plan {
    differing: BTreeMap<ObjectKey, (u64, Instant)>,
}

/// What is to be written now.
#[derive(Debug, PartialEq, Eq)]
pub struct Due {
    /// The objects, the most urgent first.
    pub keys: Vec<ObjectKey>,
    /// When there is more, if nothing else happens.
    pub next: Option<Instant>,
}

impl Plan {
    /// What is to be written at `now`.
    pub fn due(
        &mut self,
        wanted: &BTreeMap<ObjectKey, Wanted>,
        said: &BTreeMap<ObjectKey, Said>,
        now: Instant,
    ) -> Due {
        let mut keys = Vec::new();
        let mut next = None;
        let before = std::mem::take(&mut self.differing);
        for (key, one) in wanted {
            let Some(patience) = patience(one, said.get(key)) else {
                continue;
            };
            let since = match before.get(key) {
                Some((revision, since)) if *revision == one.revision => *since,
                Some(_) | None => now,
            };
            self.differing.insert(key.clone(), (one.revision, since));
            let due = since + patience;
            if due <= now {
                keys.push((
                    patience > ACKNOWLEDGED_SOON,
                    std::cmp::Reverse(one.revision),
                    key,
                ));
            } else {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            }
        }
        keys.sort();
        Due {
            keys: keys.into_iter().map(|(_, _, key)| key.clone()).collect(),
            next,
        }
    }
}

/// How long the difference may stand; `None` if there is none, or if what is wanted is older
/// than what is said.
fn patience(wanted: &Wanted, said: Option<&Said>) -> Option<Duration> {
    let pending = wanted
        .statements
        .iter()
        .any(|one| one.reason == reasons::PENDING);
    let soon = if pending {
        ACKNOWLEDGED_SOON
    } else {
        Duration::ZERO
    };
    let Some(said) = said.filter(|said| !said.conditions.is_empty()) else {
        return Some(soon);
    };
    let newer = match (wanted.generation, said.generation()) {
        (Some(wanted), Some(said)) if wanted < said => return None,
        (Some(wanted), said) => said != Some(wanted),
        (None, _) => false,
    };
    let mut worst = newer.then_some(soon);
    for statement in &wanted.statements {
        let difference = match said.condition(statement.about) {
            None => Some(Duration::ZERO),
            Some(condition) => difference(statement, condition),
        };
        let difference = difference.map(|one| if newer { one.min(soon) } else { one });
        worst = match (worst, difference) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    worst
}

fn difference(wanted: &Statement, said: &Condition) -> Option<Duration> {
    if said.status != wanted.holds.as_str() {
        return Some(if wanted.reason == reasons::PENDING {
            DOUBT
        } else {
            Duration::ZERO
        });
    }
    if said.reason != wanted.reason {
        return Some(BAD_NEWS);
    }
    if said.message == wanted.message {
        return None;
    }
    Some(match wanted.holds {
        Truth::True => GOOD_NEWS,
        Truth::False | Truth::Unknown => BAD_NEWS,
    })
}

#[cfg(test)]
mod tests;
