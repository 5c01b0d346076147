//! Endpoint sets on the wire.

use std::sync::Arc;

use super::field::{Invalid, Result, Wire, field, non_empty, required, wire_enum};
use crate::endpoint::{Endpoint, EndpointAddress, EndpointSet, Health};
use crate::name::EndpointsName;
use crate::proto;
use crate::proto::endpoint::Address;

pub(super) fn encode(set: &EndpointSet) -> proto::EndpointSet {
    let EndpointSet { name: _, endpoints } = set;
    proto::EndpointSet {
        endpoints: endpoints.iter().map(|one| one.to_proto()).collect(),
    }
}

pub(super) fn decode(name: EndpointsName, proto: proto::EndpointSet) -> Result<EndpointSet> {
    let proto::EndpointSet { endpoints: protos } = proto;
    let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(protos.len());
    for (at, proto) in protos.into_iter().enumerate() {
        let endpoint = Endpoint::from_proto(proto)
            .and_then(|endpoint| match endpoints.last() {
                Some(last) if last.address >= endpoint.address => Err(Invalid::at(
                    "address",
                    "endpoints must be ordered by address, and no address may come twice",
                )),
                Some(_) | None => Ok(endpoint),
            })
            .map_err(|invalid| invalid.within_item("endpoints", at))?;
        endpoints.push(Arc::new(endpoint));
    }
    Ok(EndpointSet { name, endpoints })
}

impl Wire for Endpoint {
    type Proto = proto::Endpoint;

    fn to_proto(&self) -> proto::Endpoint {
        let Self {
            address,
            labels,
            weight,
            health,
            locality,
            network,
            mesh_tls,
            peer,
        } = self;
        proto::Endpoint {
            address: Some(address.to_proto()),
            labels: labels.to_proto(),
            weight: *weight,
            health: health.to_proto(),
            locality: Some(locality.to_proto()),
            network: network.to_proto(),
            mesh_tls: *mesh_tls,
            peer: Some(peer.to_proto()),
        }
    }

    fn from_proto(proto: proto::Endpoint) -> Result<Self> {
        let proto::Endpoint {
            address,
            labels,
            weight,
            health,
            locality,
            network,
            mesh_tls,
            peer,
        } = proto;
        if weight == 0 {
            return Err(Invalid::at("weight", "it must be at least 1"));
        }
        Ok(Self {
            address: required("address", address)?,
            labels: field("labels", labels)?,
            weight,
            health: field("health", health)?,
            locality: required("locality", locality)?,
            network: network.into(),
            mesh_tls,
            peer: required("peer", peer)?,
        })
    }
}

impl Wire for EndpointAddress {
    type Proto = Address;

    fn to_proto(&self) -> Address {
        match self {
            Self::Socket(address) => Address::Socket(address.to_proto()),
            Self::Name { host, port } => Address::Named(proto::NamedAddress {
                host: host.to_proto(),
                port: port.to_proto(),
            }),
        }
    }

    fn from_proto(proto: Address) -> Result<Self> {
        match proto {
            Address::Socket(address) => field("socket", address).map(Self::Socket),
            Address::Named(proto::NamedAddress { host, port }) => {
                named(host, port).map_err(|invalid| invalid.within("named"))
            }
        }
    }
}

fn named(host: String, port: u32) -> Result<EndpointAddress> {
    Ok(EndpointAddress::Name {
        host: non_empty("host", host)?,
        port: field("port", port)?,
    })
}

wire_enum!(Health, proto::Health, { Healthy, Draining });
