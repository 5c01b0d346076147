//! Which rule takes a TLS greeting by its server name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::route::{Destinations, Domain};

/// The rules of one block, by server name.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerNames {
    exact: HashMap<Arc<str>, Arc<Destinations>>,
    suffixes: HashMap<Arc<str>, Arc<Destinations>>,
    /// The lengths of suffixes that occur, longest first.
    lengths: Vec<usize>,
    any: Option<Arc<Destinations>>,
}

impl ServerNames {
    /// Adds a rule; none of `names` means any, as `*` does. What is there already stays.
    pub(super) fn add(&mut self, names: &[Domain], to: &Arc<Destinations>) {
        if names.is_empty() {
            self.any.get_or_insert_with(|| Arc::clone(to));
        }
        for name in names {
            let place = match name {
                Domain::Exact(name) => self.exact.entry(Arc::clone(name)),
                Domain::Suffix(suffix) => self.suffixes.entry(Arc::clone(suffix)),
                Domain::Any => {
                    self.any.get_or_insert_with(|| Arc::clone(to));
                    continue;
                }
            };
            place.or_insert_with(|| Arc::clone(to));
        }
    }

    pub(super) fn put_in_order(&mut self) {
        let mut lengths: Vec<usize> = self.suffixes.keys().map(|suffix| suffix.len()).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        self.lengths = lengths;
    }

    /// The destinations for a name; `None` for a greeting without one.
    pub(super) fn find(&self, name: Option<&str>) -> Option<&Arc<Destinations>> {
        name.and_then(|name| self.named(name)).or(self.any.as_ref())
    }

    fn named(&self, name: &str) -> Option<&Arc<Destinations>> {
        self.exact.get(name).or_else(|| {
            self.lengths.iter().find_map(|length| {
                // `*.example.com` is not `example.com`: something has to stand before it.
                let before = name.len().checked_sub(*length).filter(|rest| *rest > 0)?;
                self.suffixes.get(name.get(before..)?)
            })
        })
    }
}
