//! What an object that cannot be read still asks for: an object that asks for what restricts, as
//! far as that can be read or guessed, and for nothing else.
//!
//! Whoever writes a mistake beside `tls: {mode: ISTIO_MUTUAL}` wants no plaintext meanwhile, and
//! whoever writes one beside `REGISTRY_ONLY` does not want everything open. Where it cannot be
//! read how much is asked for, more is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::envelope::Envelope;
use crate::Kind;
use crate::destination_rule::{
    ClientTlsMode, ClientTlsSettings, DestinationRuleSpec, PortTrafficPolicy, Subset, TrafficPolicy,
};
use crate::meta::ObjectMeta;
use crate::object::{Object, Resource};
use crate::selector::{WorkloadLabels, WorkloadSelector};
use crate::sidecar::{EgressListener, OutboundTrafficMode, OutboundTrafficPolicy, SidecarSpec};
use crate::virtual_service::PortSelector;

/// The object that stands in for one that cannot be read; `None` if that restricts nothing.
pub(super) fn of(kind: Kind, envelope: &Envelope) -> Option<Object> {
    let spec = &envelope.spec;
    let meta = ObjectMeta {
        stands_in: true,
        ..envelope.meta.clone()
    };
    let key = envelope.key.clone();
    match kind {
        Kind::DestinationRule => {
            let spec = destination_rule(spec)?;
            let resource = Resource { key, meta, spec };
            Some(Object::DestinationRule(Arc::new(resource)))
        }
        Kind::Sidecar => {
            let spec = sidecar(spec)?;
            let resource = Resource { key, meta, spec };
            Some(Object::Sidecar(Arc::new(resource)))
        }
        Kind::VirtualService
        | Kind::Gateway
        | Kind::ServiceEntry
        | Kind::WorkloadEntry
        | Kind::WorkloadGroup
        | Kind::ProxyConfig
        | Kind::EnvoyFilter
        | Kind::PeerAuthentication
        | Kind::RequestAuthentication
        | Kind::AuthorizationPolicy
        | Kind::Telemetry
        | Kind::WasmPlugin
        | Kind::TrafficExtension
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Pod
        | Kind::Namespace
        | Kind::Node => None,
    }
}

/// A rule with the TLS the written one asks for, in the places where it does.
fn destination_rule(spec: &Value) -> Option<DestinationRuleSpec> {
    let host = spec.get("host")?.as_str()?.to_owned();
    let mut traffic_policy = spec.get("trafficPolicy").and_then(policy);
    let mut subsets = Vec::new();
    for subset in items(spec.get("subsets")) {
        let name = subset.get("name").and_then(Value::as_str);
        let policy = subset.get("trafficPolicy").and_then(policy);
        if let (Some(name), Some(policy)) = (name, policy) {
            subsets.push(Subset {
                name: name.to_owned(),
                labels: texts(subset.get("labels")),
                traffic_policy: Some(policy),
            });
        }
    }
    // A mode that stands where none belongs was meant for something.
    if traffic_policy.is_none() && subsets.is_empty() {
        if !asks_for_tls(spec) {
            return None;
        }
        traffic_policy = Some(TrafficPolicy {
            tls: Some(mutual()),
            ..TrafficPolicy::default()
        });
    }
    Some(DestinationRuleSpec {
        host,
        traffic_policy,
        subsets,
        export_to: list(spec.get("exportTo")),
        workload_selector: spec
            .get("workloadSelector")
            .and_then(|selector| selector.get("matchLabels"))
            .map(|labels| WorkloadSelector {
                match_labels: texts(Some(labels)),
            }),
    })
}

/// The TLS of a policy; `None` if it asks for none.
fn policy(written: &Value) -> Option<TrafficPolicy> {
    if !written.is_object() {
        // Nobody can say what it asks for.
        return (!written.is_null()).then(|| TrafficPolicy {
            tls: Some(mutual()),
            ..TrafficPolicy::default()
        });
    }
    let tls = written.get("tls").and_then(tls);
    let ports: Vec<PortTrafficPolicy> = items(written.get("portLevelSettings"))
        .filter_map(|entry| {
            let number = entry.pointer("/port/number").and_then(Value::as_u64);
            let number = number.and_then(|number| u16::try_from(number).ok());
            Some(PortTrafficPolicy {
                port: number.map(|number| PortSelector { number }),
                tls: Some(entry.get("tls").and_then(self::tls)?),
                ..PortTrafficPolicy::default()
            })
        })
        .collect();
    // Of a port that cannot be read it may be any.
    let any = ports.iter().find(|one| one.port.is_none());
    let tls = tls.or_else(|| any.and_then(|one| one.tls.clone()));
    (tls.is_some() || !ports.is_empty()).then(|| TrafficPolicy {
        tls,
        port_level_settings: ports,
        ..TrafficPolicy::default()
    })
}

/// The TLS a block asks for; `None` if it asks for plaintext.
fn tls(written: &Value) -> Option<ClientTlsSettings> {
    if written.is_null() {
        return None;
    }
    let mode = match written.get("mode") {
        None if written.is_object() => ClientTlsMode::Disable,
        None => ClientTlsMode::IstioMutual,
        Some(mode) => serde_json::from_value(mode.clone()).unwrap_or(ClientTlsMode::IstioMutual),
    };
    (mode != ClientTlsMode::Disable).then(|| ClientTlsSettings {
        mode,
        ..ClientTlsSettings::default()
    })
}

fn mutual() -> ClientTlsSettings {
    ClientTlsSettings {
        mode: ClientTlsMode::IstioMutual,
        ..ClientTlsSettings::default()
    }
}

/// Whether a key `mode` anywhere has a value that asks for TLS.
fn asks_for_tls(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let mode = || serde_json::from_value(value.clone());
            let asks = name == "mode"
                && mode().is_ok_and(|mode: ClientTlsMode| mode != ClientTlsMode::Disable);
            asks || asks_for_tls(value)
        }),
        Value::Array(items) => items.iter().any(asks_for_tls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A `Sidecar` that leaves no more open than the written one asks for.
fn sidecar(spec: &Value) -> Option<SidecarSpec> {
    let outbound = spec.get("outboundTrafficPolicy");
    let outbound = outbound.filter(|policy| !policy.is_null());
    let open = outbound
        .is_none_or(|policy| policy.get("mode").and_then(Value::as_str) == Some("ALLOW_ANY"));
    // The word stands for itself wherever it was put.
    let closed = !open || spec.to_string().contains("REGISTRY_ONLY");
    let egress: Vec<&Value> = items(spec.get("egress")).collect();
    if !closed && egress.is_empty() {
        return None;
    }
    let hosts = egress.iter().flat_map(|one| list(one.get("hosts")));
    let mut hosts: Vec<String> = hosts.filter(|host| host.contains('/')).collect();
    if hosts.is_empty() {
        hosts.push("~/*".to_owned());
    }
    let labels = spec
        .get("workloadSelector")
        .and_then(|selector| selector.get("labels"));
    Some(SidecarSpec {
        workload_selector: labels.map(|labels| WorkloadLabels {
            labels: texts(Some(labels)),
        }),
        egress: if egress.is_empty() {
            Vec::new()
        } else {
            vec![EgressListener {
                hosts,
                ..EgressListener::default()
            }]
        },
        outbound_traffic_policy: closed.then(|| OutboundTrafficPolicy {
            mode: OutboundTrafficMode::RegistryOnly,
            ..OutboundTrafficPolicy::default()
        }),
        ..SidecarSpec::default()
    })
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn list(value: Option<&Value>) -> Vec<String> {
    let texts = items(value).filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn texts(value: Option<&Value>) -> BTreeMap<String, String> {
    let fields = value.and_then(Value::as_object).into_iter().flatten();
    fields
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}
