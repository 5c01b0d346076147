//! Conditions of a match that the client alone decides, so that they never reach a proxy.

use std::collections::{BTreeMap, BTreeSet};

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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions<'a> {
    gateways: &'a [String],
    port: Option<u16>,
    source_labels: &'a BTreeMap<String, String>,
    source_namespace: Option<&'a str>,
}

impl Conditions<'_> {
    /// Whether they let some clients only come here, or those of some gateways.
    pub(crate) fn chooses_clients(&self) -> bool {
        !self.gateways.is_empty()
            || !self.source_labels.is_empty()
            || self.source_namespace.is_some()
    }
}

impl<'a> From<&'a HttpMatchRequest> for Conditions<'a> {
    fn from(one: &'a HttpMatchRequest) -> Self {
        Self {
            gateways: &one.gateways,
            port: one.port,
            source_labels: &one.source_labels,
            source_namespace: one.source_namespace.as_deref(),
        }
    }
}

impl<'a> From<&'a TlsMatchAttributes> for Conditions<'a> {
    fn from(one: &'a TlsMatchAttributes) -> Self {
        Self {
            gateways: &one.gateways,
            port: one.port,
            source_labels: &one.source_labels,
            source_namespace: one.source_namespace.as_deref(),
        }
    }
}

impl<'a> From<&'a L4MatchAttributes> for Conditions<'a> {
    fn from(one: &'a L4MatchAttributes) -> Self {
        Self {
            gateways: &one.gateways,
            port: one.port,
            source_labels: &one.source_labels,
            source_namespace: one.source_namespace.as_deref(),
        }
    }
}

/// The clients a match is for: the static conditions, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statics {
    /// `mesh`, and gateways as `NAMESPACE/NAME`.
    gateways: BTreeSet<String>,
    port: Option<u16>,
    source_labels: BTreeMap<String, String>,
    source_namespace: Option<String>,
}

impl Statics {
    /// The clients of a route without a match.
    pub(super) fn of_all(object: &Resource<VirtualServiceSpec>) -> Self {
        Self::of(object, &HttpMatchRequest::default())
    }

    /// The clients of a match.
    pub(super) fn of<'a>(
        object: &Resource<VirtualServiceSpec>,
        one: impl Into<Conditions<'a>>,
    ) -> Self {
        let one: Conditions<'a> = one.into();
        let namespace = object.namespace();
        let full = |list: &[String]| -> BTreeSet<String> {
            let full = list.iter().map(|name| match name.as_str() {
                MESH => MESH.to_owned(),
                name => names_gateway(name, namespace),
            });
            full.collect()
        };
        // Gateways of a match decide alone, as in `takes`.
        let alone = !one.gateways.is_empty();
        let gateways = if alone {
            full(one.gateways)
        } else if object.spec.gateways.is_empty() {
            BTreeSet::from([MESH.to_owned()])
        } else {
            full(&object.spec.gateways)
        };
        Self {
            gateways,
            port: one.port,
            source_labels: if alone {
                BTreeMap::new()
            } else {
                one.source_labels.clone()
            },
            source_namespace: one.source_namespace.filter(|_| !alone).map(str::to_owned),
        }
    }

    /// Whether any of these clients comes this way.
    pub(super) fn come(&self, via: &Via<'_>) -> bool {
        self.gateways.contains(via.gateway.unwrap_or(MESH))
    }

    /// Whether all clients of another match are among these.
    pub(super) fn include(&self, other: &Self) -> bool {
        self.gateways.is_superset(&other.gateways) && self.include_clients(other)
    }

    /// The same of clients that come one way, through whichever gateway.
    pub(super) fn include_clients(&self, other: &Self) -> bool {
        let mut labels = self.source_labels.iter();
        self.port.is_none_or(|port| other.port == Some(port))
            && labels.all(|(key, value)| other.source_labels.get(key) == Some(value))
            && (self.source_namespace.is_none() || self.source_namespace == other.source_namespace)
    }
}

impl Via<'_> {
    /// Whether a virtual service is for this kind of proxy in any of its matches.
    pub(crate) fn applies_at_all(&self, object: &Resource<VirtualServiceSpec>) -> bool {
        let mut of_matches = gateways_of_matches(&object.spec);
        self.listed(&object.spec.gateways, object.namespace())
            || of_matches.any(|list| !list.is_empty() && self.listed(list, object.namespace()))
    }

    /// Whether a route without a match is for this client.
    pub(crate) fn takes_all(&self, object: &Resource<VirtualServiceSpec>) -> bool {
        self.listed(&object.spec.gateways, object.namespace())
    }

    /// Whether a match is for this client.
    pub(crate) fn takes<'a>(
        &self,
        client: &Client,
        object: &Resource<VirtualServiceSpec>,
        one: impl Into<Conditions<'a>>,
    ) -> bool {
        let conditions: Conditions<'a> = one.into();
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

/// The gateways each match of a virtual service names, whatever it is for.
pub(crate) fn gateways_of_matches(spec: &VirtualServiceSpec) -> impl Iterator<Item = &Vec<String>> {
    let http = spec.http.iter().flat_map(|route| &route.matches);
    let tls = spec.tls.iter().flat_map(|route| &route.matches);
    let tcp = spec.tcp.iter().flat_map(|route| &route.matches);
    http.map(|one| &one.gateways)
        .chain(tls.map(|one| &one.gateways))
        .chain(tcp.map(|one| &one.gateways))
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
