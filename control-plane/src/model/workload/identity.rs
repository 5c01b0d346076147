//! What telemetry calls a workload: its own name, its canonical service, where it runs.

use std::sync::Arc;

use mesh_api::workload::{Labels, Locality, Peer};

/// The facts a [`Peer`] is made of.
#[derive(Clone, Debug)]
pub struct PeerFacts<'a> {
    /// The Deployment or other owner, or the workload itself.
    pub workload: &'a str,
    /// Its namespace.
    pub namespace: &'a Arc<str>,
    /// Its service account.
    pub service_account: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
    /// The cluster it runs in.
    pub cluster: &'a Arc<str>,
}

impl PeerFacts<'_> {
    /// The peer, with its canonical names.
    pub fn peer(&self) -> Peer {
        let label = |keys: &[&str]| {
            keys.iter()
                .find_map(|key| self.labels.get(*key).filter(|value| !value.is_empty()))
                .cloned()
        };
        let workload: Arc<str> = Arc::from(self.workload);
        Peer {
            namespace: Arc::clone(self.namespace),
            service_account: Arc::from(self.service_account),
            app: label(&["app"]).unwrap_or_default(),
            version: label(&["version"]).unwrap_or_default(),
            cluster: Arc::clone(self.cluster),
            canonical_service: label(&[
                "service.istio.io/canonical-name",
                "app.kubernetes.io/name",
                "app",
            ])
            .unwrap_or_else(|| Arc::clone(&workload)),
            canonical_revision: label(&[
                "service.istio.io/canonical-revision",
                "app.kubernetes.io/version",
                "version",
            ])
            .unwrap_or_else(|| Arc::from("latest")),
            workload,
        }
    }
}

/// The locality in `REGION/ZONE/SUBZONE`; parts may be missing.
pub fn parse_locality(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(Arc::from);
    Locality {
        region: parts.next().unwrap_or_default(),
        zone: parts.next().unwrap_or_default(),
        subzone: parts.next().unwrap_or_default(),
    }
}

/// The locality of a workload: what its override label says (dots stand for slashes, which labels
/// cannot hold), else that of its node, else what its topology labels say.
pub fn locality_of_labels(labels: &Labels, node: Option<&Locality>) -> Locality {
    let overriding = ["topology.istio.io/locality", "istio-locality"]
        .iter()
        .find_map(|key| labels.get(*key).filter(|value| !value.is_empty()));
    if let Some(text) = overriding {
        // A region with dots is written with slashes already.
        return if text.contains('/') {
            parse_locality(text)
        } else {
            parse_locality(&text.replace('.', "/"))
        };
    }
    if let Some(node) = node
        && *node != Locality::default()
    {
        return node.clone();
    }
    topology(|key| labels.get(key).map(|value| &**value))
}

/// The locality that topology labels tell, of a workload or a node.
pub fn topology<'a>(find: impl Fn(&str) -> Option<&'a str>) -> Locality {
    let label = |key: &str| Arc::from(find(key).unwrap_or_default());
    Locality {
        region: label("topology.kubernetes.io/region"),
        zone: label("topology.kubernetes.io/zone"),
        subzone: label("topology.istio.io/subzone"),
    }
}

/// Whether the proxy of a workload with these labels speaks mesh TLS.
pub fn speaks_mesh_tls(labels: &Labels) -> bool {
    labels
        .get("security.istio.io/tlsMode")
        .is_some_and(|mode| &**mode == "istio")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| (Arc::from(*key), Arc::from(*value)))
            .collect()
    }

    #[test]
    fn canonical_names_fall_back() {
        let peer = |pairs: &[(&str, &str)]| {
            PeerFacts {
                workload: "backend-v1",
                namespace: &Arc::from("shop"),
                service_account: "sa",
                labels: &labels(pairs),
                cluster: &Arc::from("Kubernetes"),
            }
            .peer()
        };
        let bare = peer(&[]);
        assert_eq!(&*bare.canonical_service, "backend-v1");
        assert_eq!(&*bare.canonical_revision, "latest");
        let named = peer(&[
            ("app", "backend"),
            ("version", "v1"),
            ("app.kubernetes.io/name", "be"),
        ]);
        assert_eq!(&*named.canonical_service, "be");
        assert_eq!(&*named.canonical_revision, "v1");
        assert_eq!(&*named.app, "backend");
    }

    #[test]
    fn localities() {
        let node = parse_locality("us/b");
        let of = |pairs: &[(&str, &str)]| locality_of_labels(&labels(pairs), None);
        let on_node = |pairs: &[(&str, &str)]| locality_of_labels(&labels(pairs), Some(&node));
        let overridden = [("istio-locality", "eu.a.1")];
        assert_eq!(of(&overridden), parse_locality("eu/a/1"));
        assert_eq!(on_node(&overridden), parse_locality("eu/a/1"));
        let labelled = [("topology.kubernetes.io/region", "eu")];
        assert_eq!(of(&labelled), parse_locality("eu"));
        assert_eq!(on_node(&labelled), node);
        // A node that does not say where it is leaves it to the pod.
        let silent = Locality::default();
        let on_silent = locality_of_labels(&labels(&labelled), Some(&silent));
        assert_eq!(on_silent, parse_locality("eu"));
    }
}
