//! How many proxies each object concerns, and how many of them have applied it. Pure.
//!
//! Kept are one number per proxy, the revision it has applied, and one per object, the revision
//! it came with. The two meet here alone, group by group, so that a thousand objects and hundreds
//! of proxies cost milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::concern::{Concern, Group, Keys};
use super::refusal::Reach;
use crate::compile::{ProxyScope, Uses};
use crate::discovery::registry::{Applied, RefusedSet};
use crate::meta::ObjectKey;
use crate::model::World;
use crate::model::workload::Readiness;
use crate::push::board::Input;

/// Proxies named in one message.
pub const NAMED: usize = 5;
/// Bytes of one reason in a message.
const LONGEST: usize = 200;
/// Who has not applied an object this long after it came is named, but not waited for any more: a
/// pod that never answers must not keep every object of the mesh unprogrammed.
pub const LATE: Duration = Duration::from_mins(1);
/// A proxy that never acknowledged anything is not waited for until it is connected this long:
/// every pod that starts would make every object unprogrammed for a moment.
pub const STARTING: Duration = Duration::from_secs(10);
/// A proxy that is gone for this long is no longer waited for; it gets the newest configuration
/// when it comes again.
pub const LOST: Duration = Duration::from_mins(15);

/// How far proxies are with one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The form of the object that was counted.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Proxies it concerns.
    #[serde(rename = "c", default)]
    pub concerned: u32,
    /// Those that have applied it.
    #[serde(rename = "a", default)]
    pub applied: u32,
    /// Those that refused a part of it.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub refusals: u32,
    /// Those that have not applied it for so long that they are not waited for.
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub late: u32,
    /// Some of those that have not applied it, and why: at most [`NAMED`].
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Straggler>,
}

/// In which way a proxy has not applied an object. Those that refused are named first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lag {
    /// It refused a part of it.
    #[serde(rename = "r")]
    Refused,
    /// It is not waited for any more.
    #[serde(rename = "l")]
    Late,
    /// It is waited for.
    #[default]
    #[serde(rename = "w")]
    WaitedFor,
}

impl Lag {
    /// What precedes the proxies of this kind in a message.
    const fn lead(self) -> &'static str {
        match self {
            Self::Refused => "refused by ",
            Self::Late => "no longer waiting for ",
            Self::WaitedFor => "waiting for ",
        }
    }
}

/// A proxy that has not applied an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Straggler {
    /// In which way.
    #[serde(rename = "q", default, skip_serializing_if = "is_waited_for")]
    pub lag: Lag,
    /// Its name.
    #[serde(rename = "p")]
    pub proxy: String,
    /// Why.
    #[serde(rename = "y")]
    pub why: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_waited_for(lag: &Lag) -> bool {
    *lag == Lag::WaitedFor
}

impl Tally {
    /// Adds what another replica counted of its own proxies.
    pub fn add(&mut self, other: &Self) {
        self.concerned += other.concerned;
        self.applied += other.applied;
        self.refusals += other.refusals;
        self.late += other.late;
        self.waiting.extend(other.waiting.iter().cloned());
        self.waiting.sort();
        self.waiting.truncate(NAMED);
    }

    /// Adds a proxy that has applied nothing of the object yet.
    pub fn wait_for(&mut self, proxy: String, why: String) {
        self.straggle(Straggler {
            lag: Lag::WaitedFor,
            proxy,
            why,
        });
    }

    fn straggle(&mut self, straggler: Straggler) {
        self.concerned += 1;
        self.refusals += u32::from(straggler.lag == Lag::Refused);
        self.late += u32::from(straggler.lag == Lag::Late);
        if self.waiting.len() < NAMED {
            self.waiting.push(straggler);
        } else if let Some(last) = self.waiting.iter_mut().max_by_key(|one| one.lag)
            && straggler.lag < last.lag
        {
            *last = straggler;
        }
    }

    /// Who has not applied it, and why.
    pub fn stragglers(&self) -> String {
        let mut all: Vec<&Straggler> = self.waiting.iter().collect();
        all.sort();
        let mut text = String::new();
        let mut before = None;
        for Straggler { lag, proxy, why } in &all {
            if before == Some(*lag) {
                text.push_str(", ");
            } else {
                let end = if before.is_some() { "; " } else { "" };
                text.extend([end, lag.lead()]);
            }
            text.extend([proxy, " (", why, ")"]);
            before = Some(*lag);
        }
        let missing = self.concerned.saturating_sub(self.applied);
        let named = u32::try_from(all.len()).unwrap_or(u32::MAX);
        if missing > named {
            text.extend([" and ", &(missing - named).to_string(), " more"]);
        }
        text
    }
}

/// Whether a proxy that is not connected will come again: its workload is there to stay.
pub fn expected_back(world: &World, lost: &Applied, now: Instant) -> bool {
    let workload = world.workload(&lost.who.workload);
    let there = workload.is_some_and(|workload| match workload.readiness {
        Readiness::Ready | Readiness::NotReady => true,
        Readiness::Terminating | Readiness::Gone => false,
    });
    there && now.saturating_duration_since(lost.since) < LOST
}

/// The members of one group.
#[derive(Default)]
struct Members<'a> {
    all: Vec<&'a Applied>,
    /// The oldest revision any of them has applied.
    oldest: Option<u64>,
    refusing: bool,
}

/// Counts for every object how many of `proxies` it concerns, and how many have applied it.
pub fn tally(
    input: &Input,
    uses: &Uses,
    proxies: &[Applied],
    now: Instant,
) -> BTreeMap<ObjectKey, Tally> {
    let world = &input.world;
    let objects: Vec<_> = input
        .objects
        .iter()
        .map(|(key, newest)| {
            let object = newest.object.as_ref();
            let concern = object.map(|object| Concern::of(world, object));
            (key, newest, concern.unwrap_or_default())
        })
        .collect();
    let keys: BTreeSet<String> = objects
        .iter()
        .flat_map(|(_, _, concern)| concern.label_keys().cloned())
        .collect();
    let groups = grouped(world, proxies, &keys, now);
    let groups: Vec<_> = groups
        .into_iter()
        .map(|(group, members)| {
            let used = group.used(world, uses);
            (group, used, members)
        })
        .collect();
    let mut tallies = BTreeMap::new();
    for (key, newest, concern) in objects {
        let mut tally = Tally {
            generation: newest.generation(),
            ..Tally::default()
        };
        let mut reach = None;
        let concerned = |(group, used, _): &&(Group, Arc<BTreeSet<ObjectKey>>, Members<'_>)| {
            concern.covers(world, group, used)
        };
        for (_, _, members) in groups.iter().filter(concerned) {
            if members.oldest >= Some(newest.revision) && !members.refusing {
                let all = u32::try_from(members.all.len()).unwrap_or(u32::MAX);
                tally.concerned += all;
                tally.applied += all;
                continue;
            }
            let reach = reach.get_or_insert_with(|| Reach::of(world, newest.object.as_ref()));
            let lag = if now.saturating_duration_since(newest.since) < LATE {
                Lag::WaitedFor
            } else {
                Lag::Late
            };
            for proxy in &members.all {
                count(&mut tally, proxy, (newest.revision, lag), reach);
            }
        }
        tallies.insert(key.clone(), tally);
    }
    tallies
}

fn grouped<'a>(
    world: &World,
    proxies: &'a [Applied],
    keys: &BTreeSet<String>,
    now: Instant,
) -> BTreeMap<Group, Members<'a>> {
    let keys = Keys::of(world, keys);
    let mut groups: BTreeMap<Group, Members<'a>> = BTreeMap::new();
    for proxy in proxies {
        let starting = proxy.revision.is_none()
            && (!proxy.connected || now.saturating_duration_since(proxy.since) < STARTING);
        if proxy.waiting || starting {
            continue;
        }
        let who = &proxy.who;
        let Some(scope) = ProxyScope::new(world, &who.workload, who.role, who.mode) else {
            continue;
        };
        let members = groups.entry(keys.group(&scope)).or_default();
        members.oldest = if members.all.is_empty() {
            proxy.revision
        } else {
            members.oldest.min(proxy.revision)
        };
        members.refusing |= !proxy.refused.is_empty();
        members.all.push(proxy);
    }
    groups
}

fn count(tally: &mut Tally, proxy: &Applied, (revision, lag): (u64, Lag), reach: &Reach) {
    if let Some(why) = refused(&proxy.refused, reach) {
        tally.straggle(Straggler {
            lag: Lag::Refused,
            proxy: proxy.who.workload.to_string(),
            why,
        });
    } else if proxy.revision >= Some(revision) {
        tally.concerned += 1;
        tally.applied += 1;
    } else {
        let why = if proxy.connected {
            "connected, no acknowledgement"
        } else {
            "connection lost"
        };
        tally.straggle(Straggler {
            lag,
            proxy: proxy.who.workload.to_string(),
            why: why.to_owned(),
        });
    }
}

/// What of an object a proxy refused, in our own words: whoever runs a pod must not be able to
/// write into the status of other people's objects. The proxy's are in the log.
fn refused(refused: &RefusedSet, reach: &Reach) -> Option<String> {
    let mut named = refused.first.iter();
    let Some(one) = named.find(|one| reach.includes(&one.resource)) else {
        let more = refused.more;
        return (more > 0).then(|| format!("{more} resources that it did not name one by one"));
    };
    let mut why = one.resource.clone();
    if !one.field.is_empty() {
        why.extend([" at ", &one.field]);
    }
    why.truncate(why.floor_char_boundary(LONGEST));
    Some(why)
}

#[cfg(test)]
mod tests;
