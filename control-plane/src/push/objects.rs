//! The newest form of every mesh object, and the revision of the configuration it came with: what
//! a proxy must have acknowledged to have applied it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::crd::Object;
use crate::meta::ObjectKey;
use crate::model::Change;

/// All mesh objects. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    by_key: Arc<BTreeMap<ObjectKey, Newest>>,
}

/// The newest form of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// The object; `None` if no form of it could ever be read.
    pub object: Option<Object>,
    /// The revision it came with.
    pub revision: u64,
    /// When it came.
    pub since: Instant,
}

impl Newest {
    /// Which form of the object this is, as the API server counts.
    pub fn generation(&self) -> Option<i64> {
        self.object.as_ref()?.meta().generation
    }
}

impl Objects {
    /// Takes in changes that came with `revision`, now; whether any object came, went or has another
    /// form now.
    pub fn note(&mut self, changes: Vec<Change>, revision: u64, now: Instant) -> bool {
        let mut changed = false;
        for change in changes {
            let (key, object) = match change {
                Change::Applied(object) => (object.key().clone(), Some(object)),
                Change::Refused(key, _) => (key, None),
                Change::Removed(key) => {
                    if self.by_key.contains_key(&key) {
                        changed = true;
                        Arc::make_mut(&mut self.by_key).remove(&key);
                    }
                    continue;
                }
            };
            let known = self.by_key.get(&key);
            if known.is_some_and(|known| same(known.object.as_ref(), object.as_ref())) {
                continue;
            }
            changed = true;
            let newest = Newest {
                object,
                revision,
                since: now,
            };
            Arc::make_mut(&mut self.by_key).insert(key, newest);
        }
        changed
    }

    /// All objects, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Newest)> {
        self.by_key.iter()
    }

    /// One object.
    pub fn find(&self, key: &ObjectKey) -> Option<&Newest> {
        self.by_key.get(key)
    }
}

/// Whether both are one form of one object. A change of labels or of the status counts no
/// generation; an object that was deleted and made again starts to count anew.
fn same(known: Option<&Object>, object: Option<&Object>) -> bool {
    match (known, object) {
        (None, None) => true,
        (Some(known), Some(object)) => {
            let (before, now) = (known.meta(), object.meta());
            match (before.generation, now.generation) {
                (Some(before_generation), Some(generation)) => {
                    before_generation == generation
                        && before.creation_timestamp == now.creation_timestamp
                }
                (None, None) => known == object,
                (Some(_), None) | (None, Some(_)) => false,
            }
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Selects;
    use crate::testing::objects;

    fn gateway(generation: i64, port: u16) -> Object {
        let yaml = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g, namespace: \
             shop, generation: {generation}}}\nspec:\n  selector: {{istio: ingressgateway}}\n  \
             servers:\n  - port: {{number: {port}, name: http, protocol: HTTP}}\n    hosts: \
             ['*']\n"
        );
        objects(&yaml).remove(0)
    }

    #[test]
    fn only_a_new_generation_needs_to_be_applied_again() {
        let mut all = Objects::default();
        let now = Instant::now();
        let key = gateway(1, 80).key().clone();
        assert!(all.note(vec![Change::Applied(gateway(1, 80))], 3, now));
        assert!(!all.note(vec![Change::Applied(gateway(1, 80))], 4, now));
        assert_eq!(all.find(&key).unwrap().revision, 3);
        assert!(all.note(vec![Change::Applied(gateway(2, 81))], 5, now));
        let newest = all.find(&key).unwrap();
        assert_eq!((newest.revision, newest.generation()), (5, Some(2)));
        assert!(all.note(vec![Change::Removed(key.clone())], 6, now));
        assert!(all.find(&key).is_none());
        assert!(all.note(vec![Change::Refused(key.clone(), Selects::All)], 7, now));
        assert_eq!(all.find(&key).unwrap().generation(), None);
    }
}
