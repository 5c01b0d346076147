//! All objects of one kind, oldest first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::crd::object::Resource;
use crate::meta::ObjectKey;

/// All objects of one kind.
#[derive(Clone, Debug)]
pub struct Catalog<T> {
    ordered: Vec<Arc<Resource<T>>>,
    /// The same, apart by namespace, without namespaces that have none.
    by_namespace: BTreeMap<String, Vec<Arc<Resource<T>>>>,
    by_key: HashMap<ObjectKey, Arc<Resource<T>>>,
}

impl<T> Default for Catalog<T> {
    fn default() -> Self {
        Self {
            ordered: Vec::new(),
            by_namespace: BTreeMap::new(),
            by_key: HashMap::new(),
        }
    }
}

impl<T: PartialEq> Catalog<T> {
    /// Adds or replaces an object; `false` if nothing that counts changed by it.
    pub fn set(&mut self, resource: &Arc<Resource<T>>) -> bool {
        let mut same = false;
        if let Some(old) = self.by_key.get(&resource.key) {
            let same_age = old.meta.creation_timestamp == resource.meta.creation_timestamp;
            same = same_age && old.spec == resource.spec;
            // The newest form is held in any case: what it was called before must not decide.
            self.remove(&resource.key);
        }
        put(&mut self.ordered, resource);
        let namespace = resource.namespace().to_owned();
        put(self.by_namespace.entry(namespace).or_default(), resource);
        self.by_key
            .insert(resource.key.clone(), Arc::clone(resource));
        !same
    }
}

impl<T> Catalog<T> {
    /// Takes an object away; `false` if it was not there.
    pub fn remove(&mut self, key: &ObjectKey) -> bool {
        let Some(old) = self.by_key.remove(key) else {
            return false;
        };
        take(&mut self.ordered, &old);
        if let Some(list) = self.by_namespace.get_mut(old.namespace()) {
            take(list, &old);
            if list.is_empty() {
                self.by_namespace.remove(old.namespace());
            }
        }
        true
    }

    /// One object.
    pub fn find(&self, key: &ObjectKey) -> Option<&Arc<Resource<T>>> {
        self.by_key.get(key)
    }

    /// All objects, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource<T>>> {
        self.ordered.iter()
    }

    /// The objects of a namespace, oldest first.
    pub fn of_namespace(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = &Arc<Resource<T>>> + use<'_, T> {
        self.by_namespace.get(namespace).into_iter().flatten()
    }

    /// The namespaces that have any.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.by_namespace.keys().map(String::as_str)
    }
}

/// Puts an object into its place in a list that has the oldest first.
fn put<T>(list: &mut Vec<Arc<Resource<T>>>, resource: &Arc<Resource<T>>) {
    let place = list.partition_point(|other| sort_key(other) < sort_key(resource));
    list.insert(place, Arc::clone(resource));
}

/// Takes an object out of a list it is in.
fn take<T>(list: &mut Vec<Arc<Resource<T>>>, resource: &Resource<T>) {
    let place = list.partition_point(|other| sort_key(other) < sort_key(resource));
    if place < list.len() {
        list.remove(place);
    }
}

fn sort_key<T>(resource: &Resource<T>) -> (crate::meta::Precedence<'_>, &ObjectKey) {
    (resource.precedence(), &resource.key)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::crd::Kind;
    use crate::meta::ObjectMeta;

    /// Sets or takes away an object of a name in a namespace; made at a second, or without saying.
    #[derive(Clone, Debug)]
    enum Step {
        Set(u8, u8, Option<i64>, u8),
        Remove(u8, u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let set = (0..3_u8, 0..3_u8, prop::option::of(0..3_i64), 0..2_u8);
        let set = set.prop_map(|(namespace, name, at, spec)| Step::Set(namespace, name, at, spec));
        let remove = (0..3_u8, 0..3_u8);
        let remove = remove.prop_map(|(namespace, name)| Step::Remove(namespace, name));
        vec(prop_oneof![3 => set, 1 => remove], 0..24)
    }

    fn key(namespace: u8, name: u8) -> ObjectKey {
        ObjectKey::new(Kind::Telemetry, format!("n{namespace}"), format!("o{name}"))
    }

    fn carry_out(step: &Step, catalog: &mut Catalog<u8>) {
        match step {
            Step::Set(namespace, name, at, spec) => {
                let at = at.map(|at| jiff::Timestamp::from_second(at).unwrap());
                let meta = ObjectMeta {
                    creation_timestamp: at,
                    ..ObjectMeta::default()
                };
                catalog.set(&Arc::new(Resource {
                    key: key(*namespace, *name),
                    meta,
                    spec: *spec,
                }));
            }
            Step::Remove(namespace, name) => {
                let key = key(*namespace, *name);
                let was_there = catalog.find(&key).is_some();
                assert_eq!(catalog.remove(&key), was_there);
            }
        }
    }

    proptest! {
        /// Whatever was set and taken away: each namespace has its part of all objects, in the
        /// order of all, and all are in order and found by key.
        #[test]
        fn a_namespace_has_its_part_of_all(steps in steps()) {
            let mut catalog = Catalog::default();
            for step in &steps {
                carry_out(step, &mut catalog);
                let all: Vec<_> = catalog.iter().collect();
                prop_assert!(all.is_sorted_by_key(|one| sort_key(one)));
                for one in &all {
                    prop_assert_eq!(catalog.find(&one.key), Some(*one));
                }
                prop_assert_eq!(all.len(), catalog.by_key.len());
                let mut inhabited = Vec::new();
                for namespace in ["n0", "n1", "n2", "n3"] {
                    let part = all.iter().copied();
                    let part: Vec<_> = part.filter(|one| one.namespace() == namespace).collect();
                    let found: Vec<_> = catalog.of_namespace(namespace).collect();
                    prop_assert_eq!(&found, &part);
                    if !part.is_empty() {
                        inhabited.push(namespace);
                    }
                }
                let namespaces: Vec<_> = catalog.namespaces().collect();
                prop_assert_eq!(namespaces, inhabited);
            }
        }
    }
}
