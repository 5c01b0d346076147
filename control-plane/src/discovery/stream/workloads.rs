//! The single workloads a proxy asked for, on their way to the push loop: a few at a time, the next
//! when those are done, and what is asked for and taken back meanwhile not at all.

use std::collections::BTreeSet;

use mesh_api::name::WorkloadName;
use tokio::sync::oneshot;

use crate::discovery::session::Workloads;

/// How many the push loop looks up before it serves somebody else.
const AT_ONCE: usize = 256;

/// What the push loop has not been told yet.
#[derive(Debug, Default)]
pub(super) struct Asking {
    waiting: Workloads,
    under_way: Option<oneshot::Receiver<()>>,
    /// How often it was told.
    told: u64,
    /// Whether it was told last that more follows.
    owing: bool,
}

impl Asking {
    /// The proxy asked for this.
    pub(super) fn add(&mut self, workloads: Workloads) {
        let Workloads { added, removed } = workloads;
        for name in removed {
            if !self.waiting.added.remove(&name) {
                self.waiting.removed.insert(name);
            }
        }
        for name in added {
            if !self.waiting.removed.remove(&name) {
                self.waiting.added.insert(name);
            }
        }
    }

    /// The first workloads of a new stream, which go with its introduction.
    pub(super) fn first(&mut self) -> BTreeSet<WorkloadName> {
        take(&mut self.waiting.added)
    }

    /// What to tell next, if it is time to, and whether there is more.
    pub(super) fn next(&mut self) -> Option<(Workloads, bool, oneshot::Sender<()>)> {
        if self.under_way.is_some() {
            return None;
        }
        // What follows may have been taken back meanwhile; that nothing does has to be told, too.
        if self.waiting == Workloads::default() && !self.owing {
            return None;
        }
        let next = Workloads {
            added: take(&mut self.waiting.added),
            removed: take(&mut self.waiting.removed),
        };
        let (done, under_way) = oneshot::channel();
        self.under_way = Some(under_way);
        self.told += 1;
        self.owing = self.waiting != Workloads::default();
        Some((next, self.owing, done))
    }

    /// Whether the push loop has looked for everything that was asked for, once it has done this
    /// many things it was told.
    pub(super) fn is_answered(&self, looked_up: u64) -> bool {
        self.waiting == Workloads::default() && !self.owing && looked_up >= self.told
    }

    /// Waits until the push loop has done what it was told last.
    pub(super) async fn done(&mut self) {
        match &mut self.under_way {
            // Dropped, which is how it says so.
            Some(under_way) => drop(under_way.await),
            None => std::future::pending().await,
        }
        self.under_way = None;
    }
}

fn take(from: &mut BTreeSet<WorkloadName>) -> BTreeSet<WorkloadName> {
    let rest = from.iter().nth(AT_ONCE).copied();
    let rest = rest.map(|rest| from.split_off(&rest)).unwrap_or_default();
    std::mem::replace(from, rest)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn names(range: std::ops::Range<u32>) -> BTreeSet<WorkloadName> {
        let addresses = range.map(|bits| Ipv4Addr::from_bits(0x0a00_0000 | bits));
        addresses.map(|one| WorkloadName(one.into())).collect()
    }

    fn ask(asking: &mut Asking, added: BTreeSet<WorkloadName>, removed: BTreeSet<WorkloadName>) {
        asking.add(Workloads { added, removed });
    }

    #[tokio::test]
    async fn the_push_loop_is_asked_for_a_few_at_a_time() {
        let mut asking = Asking::default();
        ask(&mut asking, names(0..600), BTreeSet::new());
        assert_eq!(asking.first().len(), AT_ONCE);
        let (next, more, done) = asking.next().unwrap();
        assert_eq!((next.added.len(), more), (AT_ONCE, true));
        assert!(asking.next().is_none(), "one at a time");
        // A storm while that is under way is one more question.
        for _ in 0..1000 {
            ask(&mut asking, names(1000..1010), BTreeSet::new());
            ask(&mut asking, BTreeSet::new(), names(1000..1005));
        }
        drop(done);
        asking.done().await;
        let (next, more, _done) = asking.next().unwrap();
        assert_eq!((next.added.len(), more), (600 - 2 * AT_ONCE + 5, false));
        assert_eq!(next.removed, BTreeSet::new());
    }

    #[tokio::test]
    async fn that_nothing_follows_any_more_is_told() {
        let mut asking = Asking::default();
        ask(&mut asking, names(0..300), BTreeSet::new());
        let (_, more, done) = asking.next().unwrap();
        assert!(more && !asking.is_answered(1));
        ask(&mut asking, BTreeSet::new(), names(256..300));
        drop(done);
        asking.done().await;
        let (next, more, done) = asking.next().expect("the push loop waits for more");
        assert_eq!((next, more), (Workloads::default(), false));
        assert!(!asking.is_answered(1) && asking.is_answered(2));
        drop(done);
        asking.done().await;
        assert!(asking.next().is_none());
    }

    #[tokio::test]
    async fn what_is_taken_back_before_it_is_told_is_not_told() {
        let mut asking = Asking::default();
        ask(&mut asking, names(0..3), names(7..8));
        ask(&mut asking, names(7..8), names(0..3));
        assert!(asking.next().is_none());
    }
}
