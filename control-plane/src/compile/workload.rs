//! The workload behind an address, compiled when a proxy asks for it.

use std::net::IpAddr;

use mesh_api::encoded::Encoded;
use mesh_api::name::WorkloadName;
use mesh_api::resource::Resource;
use mesh_api::workload::Workload;

use crate::model::{WorkloadInfo, World};

/// `workload/ADDRESS`; `None` if no workload has the address.
pub fn workload(world: &World, address: IpAddr) -> Option<Encoded> {
    world
        .workload_at(address)
        .map(|info| encoded(info, address))
}

pub(crate) fn encoded(info: &WorkloadInfo, address: IpAddr) -> Encoded {
    Encoded::new(&Resource::from(Workload {
        name: WorkloadName(address),
        id: info.id.clone(),
        peer: info.peer.clone(),
        locality: info.locality.clone(),
        labels: info.labels.clone(),
    }))
}
