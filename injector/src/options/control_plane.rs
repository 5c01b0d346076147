//! Where the proxy finds its control plane, in pods that ask the cluster's DNS and in those that do
//! not.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::Reading;
use crate::draft::{Draft, text};
use crate::refusal::Refusal;

const ADDRESS: &str = "sidecar.istio.io/discoveryAddress";
const PORT: u16 = 15012;

/// Where the proxy finds its control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlPlane {
    /// Host and port.
    address: String,
    /// The addresses of that host, for a pod whose DNS does not know it.
    known: Vec<IpAddr>,
}

impl ControlPlane {
    /// Reads what applies to a pod.
    pub(super) fn read(reading: &mut Reading<'_>, draft: &Draft) -> Result<Self, Refusal> {
        let annotation = reading.annotation(ADDRESS);
        let chosen = annotation.or(reading.proxy_config.discovery_address.as_deref());
        let Some(chosen) = chosen.filter(|address| !address.is_empty()) else {
            return Self::of_this_cluster(reading, draft);
        };
        let fine = chosen.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && port.parse::<u16>().is_ok()
                && !host.contains(|c: char| c.is_whitespace() || "/\\$@".contains(c))
        });
        if !fine {
            let expected = "write HOST:PORT, such as istiod.istio-system.svc:15012";
            return Err(Refusal::annotation(ADDRESS, chosen, expected));
        }
        Ok(Self {
            address: chosen.to_owned(),
            known: Vec::new(),
        })
    }

    /// The Service of this cluster's control plane. A pod whose DNS is not the cluster's does not
    /// find it by name, so it is given its addresses.
    fn of_this_cluster(reading: &mut Reading<'_>, draft: &Draft) -> Result<Self, Refusal> {
        let host = reading.configuration.control_plane_host();
        let policy = draft.spec.get("dnsPolicy").and_then(Value::as_str);
        let known = match policy {
            Some("Default" | "None") => reading.configuration.control_plane_at.clone(),
            _ => Vec::new(),
        };
        match policy {
            Some("Default") if known.is_empty() => {
                return Err(Refusal::new(format!(
                    "dnsPolicy Default: the proxy would ask the node's DNS for {host}, which does \
                     not know it, and the addresses of that Service are not known here (yet). Use \
                     dnsPolicy ClusterFirst, or annotate {ADDRESS} with a host that this DNS knows"
                )));
            }
            Some("None") if known.is_empty() => reading.warn(format!(
                "dnsPolicy None: the proxy starts only if the servers in dnsConfig know {host}"
            )),
            _ => {}
        }
        Ok(Self {
            address: format!("{host}:{PORT}"),
            known,
        })
    }

    /// The URL for the proxy.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Entries of `hostAliases` for the pod.
    pub(crate) fn aliases(&self) -> Vec<Value> {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let alias = |ip: &IpAddr| json!({ "ip": ip.to_string(), "hostnames": [host] });
        self.known.iter().map(alias).collect()
    }
}

/// The addresses in a Service: none while it has none, or of a headless one.
pub(crate) fn addresses(service: &Value) -> Vec<IpAddr> {
    let none = Value::Null;
    let spec = service.get("spec").unwrap_or(&none);
    let all = spec.get("clusterIPs").and_then(Value::as_array);
    let all = all.into_iter().flatten().filter_map(Value::as_str);
    let mut addresses: Vec<IpAddr> = all.filter_map(|ip| ip.parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(text(spec, "clusterIP").parse::<IpAddr>());
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{ClusterVersion, Configuration};
    use crate::{Home, Values};

    fn inject(policy: &str, known: &[&str]) -> Result<(Value, Vec<String>), Refusal> {
        let mut configuration = Configuration::new(
            Values::default(),
            mesh_api::mesh_config::MeshConfig::default(),
            ClusterVersion::CURRENT,
            Home::default(),
        );
        configuration.control_plane_at = known.iter().map(|ip| ip.parse().unwrap()).collect();
        let namespace = crate::Namespace {
            name: "shop".to_owned(),
            labels: [("istio-injection".to_owned(), "enabled".to_owned())].into(),
        };
        let pod = json!({ "spec": {
            "dnsPolicy": policy, "containers": [{ "name": "app", "image": "i" }],
            "hostAliases": [{ "ip": "10.1.1.1", "hostnames": ["other"] }],
        } });
        let outcome = crate::inject(&configuration, &namespace, None, &pod)?;
        let aliases = outcome.pod.pointer("/spec/hostAliases").cloned();
        Ok((aliases.unwrap_or_default(), outcome.warnings))
    }

    #[test]
    fn pods_that_do_not_ask_the_clusters_dns_know_the_control_plane() {
        let own = json!({ "ip": "10.1.1.1", "hostnames": ["other"] });
        let added = |ip: &str| json!({ "ip": ip, "hostnames": ["istiod.istio-system.svc"] });
        for policy in ["Default", "None"] {
            let (aliases, warnings) = inject(policy, &["10.96.3.4", "fd00::4"]).unwrap();
            let expected = json!([own, added("10.96.3.4"), added("fd00::4")]);
            assert_eq!((aliases, warnings), (expected, Vec::new()), "{policy}");
        }
        let (aliases, warnings) = inject("ClusterFirst", &["10.96.3.4"]).unwrap();
        assert_eq!((aliases, warnings), (json!([own]), Vec::new()));
    }

    #[test]
    fn without_an_address_they_are_refused_or_warned_by_the_hosts_name() {
        let refusal = inject("Default", &[]).unwrap_err().to_string();
        assert!(refusal.contains("istiod.istio-system.svc"), "{refusal}");
        let (_, warnings) = inject("None", &[]).unwrap();
        assert!(
            warnings[0].contains("istiod.istio-system.svc"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_services_addresses_are_those_it_has() {
        for (spec, expected) in [
            (
                json!({ "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"] }),
                2,
            ),
            (json!({ "clusterIP": "10.0.0.1" }), 1),
            (json!({ "clusterIP": "None", "clusterIPs": ["None"] }), 0),
            (json!({}), 0),
        ] {
            let found = addresses(&json!({ "spec": spec }));
            assert_eq!(found.len(), expected, "{found:?}");
        }
    }
}
