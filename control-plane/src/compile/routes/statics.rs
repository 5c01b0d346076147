//! Conditions of a match that the client alone decides, so that they never reach a proxy.

use std::collections::BTreeMap;

use mesh_api::units::Port;

use crate::compile::scope::Client;
use crate::crd::object::Resource;
use crate::crd::virtual_service::{
    HttpMatchRequest, L4MatchAttributes, TlsMatchAttributes, VirtualServiceSpec,
};
use crate::model::workload::{pairs, selects};

/// The name that stands for all sidecars.
const MESH: &str = "mesh";

/// The way a request takes: through which proxy, to which port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Via<'a> {
    /// `NAMESPACE/NAME` of the gateway; `None` at a sidecar.
    pub(crate) gateway: Option<&'a str>,
    /// The service port; at a gateway the port of its Service.
    pub(crate) port: Port,
}

/// The static conditions of one match.
struct Conditions<'a> {
    gateways: &'a [String],
    port: Option<u16>,
    source_labels: &'a BTreeMap<String, String>,
    source_namespace: Option<&'a str>,
}

impl Via<'_> {
    /// Whether a virtual service is for this kind of proxy in any of its matches.
    pub(crate) fn applies_at_all(&self, object: &Resource<VirtualServiceSpec>) -> bool {
        let spec = &object.spec;
        let http = spec.http.iter().flat_map(|route| &route.matches);
        let tls = spec.tls.iter().flat_map(|route| &route.matches);
        let tcp = spec.tcp.iter().flat_map(|route| &route.matches);
        self.listed(&spec.gateways, object.namespace())
            || http
                .map(|one| &one.gateways)
                .chain(tls.map(|one| &one.gateways))
                .chain(tcp.map(|one| &one.gateways))
                .any(|list| !list.is_empty() && self.listed(list, object.namespace()))
    }

    /// Whether a route without a match is for this client.
    pub(crate) fn takes_all(&self, object: &Resource<VirtualServiceSpec>) -> bool {
        self.listed(&object.spec.gateways, object.namespace())
    }

    /// Whether an HTTP match is for this client.
    pub(crate) fn takes_http(
        &self,
        client: &Client,
        object: &Resource<VirtualServiceSpec>,
        one: &HttpMatchRequest,
    ) -> bool {
        self.takes(
            client,
            object,
            &Conditions {
                gateways: &one.gateways,
                port: one.port,
                source_labels: &one.source_labels,
                source_namespace: one.source_namespace.as_deref(),
            },
        )
    }

    /// Whether a TLS match is for this client.
    pub(crate) fn takes_tls(
        &self,
        client: &Client,
        object: &Resource<VirtualServiceSpec>,
        one: &TlsMatchAttributes,
    ) -> bool {
        self.takes(
            client,
            object,
            &Conditions {
                gateways: &one.gateways,
                port: one.port,
                source_labels: &one.source_labels,
                source_namespace: one.source_namespace.as_deref(),
            },
        )
    }

    /// Whether a TCP match is for this client.
    pub(crate) fn takes_tcp(
        &self,
        client: &Client,
        object: &Resource<VirtualServiceSpec>,
        one: &L4MatchAttributes,
    ) -> bool {
        self.takes(
            client,
            object,
            &Conditions {
                gateways: &one.gateways,
                port: one.port,
                source_labels: &one.source_labels,
                source_namespace: one.source_namespace.as_deref(),
            },
        )
    }

    fn takes(
        &self,
        client: &Client,
        object: &Resource<VirtualServiceSpec>,
        conditions: &Conditions<'_>,
    ) -> bool {
        let port = conditions.port.is_none_or(|port| port == self.port.value());
        if !conditions.gateways.is_empty() {
            // Gateways of a match decide alone; the client's labels are not looked at.
            return port && self.listed(conditions.gateways, object.namespace());
        }
        port && self.listed(&object.spec.gateways, object.namespace())
            && selects(pairs(conditions.source_labels), &client.labels)
            && conditions
                .source_namespace
                .is_none_or(|namespace| namespace == &*client.namespace)
    }

    fn listed(&self, gateways: &[String], namespace: &str) -> bool {
        match self.gateway {
            None => gateways.is_empty() || gateways.iter().any(|name| name == MESH),
            Some(wanted) => gateways
                .iter()
                .any(|name| name != MESH && names_gateway(name, namespace) == wanted),
        }
    }
}

/// `NAMESPACE/NAME` of the gateway a virtual service of `namespace` names.
pub(crate) fn names_gateway(written: &str, namespace: &str) -> String {
    if let Some(name) = written.strip_prefix("./") {
        return format!("{namespace}/{name}");
    }
    if written.contains('/') {
        return written.to_owned();
    }
    // The form of old: name.namespace.svc.domain.
    let mut parts = written.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(other), Some("svc")) => format!("{other}/{name}"),
        _ => format!("{namespace}/{written}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_names() {
        for (written, full) in [
            ("shop", "a/shop"),
            ("./shop", "a/shop"),
            ("b/shop", "b/shop"),
            ("shop.b.svc.cluster.local", "b/shop"),
        ] {
            assert_eq!(names_gateway(written, "a"), full);
        }
    }
}
