//! Workloads on the wire, and the facts about workloads that other resources carry.

use super::field::{Invalid, Result, Wire, non_empty, required};
use crate::name::WorkloadName;
use crate::proto;
use crate::workload::{Labels, Locality, Peer, ServiceIdentity, Workload, WorkloadId};

pub(super) fn encode(workload: &Workload) -> proto::Workload {
    let Workload {
        name: _,
        id: WorkloadId { namespace, name },
        peer,
        locality,
        labels,
    } = workload;
    proto::Workload {
        namespace: namespace.to_proto(),
        name: name.to_proto(),
        peer: Some(peer.to_proto()),
        locality: Some(locality.to_proto()),
        labels: labels.to_proto(),
    }
}

pub(super) fn decode(address: WorkloadName, proto: proto::Workload) -> Result<Workload> {
    let proto::Workload {
        namespace,
        name,
        peer,
        locality,
        labels,
    } = proto;
    Ok(Workload {
        name: address,
        id: WorkloadId {
            namespace: id_part("namespace", namespace)?,
            name: id_part("name", name)?,
        },
        peer: required("peer", peer)?,
        locality: required("locality", locality)?,
        labels: Labels::from_proto(labels)?,
    })
}

/// NAMESPACE and NAME are joined by a slash, so neither may contain one.
fn id_part(field: &'static str, text: String) -> Result<std::sync::Arc<str>> {
    if text.contains('/') {
        return Err(Invalid::at(field, "it must not contain a slash"));
    }
    non_empty(field, text)
}

impl Wire for Labels {
    type Proto = std::collections::BTreeMap<String, String>;

    fn to_proto(&self) -> Self::Proto {
        self.iter()
            .map(|(key, value)| (key.to_proto(), value.to_proto()))
            .collect()
    }

    fn from_proto(proto: Self::Proto) -> Result<Self> {
        Ok(proto
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect())
    }
}

impl Wire for Locality {
    type Proto = proto::Locality;

    fn to_proto(&self) -> proto::Locality {
        let Self {
            region,
            zone,
            subzone,
        } = self;
        proto::Locality {
            region: region.to_proto(),
            zone: zone.to_proto(),
            subzone: subzone.to_proto(),
        }
    }

    fn from_proto(proto: proto::Locality) -> Result<Self> {
        let proto::Locality {
            region,
            zone,
            subzone,
        } = proto;
        Ok(Self {
            region: region.into(),
            zone: zone.into(),
            subzone: subzone.into(),
        })
    }
}

impl Wire for Peer {
    type Proto = proto::Peer;

    fn to_proto(&self) -> proto::Peer {
        let Self {
            workload,
            namespace,
            service_account,
            app,
            version,
            cluster,
            canonical_service,
            canonical_revision,
        } = self;
        proto::Peer {
            workload: workload.to_proto(),
            namespace: namespace.to_proto(),
            service_account: service_account.to_proto(),
            app: app.to_proto(),
            version: version.to_proto(),
            cluster: cluster.to_proto(),
            canonical_service: canonical_service.to_proto(),
            canonical_revision: canonical_revision.to_proto(),
        }
    }

    fn from_proto(proto: proto::Peer) -> Result<Self> {
        let proto::Peer {
            workload,
            namespace,
            service_account,
            app,
            version,
            cluster,
            canonical_service,
            canonical_revision,
        } = proto;
        Ok(Self {
            workload: workload.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
            app: app.into(),
            version: version.into(),
            cluster: cluster.into(),
            canonical_service: canonical_service.into(),
            canonical_revision: canonical_revision.into(),
        })
    }
}

impl Wire for ServiceIdentity {
    type Proto = proto::ServiceIdentity;

    fn to_proto(&self) -> proto::ServiceIdentity {
        let Self {
            host,
            name,
            namespace,
        } = self;
        proto::ServiceIdentity {
            host: host.to_proto(),
            name: name.to_proto(),
            namespace: namespace.to_proto(),
        }
    }

    fn from_proto(proto: proto::ServiceIdentity) -> Result<Self> {
        let proto::ServiceIdentity {
            host,
            name,
            namespace,
        } = proto;
        Ok(Self {
            host: host.into(),
            name: name.into(),
            namespace: namespace.into(),
        })
    }
}
