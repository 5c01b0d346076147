//! Every field users can write is acted on or named. Each is taken out of a document that uses
//! all of its kind, one at a time: then either what proxies get is different, or there was a
//! finding about that field. What is neither stands below, with the reason.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::compile::CaptureMode;
use crate::crd::samples;
use crate::crd::{Kind, Object, decode};
use crate::model::{Change, MeshSettings};
use crate::testing::objects;

/// Fields that change nothing for proxies and are not named, and why that is right. `[]` stands
/// for any place in a list.
const EXEMPT: &[(Kind, &str, &str)] = &[
    (Kind::DestinationRule, "spec.exportTo", "* is the default"),
    (
        Kind::DestinationRule,
        "spec.trafficPolicy.loadBalancer.simple",
        "LEAST_REQUEST is the default",
    ),
    (
        Kind::DestinationRule,
        "spec.trafficPolicy.connectionPool.http.useClientProtocol",
        "false is the default, and true cannot stand beside h2UpgradePolicy",
    ),
    (
        Kind::DestinationRule,
        "spec.trafficPolicy.retryBudget.budgetInterval",
        "0 is the default",
    ),
    (
        Kind::DestinationRule,
        "spec.trafficPolicy.tls",
        "its mode is named, and calls are refused as a whole",
    ),
    (Kind::Gateway, "spec.servers[].name", "a name for people"),
    (
        Kind::Sidecar,
        "spec.ingress[].port.name",
        "a name for people",
    ),
    (
        Kind::PeerAuthentication,
        "spec.portLevelMtls.9090",
        "UNSET says nothing",
    ),
    (
        Kind::VirtualService,
        "spec.http[].match[].headers.x-c",
        "the expression * and no comparison at all both ask for presence",
    ),
    (
        Kind::VirtualService,
        "spec.http[].route[].weight",
        "0 is the default",
    ),
    (
        Kind::VirtualService,
        "spec.http[].retries.retryIgnorePreviousHosts",
        "false, and only retries to other endpoints are made then",
    ),
];

/// A mesh in which every field has something to act on.
const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: web}
  ports:
    - {name: http, port: 80}
    - {name: http-b, port: 81}
    - {name: http-c, port: 82}
    - {name: tls, port: 443}
    - {name: tls-b, port: 444}
    - {name: tcp, port: 27017}
    - {name: tcp-b, port: 27018}
---
apiVersion: v1
kind: Service
metadata: {name: shadow, namespace: shop}
spec: {clusterIP: 10.96.0.2, selector: {app: shadow}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.3, selector: {app: db}, ports: [{name: tcp, port: 27017}]}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {clusterIP: 10.96.0.4, selector: {app: a}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: infra}
spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: front, namespace: shop, labels: {app: front, a: b}}
status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, version: v1}}
status: {podIP: 10.0.0.2, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a-1, namespace: shop, labels: {app: a}}
status: {podIP: 10.0.0.3, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: shop, labels: {istio: ingressgateway}}
status: {podIP: 10.0.0.4, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: front, namespace: other, labels: {app: front, a: b}}
status: {podIP: 10.0.0.5, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: shop, labels: {app: plain}}
status: {podIP: 10.0.0.6, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: infra, labels: {app: front, a: b}}
status: {podIP: 10.0.0.7, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
    - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}
    - {port: {number: 443, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}
    - {port: {number: 27017, name: tcp, protocol: TCP}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: base, namespace: shop}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: at-edge, namespace: shop}
spec:
  hosts: [a.example, x.b.example, e.example]
  gateways: [edge, a]
  http: [{route: [{destination: {host: web, port: {number: 80}}}]}]
  tls: [{match: [{sniHosts: [e.example]}], route: [{destination: {host: web, port: {number: 443}}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
    - route:
        - {destination: {host: web, subset: v1}, weight: 1}
        - {destination: {host: web, subset: v2}, weight: 1}
        - {destination: {host: web, subset: v3}, weight: 1}
        - {destination: {host: web}, weight: 1}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team, namespace: team}
spec: {http: [{route: [{destination: {host: web.shop.svc.cluster.local, port: {number: 80}}}]}]}
";

/// The mesh with a document in it, in place of the other objects of its kind.
fn mesh(subject: &Object) -> World {
    let mut world = World::new(MeshSettings::default());
    let others = objects(MESH).into_iter().filter(|one| {
        let delegate = one.key().namespace == "team";
        let pods = one.kind() == Kind::Pod || one.kind() == Kind::Service;
        pods || delegate || one.kind() != subject.kind()
    });
    world.apply(others.chain([subject.clone()]).map(Change::Applied));
    world
}

/// The proxies that are looked at: those most fields concern first.
const PROXIES: [(&str, ProxyRole, CaptureMode); 9] = {
    use CaptureMode::{Explicit, OriginalDestination};
    use ProxyRole::{Gateway, Sidecar};
    [
        ("shop/front", Sidecar, OriginalDestination),
        ("shop/a-1", Sidecar, OriginalDestination),
        ("shop/edge", Gateway, Explicit),
        ("shop/a-1", Sidecar, Explicit),
        ("shop/front", Sidecar, Explicit),
        ("shop/plain", Sidecar, OriginalDestination),
        ("other/front", Sidecar, OriginalDestination),
        ("infra/far", Sidecar, OriginalDestination),
        ("shop/plain", Gateway, Explicit),
    ]
};

/// What is known of workloads, and what each proxy of the mesh gets, one after the other.
fn outputs(world: &World) -> impl Iterator<Item = BTreeMap<String, u64>> {
    let workloads = world.workloads();
    let workloads: BTreeMap<String, u64> = workloads
        .map(|one| (one.id.to_string(), hash_of(one)))
        .collect();
    let mut compiler = Compiler::default();
    let proxies = PROXIES.into_iter().map(move |(name, role, capture)| {
        let scope = ProxyScope::new(world, &name.parse().unwrap(), role, capture).unwrap();
        let compiled = compiler.compile(world, &scope);
        let all = compiled.iter();
        all.map(|(name, encoded)| (name.to_string(), encoded.version.0))
            .collect()
    });
    std::iter::once(workloads).chain(proxies)
}

fn hash_of(value: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Every field of a document that has none within, as a JSON pointer and as findings write it.
fn fields(value: &Value, pointer: &str, path: &str, all: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                let pointer = format!("{pointer}/{escaped}");
                let path = format!("{path}.{key}");
                let before = all.len();
                fields(inner, &pointer, &path, all);
                if all.len() == before {
                    all.push((pointer, path));
                }
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                fields(
                    inner,
                    &format!("{pointer}/{index}"),
                    &format!("{path}[{index}]"),
                    all,
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn without(document: &Value, pointer: &str) -> Value {
    let mut document = document.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    let parent = document.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().remove(&key);
    document
}

/// Whether a finding about `found` is one about `path`: about it, a part of it, or a whole it is
/// a part of.
fn is_about(found: &str, path: &str) -> bool {
    let plain = |text: &str| text.replace("[\"", ".").replace("\"]", "");
    let (found, path) = (plain(found), plain(path));
    let inside = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    inside(&found, &path) || inside(&path, &found)
}

fn is_exempt(kind: Kind, path: &str) -> bool {
    let mut general = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => {
                inside = true;
                general.push_str("[]");
            }
            ']' => inside = false,
            _ if inside => {}
            other => general.push(other),
        }
    }
    EXEMPT.iter().any(|(of, exempt, _)| {
        *of == kind
            && general
                .strip_prefix(exempt)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// Documents of a kind that use all of its fields between them: some have an effect only where
/// another one is not there.
fn documents(kind: Kind) -> Vec<Value> {
    let text = format!(
        "apiVersion: {}\nkind: {kind}\nmetadata: {{name: a, namespace: shop}}\n{}",
        kind.api_versions()[0],
        samples::of(kind)
    );
    let mut document: Value = serde_saphyr::from_str(&text).unwrap();
    let remove = |document: &mut Value, parent: &str, key: &str| {
        let parent = document.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().remove(key).unwrap();
    };
    let mut other = document.clone();
    if kind == Kind::VirtualService {
        // The route as a whole is refused because of it.
        let claims = "@request.auth.claims.groups";
        remove(&mut document, "/spec/http/0/match/0/headers", claims);
        other = document.clone();
        // Where gateways are listed, they decide alone.
        for parent in [
            "/spec/http/0/match/0",
            "/spec/tls/0/match/0",
            "/spec/tcp/0/match/0",
        ] {
            remove(&mut other, parent, "gateways");
        }
        other["spec"]["tls"][0]["match"][0]["sniHosts"] = json!(["web.shop.svc.cluster.local"]);
    } else if kind == Kind::ServiceEntry {
        document["spec"]["exportTo"] = json!(["."]);
        document["spec"]["location"] = json!("MESH_INTERNAL");
        document["spec"]["addresses"] = json!(["192.0.2.9"]);
        other = document.clone();
        remove(&mut other, "/spec/endpoints/0", "ports");
    } else if kind == Kind::Sidecar {
        document["spec"]["ingress"][0]["port"]["protocol"] = json!("TCP");
        other = document.clone();
        remove(&mut other, "/spec/ingress/0", "connectionPool");
    } else if kind == Kind::PeerAuthentication {
        document["spec"]["portLevelMtls"] =
            json!({"9080": {"mode": "DISABLE"}, "9090": {"mode": "UNSET"}});
        other = document.clone();
    }
    if other == document {
        vec![document]
    } else {
        vec![document, other]
    }
}

/// The fields of a document that are acted on or named, and the others; of those that are `known`
/// nothing is asked again.
fn silent_in(
    kind: Kind,
    document: &Value,
    known: &BTreeSet<String>,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let decoded = decode(document.clone());
    let subject = decoded
        .object()
        .unwrap_or_else(|| panic!("{kind}: {:?}", decoded.problems));
    let world = mesh(subject);
    let expected: Vec<_> = outputs(&world).collect();
    let findings: Vec<String> = analyze(&world)
        .into_iter()
        .filter(|one| one.object.as_ref() == Some(subject.key()))
        .map(|one| one.field)
        .chain(decoded.problems.iter().filter_map(|one| one.field.clone()))
        .collect();
    let mut all = Vec::new();
    fields(&document["spec"], "/spec", "spec", &mut all);
    let (mut told, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for (pointer, path) in all {
        // A document that cannot do without it is refused, which is an answer, too.
        let is_told = known.contains(&path)
            || findings.iter().any(|found| is_about(found, &path))
            || is_exempt(kind, &path)
            || decode(without(document, &pointer))
                .object()
                .is_none_or(|other| !outputs(&mesh(other)).eq(expected.iter().cloned()));
        if is_told {
            told.insert(path);
        } else {
            silent.insert(path);
        }
    }
    (told, silent)
}

#[test]
fn every_field_is_acted_on_or_named() {
    let mut all_silent = Vec::new();
    let mut looked_at = 0;
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_mesh_resource()) {
        let (mut told, mut silent) = (BTreeSet::new(), BTreeSet::new());
        for document in documents(kind) {
            let (more_told, more_silent) = silent_in(kind, &document, &told);
            told.extend(more_told);
            silent.extend(more_silent);
        }
        looked_at += told.len();
        all_silent.extend(
            silent
                .difference(&told)
                .map(|path| format!("{kind} {path}")),
        );
    }
    assert!(looked_at > 300, "only {looked_at} fields");
    assert!(
        all_silent.is_empty(),
        "nothing acts on these and nothing names them:\n{}",
        all_silent.join("\n")
    );
}
