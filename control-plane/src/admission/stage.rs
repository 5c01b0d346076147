//! Puts an object on a stage: a small mesh made of it and of what it refers to, which is compiled
//! and analyzed as the real one would be. What is said about the object there holds anywhere.
//!
//! What could hide a setting is taken off first: an object nobody sees, routes for gateways that
//! do not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::analyze::analyze;
use crate::compile::diagnostics::codes;
use crate::compile::routes::statics::Conditions;
use crate::compile::{CaptureMode, Code, Diagnostic, ProxyRole, ProxyScope, compile};
use crate::crd::destination_rule::DestinationRuleSpec;
use crate::crd::object::Resource;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::crd::{Object, decode};
use crate::model::{Change, MeshSettings, World, host};

/// Findings that depend on the object alone.
const OWN: [Code; 8] = [
    codes::BAD_PATTERN,
    codes::NOT_ACTED_ON,
    codes::NOT_ENFORCEABLE,
    codes::TLS_NOT_ENFORCEABLE,
    codes::GATEWAY_REFUSED,
    codes::UNREACHABLE_ROUTE,
    codes::RESERVED_ADDRESS,
    codes::EXPRESSIONS_TOO_LARGE,
];
/// Name of the workload on the stage.
const ACTOR: &str = "mesh-admission-actor";
/// Most services that are put beside an object.
const MOST_SERVICES: usize = 64;
const HTTP: u16 = 80;

/// What is said about the object, each thing once, the first field first.
pub(super) fn findings(object: &Object, settings: &MeshSettings) -> Vec<Diagnostic> {
    let set = Set::of(object, settings);
    let key = object.key();
    let mut documents = vec![set.workload(&key.namespace)];
    documents.extend(set.services(&key.namespace, settings));
    let mut world = World::new(settings.clone());
    let beside = documents
        .into_iter()
        .filter_map(|document| decode(document).object().cloned());
    let all: Vec<Change> = beside.chain([set.object]).map(Change::Applied).collect();
    world.apply(all);
    let mut said: BTreeSet<Diagnostic> = analyze(&world).into_iter().collect();
    for role in [ProxyRole::Sidecar, ProxyRole::Gateway] {
        let workload = world
            .workloads()
            .find(|one| &*one.id.name == ACTOR)
            .map(Arc::clone);
        if let Some(workload) = workload {
            let scope = ProxyScope {
                role,
                capture: CaptureMode::OriginalDestination,
                workload,
            };
            said.extend(compile(&world, &scope).diagnostics().cloned());
        }
    }
    // On the stage there is one client for all, so who is left over for a route is not seen.
    let for_some = matches!(object, Object::VirtualService(one) if is_for_some_clients(&one.spec));
    let seen = |code: Code| OWN.contains(&code) && !(for_some && code == codes::UNREACHABLE_ROUTE);
    said.retain(|one| one.object.as_ref() == Some(key) && seen(one.code));
    without_the_vain(said)
}

/// What is refused for what it asks of one kind of proxy is not also named for asking it of the
/// other kind in vain: here nobody knows which the object is for.
fn without_the_vain(said: BTreeSet<Diagnostic>) -> Vec<Diagnostic> {
    let refused = said.iter().filter(|one| one.code == codes::NOT_ENFORCEABLE);
    let refused: Vec<String> = refused.map(|one| one.field.clone()).collect();
    let inside = |field: &str, outer: &String| {
        let rest = field.strip_prefix(outer.as_str());
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let is_vain = |one: &Diagnostic| {
        let mut outer = refused.iter();
        one.code == codes::NOT_ACTED_ON && outer.any(|outer| inside(&one.field, outer))
    };
    said.into_iter().filter(|one| !is_vain(one)).collect()
}

/// Whether routes of a virtual service are for some clients, or at some gateways, only.
fn is_for_some_clients(spec: &VirtualServiceSpec) -> bool {
    let http = spec.http.iter().flat_map(|route| &route.matches);
    let tcp = spec.tcp.iter().flat_map(|route| &route.matches);
    let tls = spec.tls.iter().flat_map(|route| &route.matches);
    let all = http.map(Conditions::from).chain(tcp.map(Conditions::from));
    let mut all = all.chain(tls.map(Conditions::from));
    all.any(|one| one.chooses_clients())
}

/// What stands on the stage.
struct Set {
    object: Object,
    labels: BTreeMap<String, String>,
    hosts: BTreeSet<String>,
    ports: BTreeSet<u16>,
}

impl Set {
    fn of(object: &Object, settings: &MeshSettings) -> Self {
        let mut set = Self {
            object: object.clone(),
            labels: BTreeMap::new(),
            hosts: BTreeSet::new(),
            ports: BTreeSet::from([HTTP]),
        };
        match object {
            Object::VirtualService(one) => set.virtual_service(one, settings),
            Object::DestinationRule(one) => set.destination_rule(one, settings),
            Object::Gateway(one) => {
                let mut shown = Resource::clone(one);
                if shown.spec.selector.is_empty() {
                    // It is for every gateway; so is one with the labels of one.
                    let label = ("istio".to_owned(), "ingressgateway".to_owned());
                    shown.spec.selector = BTreeMap::from([label]);
                }
                set.labels = shown.spec.selector.clone();
                set.object = Object::Gateway(Arc::new(shown));
            }
            Object::ServiceEntry(one) => {
                let mut shown = Resource::clone(one);
                shown.spec.export_to.clear();
                set.object = Object::ServiceEntry(Arc::new(shown));
            }
            Object::Sidecar(one) => {
                let selector = one.spec.workload_selector.as_ref();
                set.labels = selector.map_or_else(BTreeMap::new, |one| one.labels.clone());
            }
            Object::PeerAuthentication(one) => set.select(one.spec.selector.as_ref()),
            Object::RequestAuthentication(one) => set.select(one.spec.selector.as_ref()),
            Object::AuthorizationPolicy(one) => set.select(one.spec.selector.as_ref()),
            Object::WasmPlugin(one) => set.select(one.spec.selector.as_ref()),
            Object::TrafficExtension(one) => set.select(one.spec.selector.as_ref()),
            Object::EnvoyFilter(one) => {
                let selector = one.spec.workload_selector.as_ref();
                set.labels = selector.map_or_else(BTreeMap::new, |one| one.labels.clone());
            }
            Object::WorkloadEntry(_)
            | Object::WorkloadGroup(_)
            | Object::ProxyConfig(_)
            | Object::Telemetry(_)
            | Object::Service(_)
            | Object::EndpointSlice(_)
            | Object::Pod(_)
            | Object::Namespace(_)
            | Object::Node(_) => {}
        }
        set
    }

    fn select(&mut self, selector: Option<&crate::crd::selector::WorkloadSelector>) {
        self.labels = selector.map_or_else(BTreeMap::new, |one| one.match_labels.clone());
    }

    fn virtual_service(
        &mut self,
        one: &Arc<Resource<VirtualServiceSpec>>,
        settings: &MeshSettings,
    ) {
        let mut shown = Resource::clone(one);
        let spec = &mut shown.spec;
        spec.export_to.clear();
        spec.gateways.clear();
        if spec.hosts.is_empty() {
            spec.hosts = vec!["delegate.example".to_owned()];
        }
        for route in &mut spec.http {
            for one in &mut route.matches {
                one.gateways.clear();
                one.source_namespace = None;
                one.source_labels.clear();
            }
        }
        let destinations = spec.http.iter().flat_map(|route| &route.route);
        let destinations = destinations.map(|one| &one.destination);
        self.ports.extend(
            destinations
                .clone()
                .filter_map(|one| Some(one.port.as_ref()?.number)),
        );
        let hosts = destinations.map(|one| &one.host).chain(&spec.hosts);
        self.hosts = hosts
            .map(|host| {
                concrete(&host::resolve(
                    host,
                    &one.key.namespace,
                    &settings.cluster_domain,
                ))
            })
            .collect();
        self.object = Object::VirtualService(Arc::new(shown));
    }

    fn destination_rule(
        &mut self,
        one: &Arc<Resource<DestinationRuleSpec>>,
        settings: &MeshSettings,
    ) {
        let mut shown = Resource::clone(one);
        shown.spec.export_to.clear();
        self.select(shown.spec.workload_selector.as_ref());
        let subsets = shown.spec.subsets.iter();
        let policies = subsets.filter_map(|subset| subset.traffic_policy.as_ref());
        let policies = policies.chain(&shown.spec.traffic_policy);
        let entries = policies.flat_map(|policy| &policy.port_level_settings);
        self.ports
            .extend(entries.filter_map(|entry| Some(entry.port.as_ref()?.number)));
        let full = host::resolve(
            &shown.spec.host,
            &one.key.namespace,
            &settings.cluster_domain,
        );
        self.hosts = BTreeSet::from([concrete(&full)]);
        self.object = Object::DestinationRule(Arc::new(shown));
    }

    /// The workload the object is for.
    fn workload(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": ACTOR, "namespace": namespace, "labels": self.labels},
            "spec": {"containers": []},
            "status": {"podIP": "192.0.2.1", "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    /// The services it refers to.
    fn services(&self, namespace: &str, settings: &MeshSettings) -> impl Iterator<Item = Value> {
        let domain = Arc::clone(&settings.cluster_domain);
        let ports: Vec<Value> = self
            .ports
            .iter()
            .filter(|port| **port > 0)
            .map(|port| json!({"number": port, "name": format!("http-{port}"), "protocol": "HTTP"}))
            .collect();
        self.hosts
            .iter()
            .take(MOST_SERVICES)
            .enumerate()
            .map(move |(index, host)| {
                // Others' names are declared where they belong; elsewhere they would not count.
                let home = host::namespace_of(host, &domain).unwrap_or(namespace);
                json!({
                    "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
                    "metadata": {
                        "name": format!("mesh-admission-service-{index}"), "namespace": home,
                    },
                    "spec": {
                        "hosts": [host], "ports": ports, "resolution": "STATIC",
                        "endpoints": [{"address": "192.0.2.2"}],
                    },
                })
            })
    }
}

/// A host that a name with a wildcard stands for.
fn concrete(host: &str) -> String {
    match host.strip_prefix("*.") {
        Some(rest) => format!("any.{rest}"),
        None if host == "*" => "any.example".to_owned(),
        None => host.to_owned(),
    }
}
