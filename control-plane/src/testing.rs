//! Worlds from YAML, for unit tests.

use std::sync::Arc;

use mesh_api::convert;
use mesh_api::resource::Resource;
use mesh_api::snapshot::Snapshot;

use crate::compile::{CaptureMode, Compiled, ProxyRole, ProxyScope, compile};
use crate::crd::{Object, decode};
use crate::model::{Change, MeshSettings, World};

/// The objects of a YAML text, in order.
pub(crate) fn objects(yaml: &str) -> Vec<Object> {
    yaml.split("\n---\n")
        .filter(|document| !document.trim().is_empty())
        .map(|document| {
            let value = serde_saphyr::from_str(document)
                .unwrap_or_else(|error| panic!("{error}\n{document}"));
            let decoded = decode(value);
            match decoded.object() {
                Some(object) => object.clone(),
                None => panic!("{:?}\n{document}", decoded.problems),
            }
        })
        .collect()
}

/// A world that was told a YAML text.
pub(crate) fn world(yaml: &str) -> World {
    let mut world = World::new(MeshSettings::default());
    world.apply(objects(yaml).into_iter().map(Change::Applied));
    world
}

/// What the proxy of a workload gets.
pub(crate) fn compiled(
    world: &World,
    workload: &str,
    role: ProxyRole,
    capture: CaptureMode,
) -> Compiled {
    let scope = ProxyScope::new(world, &workload.parse().unwrap(), role, capture)
        .unwrap_or_else(|| panic!("no workload {workload}"));
    compile(world, &scope)
}

/// The resources of a configuration as a proxy decodes them.
pub(crate) fn snapshot(compiled: &Compiled) -> Snapshot {
    let resources: Vec<Resource> = compiled
        .iter()
        .map(|(_, encoded)| convert::decode(&encoded.to_wire()).unwrap().resource)
        .collect();
    Snapshot::of(resources).unwrap()
}

/// Text as names are kept.
pub(crate) fn text(text: &str) -> Arc<str> {
    Arc::from(text)
}
