//! An ordered map whose clones share their content in runs of neighbours.
//!
//! A proxy with ten thousand resources sees mostly changes of one; with a `BTreeMap` each of them
//! would copy and compare ten thousand entries. Here a clone copies one pointer per run, a change
//! copies one run, and a comparison skips the runs both sides share.

use std::cmp::Ordering;
use std::sync::Arc;

/// Longest run; a longer one is split.
const RUN: usize = 64;

type Run<K, V> = Vec<(K, V)>;

/// The map: runs in order, none empty, keys in order.
#[derive(Clone, Debug)]
pub(super) struct OrderedMap<K, V> {
    runs: Vec<Arc<Run<K, V>>>,
    len: usize,
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Ord, V> OrderedMap<K, V> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.runs
            .iter()
            .flat_map(|run| run.iter().map(|(key, value)| (key, value)))
    }

    /// From the first key for which `before` does not hold; it must hold for a prefix of the keys.
    pub(super) fn iter_from(&self, before: impl Fn(&K) -> bool) -> impl Iterator<Item = (&K, &V)> {
        let first = self
            .runs
            .partition_point(|run| run.last().is_some_and(|(key, _)| before(key)));
        let (head, tail) = self.runs.get(first..).unwrap_or_default().split_at(
            // The run that holds the border; there may be none.
            usize::from(first < self.runs.len()),
        );
        let head = head.iter().flat_map(move |run| {
            let border = run.partition_point(|(key, _)| before(key));
            run.get(border..).unwrap_or_default()
        });
        head.chain(tail.iter().flat_map(|run| run.iter()))
            .map(|(key, value)| (key, value))
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let run = self.runs.get(self.run_for(key))?;
        let at = position(run, key).ok()?;
        run.get(at).map(|(_, value)| value)
    }

    /// The run that holds the key, if any does; else the number of runs.
    fn run_for(&self, key: &K) -> usize {
        self.runs
            .partition_point(|run| run.last().is_some_and(|(last, _)| last < key))
    }
}

impl<K: Ord + Clone, V: Clone> OrderedMap<K, V> {
    /// Puts a value in; the one it replaces comes back.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        // A key beyond all others extends the last run.
        let index = self.run_for(&key).min(self.runs.len().saturating_sub(1));
        let Some(shared) = self.runs.get_mut(index) else {
            self.runs.push(Arc::new(vec![(key, value)]));
            self.len += 1;
            return None;
        };
        let run = Arc::make_mut(shared);
        match position(run, &key) {
            Ok(at) => run
                .get_mut(at)
                .map(|(_, old)| std::mem::replace(old, value)),
            Err(at) => {
                // Appending in order must leave full runs behind, not half-full ones.
                let split = if at == run.len() { RUN } else { RUN / 2 };
                run.insert(at, (key, value));
                self.len += 1;
                if run.len() > RUN {
                    let rest = run.split_off(split);
                    self.runs.insert(index + 1, Arc::new(rest));
                }
                None
            }
        }
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let index = self.run_for(key);
        let shared = self.runs.get_mut(index)?;
        let at = position(shared, key).ok()?;
        let run = Arc::make_mut(shared);
        let (_, value) = run.remove(at);
        self.len -= 1;
        if run.is_empty() {
            self.runs.remove(index);
        } else {
            self.join_with_next(index);
        }
        Some(value)
    }

    /// Keeps runs from staying short for ever.
    fn join_with_next(&mut self, index: usize) {
        let lengths = (self.runs.get(index), self.runs.get(index + 1));
        let (Some(run), Some(next)) = lengths else {
            return;
        };
        if run.len() + next.len() > RUN / 2 {
            return;
        }
        let next = self.runs.remove(index + 1);
        if let Some(run) = self.runs.get_mut(index) {
            Arc::make_mut(run).extend(next.iter().cloned());
        }
    }
}

fn position<K: Ord, V>(run: &Run<K, V>, key: &K) -> Result<usize, usize> {
    run.binary_search_by(|(held, _)| held.cmp(key))
}

/// What two maps say about one key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Difference<'m, K, V> {
    Left(&'m K, &'m V),
    Right(&'m K, &'m V),
    Both(&'m K, &'m V, &'m V),
}

/// Walks two maps side by side; what both share is passed over.
pub(super) fn side_by_side<'m, K: Ord, V>(
    left: &'m OrderedMap<K, V>,
    right: &'m OrderedMap<K, V>,
    mut visit: impl FnMut(Difference<'m, K, V>),
) {
    let mut left = Cursor::new(left);
    let mut right = Cursor::new(right);
    loop {
        if left.shares_run_with(&right) {
            left.next_run();
            right.next_run();
            continue;
        }
        match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some((key, value)), None) => {
                visit(Difference::Left(key, value));
                left.step();
            }
            (None, Some((key, value))) => {
                visit(Difference::Right(key, value));
                right.step();
            }
            (Some((a, old)), Some((b, new))) => match a.cmp(b) {
                Ordering::Less => {
                    visit(Difference::Left(a, old));
                    left.step();
                }
                Ordering::Greater => {
                    visit(Difference::Right(b, new));
                    right.step();
                }
                Ordering::Equal => {
                    visit(Difference::Both(b, old, new));
                    left.step();
                    right.step();
                }
            },
        }
    }
}

struct Cursor<'m, K, V> {
    runs: &'m [Arc<Run<K, V>>],
    at: usize,
}

impl<'m, K: Ord, V> Cursor<'m, K, V> {
    fn new(map: &'m OrderedMap<K, V>) -> Self {
        Self {
            runs: &map.runs,
            at: 0,
        }
    }

    fn peek(&self) -> Option<(&'m K, &'m V)> {
        let (key, value) = self.runs.first()?.get(self.at)?;
        Some((key, value))
    }

    fn step(&mut self) {
        self.at += 1;
        if self.runs.first().is_some_and(|run| run.len() <= self.at) {
            self.next_run();
        }
    }

    fn next_run(&mut self) {
        self.runs = self.runs.get(1..).unwrap_or_default();
        self.at = 0;
    }

    fn shares_run_with(&self, other: &Self) -> bool {
        match (self.runs.first(), other.runs.first()) {
            (Some(a), Some(b)) => self.at == 0 && other.at == 0 && Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn built(steps: &[(u16, Option<u8>)]) -> (OrderedMap<u16, u8>, BTreeMap<u16, u8>) {
        let mut ours = OrderedMap::default();
        let mut model = BTreeMap::new();
        for (key, value) in steps {
            match value {
                Some(value) => {
                    assert_eq!(ours.insert(*key, *value), model.insert(*key, *value));
                }
                None => assert_eq!(ours.remove(key), model.remove(key)),
            }
        }
        (ours, model)
    }

    fn steps(count: usize) -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
        prop::collection::vec(
            (0_u16..600, prop::option::weighted(0.7, any::<u8>())),
            0..count,
        )
    }

    proptest! {
        #[test]
        fn behaves_like_a_btree_map(steps in steps(1500), border in 0_u16..700) {
            let (ours, model) = built(&steps);
            prop_assert_eq!(ours.len(), model.len());
            prop_assert!(ours.iter().eq(model.iter()));
            prop_assert!(ours.iter_from(|key| *key < border).eq(model.range(border..)));
            for key in 0..600 {
                prop_assert_eq!(ours.get(&key), model.get(&key));
            }
            prop_assert!(ours.runs.iter().all(|run| !run.is_empty() && run.len() <= RUN));
        }

        #[test]
        fn side_by_side_sees_every_difference(base in steps(800), more in steps(40)) {
            let (old, before) = built(&base);
            let mut new = old.clone();
            let mut after = before.clone();
            for (key, value) in &more {
                if let Some(value) = value {
                    new.insert(*key, *value);
                    after.insert(*key, *value);
                } else {
                    new.remove(key);
                    after.remove(key);
                }
            }
            prop_assert!(old.iter().eq(before.iter()), "the base must not change");
            let mut walked = before;
            side_by_side(&old, &new, |difference| match difference {
                Difference::Left(key, _) => {
                    walked.remove(key);
                }
                Difference::Right(key, value) | Difference::Both(key, _, value) => {
                    walked.insert(*key, *value);
                }
            });
            prop_assert_eq!(walked, after);
        }
    }

    #[test]
    fn what_both_share_is_not_looked_at() {
        let mut old = OrderedMap::default();
        for key in 0..10_000 {
            old.insert(key, 0);
        }
        let mut new = old.clone();
        new.insert(5_000, 1);
        let mut looked = 0;
        side_by_side(&old, &new, |_| looked += 1);
        assert!(looked <= RUN, "{looked}");
    }
}
