//! What is kept of the objects of each resource.

use super::{Keep, Shape};

/// Annotations that repeat the whole object, or change when it does not.
const ANNOTATIONS: Keep = Keep::Without(&[
    "kubectl.kubernetes.io/last-applied-configuration",
    "endpoints.kubernetes.io/last-change-trigger-time",
]);

const METADATA: Keep = Keep::Fields(&[
    ("name", &Keep::All),
    ("namespace", &Keep::All),
    ("labels", &Keep::All),
    ("annotations", &ANNOTATIONS),
    ("creationTimestamp", &Keep::All),
    ("deletionTimestamp", &Keep::All),
    ("generation", &Keep::All),
    ("resourceVersion", &Keep::All),
]);

/// The mesh's own kinds.
#[derive(Clone, Debug)]
pub(in super::super) struct Mesh;

impl Shape for Mesh {
    const KEEP: &'static Keep = &Keep::Fields(&[("metadata", &METADATA), ("spec", &Keep::All)]);
}

/// Pods.
#[derive(Clone, Debug)]
pub(in super::super) struct Pods;

impl Shape for Pods {
    const KEEP: &'static Keep = &Keep::Fields(&[
        ("metadata", &POD_METADATA),
        ("spec", &POD_SPEC),
        ("status", &POD_STATUS),
    ]);
}

const POD_METADATA: Keep = Keep::Fields(&[
    ("name", &Keep::All),
    ("namespace", &Keep::All),
    ("uid", &Keep::All),
    ("labels", &Keep::All),
    ("creationTimestamp", &Keep::All),
    ("deletionTimestamp", &Keep::All),
    ("resourceVersion", &Keep::All),
    ("ownerReferences", &Keep::All),
]);

const POD_SPEC: Keep = Keep::Fields(&[
    ("nodeName", &Keep::All),
    ("serviceAccountName", &Keep::All),
    ("hostNetwork", &Keep::All),
    ("containers", &Keep::Each(&CONTAINER)),
    ("initContainers", &Keep::Each(&CONTAINER)),
]);

const CONTAINER: Keep = Keep::Fields(&[
    ("name", &Keep::All),
    ("restartPolicy", &Keep::All),
    ("ports", &Keep::Each(&CONTAINER_PORT)),
]);

const CONTAINER_PORT: Keep = Keep::Fields(&[
    ("name", &Keep::All),
    ("containerPort", &Keep::All),
    ("protocol", &Keep::All),
]);

const POD_STATUS: Keep = Keep::Fields(&[
    ("phase", &Keep::All),
    ("podIP", &Keep::All),
    ("podIPs", &Keep::Each(&IP)),
    ("conditions", &Keep::Each(&CONDITION)),
]);

const IP: Keep = Keep::Fields(&[("ip", &Keep::All)]);

const CONDITION: Keep = Keep::Fields(&[("type", &Keep::All), ("status", &Keep::All)]);

/// Services.
#[derive(Clone, Debug)]
pub(in super::super) struct Services;

impl Shape for Services {
    const KEEP: &'static Keep = &Keep::Fields(&[("metadata", &METADATA), ("spec", &SERVICE_SPEC)]);
}

const SERVICE_SPEC: Keep = Keep::Fields(&[
    ("type", &Keep::All),
    ("clusterIP", &Keep::All),
    ("clusterIPs", &Keep::All),
    ("externalName", &Keep::All),
    ("selector", &Keep::All),
    ("publishNotReadyAddresses", &Keep::All),
    ("trafficDistribution", &Keep::All),
    ("sessionAffinity", &Keep::All),
    ("internalTrafficPolicy", &Keep::All),
    ("ports", &Keep::Each(&SERVICE_PORT)),
]);

const SERVICE_PORT: Keep = Keep::Fields(&[
    ("name", &Keep::All),
    ("port", &Keep::All),
    ("targetPort", &Keep::All),
    ("protocol", &Keep::All),
    ("appProtocol", &Keep::All),
]);

/// EndpointSlices.
#[derive(Clone, Debug)]
pub(in super::super) struct Slices;

impl Shape for Slices {
    const KEEP: &'static Keep = &Keep::Fields(&[
        ("metadata", &METADATA),
        ("addressType", &Keep::All),
        ("endpoints", &Keep::Each(&ENDPOINT)),
        ("ports", &Keep::Each(&ENDPOINT_PORT)),
    ]);
}

const ENDPOINT: Keep = Keep::Fields(&[
    ("addresses", &Keep::All),
    ("conditions", &CONDITIONS),
    ("targetRef", &TARGET),
    ("hostname", &Keep::All),
    ("nodeName", &Keep::All),
    ("zone", &Keep::All),
]);

const CONDITIONS: Keep = Keep::Fields(&[
    ("ready", &Keep::All),
    ("serving", &Keep::All),
    ("terminating", &Keep::All),
]);

const TARGET: Keep = Keep::Fields(&[
    ("kind", &Keep::All),
    ("namespace", &Keep::All),
    ("name", &Keep::All),
]);

const ENDPOINT_PORT: Keep = Keep::Fields(&[
    ("name", &Keep::All),
    ("port", &Keep::All),
    ("protocol", &Keep::All),
    ("appProtocol", &Keep::All),
]);

/// Namespaces.
#[derive(Clone, Debug)]
pub(in super::super) struct Namespaces;

impl Shape for Namespaces {
    const KEEP: &'static Keep = &Keep::Fields(&[
        ("metadata", &METADATA),
        ("status", &Keep::Fields(&[("phase", &Keep::All)])),
    ]);
}

/// Nodes.
#[derive(Clone, Debug)]
pub(in super::super) struct Nodes;

impl Shape for Nodes {
    const KEEP: &'static Keep = &Keep::Fields(&[("metadata", &NODE_METADATA)]);
}

const NODE_METADATA: Keep = Keep::Fields(&[
    ("name", &Keep::All),
    ("resourceVersion", &Keep::All),
    ("labels", &TOPOLOGY),
]);

const TOPOLOGY: Keep = Keep::Fields(&[
    ("topology.kubernetes.io/region", &Keep::All),
    ("topology.kubernetes.io/zone", &Keep::All),
    ("topology.istio.io/subzone", &Keep::All),
]);

/// ConfigMaps and Secrets.
#[derive(Clone, Debug)]
pub(in super::super) struct Data;

impl Shape for Data {
    const KEEP: &'static Keep =
        &Keep::Fields(&[("metadata", &DATA_METADATA), ("data", &Keep::All)]);
}

const DATA_METADATA: Keep = Keep::Fields(&[
    ("name", &Keep::All),
    ("namespace", &Keep::All),
    ("uid", &Keep::All),
    ("resourceVersion", &Keep::All),
]);
