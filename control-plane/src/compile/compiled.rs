//! The result of compiling, in layers that proxies share, and the cache that makes them share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mesh_api::encoded::Encoded;
use mesh_api::name::{EndpointsName, ResourceName};

use super::diagnostics::Diagnostic;
use super::endpoints::all as all_endpoints;
use super::scope::{Client, ProxyScope, selector_keys};
use super::{Shared, endpoints, own, shared};
use crate::model::{Affected, World};

/// Resources by name.
pub type ResourceMap = BTreeMap<ResourceName, Encoded>;

/// The configuration of one proxy. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Compiled {
    shared: Arc<Shared>,
    own: Arc<Own>,
    endpoints: Arc<ResourceMap>,
}

/// The part of a configuration that only one proxy has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    pub(crate) resources: ResourceMap,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The layers of a configuration that hold findings.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub(crate) client: Client,
    pub(crate) shared: Arc<Shared>,
    pub(crate) own: Arc<Own>,
}

impl Compiled {
    /// One resource.
    pub fn get(&self, name: &ResourceName) -> Option<&Encoded> {
        if let ResourceName::Endpoints(set) = name {
            return self
                .shared
                .endpoint_sets
                .contains(set)
                .then(|| self.endpoints.get(name))?;
        }
        self.own
            .resources
            .get(name)
            .or_else(|| self.shared.resources.get(name))
    }

    /// All resources in the order of their names; none refers to one that is not there.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, &Encoded)> {
        let sets = self.shared.endpoint_sets.iter().filter_map(|name| {
            self.endpoints
                .get_key_value(&ResourceName::Endpoints(name.clone()))
        });
        let own = self.own.resources.iter();
        let shared = self
            .shared
            .resources
            .iter()
            .filter(|(name, _)| !self.own.resources.contains_key(*name));
        let mut all: Vec<_> = sets.chain(own).chain(shared).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all.into_iter()
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no resource at all.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The endpoint sets this configuration refers to.
    pub fn endpoint_sets(&self) -> impl Iterator<Item = &EndpointsName> {
        self.shared.endpoint_sets.iter()
    }

    /// What was wrong with the inputs, as far as this proxy is concerned; sorted, each once.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        let all: BTreeSet<&Diagnostic> = self
            .shared
            .diagnostics
            .iter()
            .chain(&self.own.diagnostics)
            .collect();
        all.into_iter()
    }
}

/// Compiles the configuration of one proxy. Pure: the same arguments give the same result.
pub fn compile(world: &World, scope: &ProxyScope) -> Compiled {
    Compiler::default().compile(world, scope)
}

/// What compilations of one world share.
///
/// Give it every [`Affected`] that [`World::apply`] returns, then compile.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    selector_keys: Option<BTreeSet<Arc<str>>>,
    shared: HashMap<Client, Arc<Shared>>,
    own: HashMap<ProxyScope, Arc<Own>>,
    endpoints: Option<Arc<ResourceMap>>,
}

impl Compiler {
    /// Forgets what changes of the inputs may have made wrong.
    pub fn invalidate(&mut self, world: &World, affected: &Affected) {
        if affected.config {
            self.selector_keys = None;
            self.shared.clear();
            self.own.clear();
        }
        // Scopes of workloads that changed are other keys; the former ones are just dead weight.
        if !affected.workloads.is_empty() {
            self.own
                .retain(|scope, _| !affected.workloads.contains(&scope.workload.id));
        }
        if let Some(sets) = &mut self.endpoints
            && !affected.endpoints.is_empty()
        {
            let sets = Arc::make_mut(sets);
            for name in &affected.endpoints {
                match endpoints(world, name) {
                    Some(set) => sets.insert(ResourceName::Endpoints(name.clone()), set),
                    None => sets.remove(&ResourceName::Endpoints(name.clone())),
                };
            }
        }
    }

    /// The configuration of one proxy, as [`compile`] gives it.
    pub fn compile(&mut self, world: &World, scope: &ProxyScope) -> Compiled {
        let layers = self.layers(world, scope);
        let sets = self
            .endpoints
            .get_or_insert_with(|| Arc::new(all_endpoints(world)));
        Compiled {
            shared: layers.shared,
            own: layers.own,
            endpoints: Arc::clone(sets),
        }
    }

    /// The configuration of one proxy without its endpoints.
    pub(crate) fn layers(&mut self, world: &World, scope: &ProxyScope) -> Layers {
        let keys = self
            .selector_keys
            .get_or_insert_with(|| selector_keys(world));
        let client = Client::of(scope, keys);
        let shared = self
            .shared
            .entry(client.clone())
            .or_insert_with_key(|client| Arc::new(shared(world, client)));
        let own = self
            .own
            .entry(scope.clone())
            .or_insert_with(|| Arc::new(own(world, scope, shared)));
        Layers {
            client,
            shared: Arc::clone(shared),
            own: Arc::clone(own),
        }
    }

    /// What has been compiled so far, for somebody who wants to know what was found. Endpoints
    /// stay here: holding on to them would make the next change of them cost a copy of all.
    #[must_use]
    pub fn without_endpoints(&self) -> Self {
        Self {
            selector_keys: self.selector_keys.clone(),
            shared: self.shared.clone(),
            own: self.own.clone(),
            endpoints: None,
        }
    }
}
