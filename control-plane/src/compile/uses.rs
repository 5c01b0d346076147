//! Which objects make a difference to which proxies: noted by the compiler, so that who is said to
//! be concerned by an object is who gets it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::scope::Client;
use super::shared;
use crate::meta::ObjectKey;
use crate::model::World;

/// What the clients of one world use.
#[derive(Debug, Default)]
pub struct Uses {
    by_client: Mutex<HashMap<Client, Arc<BTreeSet<ObjectKey>>>>,
}

impl Uses {
    /// Takes in what a compilation for a client used.
    pub(crate) fn note(&self, client: Client, used: BTreeSet<ObjectKey>) {
        self.by_client.lock().insert(client, Arc::new(used));
    }

    /// What a client uses; compiled now if that has not been done for this kind of client. The
    /// world must be the one the others were compiled of.
    pub(crate) fn of(&self, world: &World, client: &Client) -> Arc<BTreeSet<ObjectKey>> {
        if let Some(known) = self.by_client.lock().get(client) {
            return Arc::clone(known);
        }
        let used = Arc::new(shared(world, client).acting);
        let mut by_client = self.by_client.lock();
        Arc::clone(by_client.entry(client.clone()).or_insert(used))
    }
}
