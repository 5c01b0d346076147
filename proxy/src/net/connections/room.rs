//! Which connection goes when there is no place for one more.
//!
//! Never the newest, or whoever holds places open keeps everybody else out; and none that is at
//! work. Of those with nothing to do it is the one that has had nothing to do for longest, of the
//! client that has most. A connection that carries bytes counts as one with nothing to do when
//! nothing has gone by for a minute.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;

use super::ConnectionWatch;
use crate::net::Way;

/// Connections chosen at once, so that not each newcomer makes us look through all.
const BATCH: usize = 256;
/// Ticks that a connection which was told to go has to do so.
const GRACE: u32 = 1;

/// What is known about making room.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Who goes next, and since when it had had nothing to do when it was chosen.
    next: VecDeque<(Weak<ConnectionWatch>, u32)>,
    /// Who was told to go, and when.
    told: VecDeque<(Weak<ConnectionWatch>, u32)>,
    /// The tick in which nobody was found, for each way.
    nobody: [Option<u32>; 2],
}

impl Room {
    /// Ends a connection that has nothing to do; `false` if all are at work.
    pub(super) fn make(&mut self, open: &[Weak<ConnectionWatch>], way: Way, now: u32) -> bool {
        self.insist(now);
        let nobody = way as usize;
        if self.nobody.get(nobody).copied().flatten() == Some(now) {
            return false;
        }
        for chosen in [false, true] {
            if chosen {
                self.choose(open, way);
            }
            while let Some((watch, since)) = self.next.pop_front() {
                if let Some(found) = watch.upgrade()
                    && found.way() == way
                    && found.idle_since() == Some(since)
                {
                    found.give_way();
                    self.told.push_back((watch, now));
                    metrics::counter!("proxy_connections_evicted_total").increment(1);
                    return true;
                }
            }
        }
        if let Some(nobody) = self.nobody.get_mut(nobody) {
            *nobody = Some(now);
        }
        false
    }

    /// Cuts off whoever was told to go and is still there.
    fn insist(&mut self, now: u32) {
        for _ in 0..self.told.len() {
            let Some((watch, told)) = self.told.pop_front() else {
                return;
            };
            let Some(alive) = watch.upgrade().filter(|alive| !alive.is_closed()) else {
                continue;
            };
            // Many are told at once where many come: then there is no time to be patient.
            let patient = self.told.len() < BATCH && now.wrapping_sub(told) <= GRACE;
            if patient {
                self.told.push_front((watch, told));
                return;
            }
            // It may have got a request just when it was told; then it goes after that.
            if alive.is_answering() {
                self.told.push_back((watch, now));
            } else {
                alive.abort();
            }
        }
    }

    fn choose(&mut self, open: &[Weak<ConnectionWatch>], way: Way) {
        let mut of_peer: HashMap<IpAddr, usize> = HashMap::new();
        let here: Vec<Arc<ConnectionWatch>> = open
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|watch| watch.way() == way && !watch.is_closed())
            .collect();
        for watch in &here {
            *of_peer.entry(watch.peer()).or_default() += 1;
        }
        let mut idle: Vec<_> = here
            .iter()
            .filter_map(|watch| Some((watch, watch.idle_since()?)))
            .collect();
        let most = |watch: &ConnectionWatch| of_peer.get(&watch.peer()).copied().unwrap_or(0);
        // Those that carry bytes after those with HTTP, whose clients know how to go on.
        idle.sort_by_key(|(watch, since)| (Reverse(most(watch)), watch.carries_bytes(), *since));
        // Not all: until these are gone, others may have come that should go before the rest.
        let some = idle.len().div_ceil(2).min(BATCH);
        let chosen = idle.into_iter().take(some);
        self.next = chosen
            .map(|(watch, since)| (Arc::downgrade(watch), since))
            .collect();
    }
}
