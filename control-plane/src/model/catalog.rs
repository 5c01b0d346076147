//! All objects of one kind, oldest first.

use std::collections::HashMap;
use std::sync::Arc;

use crate::crd::object::Resource;
use crate::meta::ObjectKey;

/// All objects of one kind.
#[derive(Clone, Debug)]
pub struct Catalog<T> {
    ordered: Vec<Arc<Resource<T>>>,
    by_key: HashMap<ObjectKey, Arc<Resource<T>>>,
}

impl<T> Default for Catalog<T> {
    fn default() -> Self {
        Self {
            ordered: Vec::new(),
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
        let place = self
            .ordered
            .partition_point(|other| sort_key(other) < sort_key(resource));
        self.ordered.insert(place, Arc::clone(resource));
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
        let place = self
            .ordered
            .partition_point(|other| sort_key(other) < sort_key(&old));
        if place < self.ordered.len() {
            self.ordered.remove(place);
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
    pub fn of_namespace<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<Resource<T>>> + use<'a, T> {
        let namespace = namespace.to_owned();
        self.ordered
            .iter()
            .filter(move |one| one.namespace() == namespace)
    }
}

fn sort_key<T>(resource: &Resource<T>) -> (crate::meta::Precedence<'_>, &ObjectKey) {
    (resource.precedence(), &resource.key)
}
