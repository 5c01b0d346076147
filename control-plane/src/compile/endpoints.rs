//! Endpoint sets: the part of the configuration that changes most often, compiled on its own.

use mesh_api::encoded::Encoded;
use mesh_api::name::{EndpointsName, ResourceName};
use mesh_api::resource::Resource;

use super::ResourceMap;
use crate::model::World;
use crate::model::endpoints::endpoint_set;

/// One endpoint set; `None` if its service or port is not there (any more).
pub fn endpoints(world: &World, name: &EndpointsName) -> Option<Encoded> {
    endpoint_set(world, name).map(|set| Encoded::new(&Resource::from(set)))
}

/// Every endpoint set of the world.
pub(crate) fn all(world: &World) -> ResourceMap {
    world
        .endpoint_sets()
        .filter_map(|name| {
            let set = endpoints(world, &name)?;
            Some((ResourceName::Endpoints(name), set))
        })
        .collect()
}
