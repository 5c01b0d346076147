//! Whose objects act, against a plain reference: for any objects of any namespaces, exported and
//! imported in any way, what a client gets, who is said to be concerned, and what whoever writes
//! the object is told.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::admission::Reviewer;
use crate::analyze::examine;
use crate::compile::ProxyScope;
use crate::compile::diagnostics::codes;
use crate::crd::Object;
use crate::model::{Change, MeshSettings, World};
use crate::push::board::{Examined, Input};
use crate::push::objects::Objects;
use crate::status::concern::{Concern, Keys};
use crate::testing::objects;

/// The owner of the backend, a client's, the root's and two strangers' namespaces.
const NAMESPACES: [&str; 5] = ["shop", "other", "istio-system", "evil", "aaa"];
const CLIENTS: [&str; 3] = ["shop", "other", "evil"];
const EXPORTS: [&[&str]; 5] = [&[], &["."], &["*"], &["other"], &["shop", "other"]];
/// What the Sidecar of `other` imports; none: there is no Sidecar.
const EGRESS: [&[&str]; 6] = [
    &[],
    &["./*"],
    &["*/*"],
    &["shop/*", "evil/*"],
    &["*/*", "~evil/*"],
    &["./*", "*/backend.shop.svc.cluster.local"],
];
const HOST: &str = "backend.shop.svc.cluster.local";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    namespace: &'static str,
    export: &'static [&'static str],
    year: u32,
    /// For the wildcard that covers the backend.
    wild: bool,
}

impl Item {
    fn name(self, kind: &str) -> String {
        let form = if self.wild { "wild" } else { "exact" };
        format!("{kind}-{}-{form}", self.year)
    }

    fn host(self) -> &'static str {
        if self.wild {
            "*.shop.svc.cluster.local"
        } else {
            HOST
        }
    }

    fn yaml(self, kind: &str, name: &str, spec: &str) -> String {
        let exports: Vec<String> = self.export.iter().map(|one| format!("'{one}'")).collect();
        format!(
            "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, \
             namespace: {}, creationTimestamp: '{}-01-01T00:00:00Z'}}\nspec: {{exportTo: [{}], \
             {spec}}}\n---\n",
            self.namespace,
            self.year,
            exports.join(", ")
        )
    }

    fn route(self) -> String {
        let name = self.name("vs");
        let spec = format!(
            "hosts: ['{}'], http: [{{name: {name}, match: [{{uri: {{prefix: /{name}}}}}], route: \
             [{{destination: {{host: {HOST}}}}}]}}]",
            self.host()
        );
        self.yaml("VirtualService", &name, &spec)
    }

    fn rule(self) -> String {
        let spec = format!(
            "host: '{}', trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {}}}}}}}",
            self.host(),
            self.year
        );
        self.yaml("DestinationRule", &self.name("dr"), &spec)
    }

    fn is_seen_by(self, client: &str) -> bool {
        self.export.is_empty()
            || self.export.contains(&"*")
            || self.export.contains(&client)
            || (self.export.contains(&".") && self.namespace == client)
    }

    /// 0: for the client alone; 1: exported to it by name; 2: for everybody.
    fn tier(self, client: &str) -> u8 {
        match self.export {
            [] | ["*"] => 2,
            [_] if self.namespace == client => 0,
            _ => 1,
        }
    }

    fn standing(self, client: &str) -> u8 {
        match self.namespace {
            own if own == client => 0,
            "shop" => 1,
            "istio-system" => 2,
            _ => 3,
        }
    }
}

/// Whether what a namespace says of the backend is imported by these egress hosts.
fn is_imported(egress: &[&str], client: &str, namespace: &str) -> bool {
    if client != "other" || egress.is_empty() {
        return true;
    }
    let names = |from: &str| match from {
        "*" => true,
        "." => namespace == client,
        other => other == namespace,
    };
    let (out, within): (Vec<&str>, Vec<&str>) = egress.iter().partition(|one| one.starts_with('~'));
    within
        .iter()
        .any(|one| names(one.split_once('/').unwrap().0))
        && !out
            .iter()
            .any(|one| names(one.trim_start_matches('~').split_once('/').unwrap().0))
}

/// The routes a client has for the backend, straight from the rules.
fn routes(items: &[Item], egress: &[&str], client: &str) -> Vec<Item> {
    let mut seen: Vec<Item> = items
        .iter()
        .copied()
        .filter(|one| one.is_seen_by(client) && is_imported(egress, client, one.namespace))
        .collect();
    seen.sort_by_key(|one| one.year);
    if seen.iter().any(|one| one.standing(client) < 3) {
        seen.retain(|one| one.standing(client) < 3);
    } else if let Some(first) = seen.iter().min_by_key(|one| (one.wild, one.year)).copied() {
        seen.retain(|one| one.namespace == first.namespace);
    }
    let best = seen.iter().map(|one| (one.wild, one.tier(client))).min();
    seen.retain(|one| Some((one.wild, one.tier(client))) == best);
    seen.sort_by_key(|one| (one.standing(client), one.year));
    seen
}

/// The rules that hold for a client's calls to the backend, the one that counts first.
fn rules(items: &[Item], client: &str) -> Vec<Item> {
    let mut items = items.to_vec();
    items.sort_by_key(|one| one.year);
    for namespace in [client, "shop", "istio-system"] {
        let here = items.iter().copied().filter(|one| {
            one.namespace == namespace && (namespace == client || one.is_seen_by(client))
        });
        let here: Vec<Item> = here.collect();
        let exact: Vec<Item> = here.iter().copied().filter(|one| !one.wild).collect();
        let best = if exact.is_empty() { here } else { exact };
        if !best.is_empty() {
            return best;
        }
    }
    Vec::new()
}

fn clients() -> String {
    let pods = CLIENTS.iter().enumerate().map(|(index, namespace)| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: client, namespace: {namespace}}}\n\
             status: {{podIP: 10.0.7.{}}}\n---\n",
            index + 1
        )
    });
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: backend, namespace: shop}\n\
                   spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 8080}]}\n---\n";
    pods.chain([service.to_owned()]).collect()
}

fn sidecar(egress: &[&str]) -> String {
    if egress.is_empty() {
        return String::new();
    }
    let hosts: Vec<String> = egress.iter().map(|one| format!("'{one}'")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: default, namespace: \
         other}}\nspec: {{egress: [{{hosts: [{}]}}]}}\n---\n",
        hosts.join(", ")
    )
}

fn concerned(world: &World, client: &str, object: &Object, uses: &crate::compile::Uses) -> bool {
    let none = BTreeSet::new();
    let capture = CaptureMode::OriginalDestination;
    let id = format!("{client}/client").parse().unwrap();
    let scope = ProxyScope::new(world, &id, ProxyRole::Sidecar, capture).unwrap();
    let group = Keys::of(world, &none).group(&scope);
    Concern::of(world, object).covers(world, &group, &group.used(world, uses))
}

/// What whoever writes `object` is told, with the others there already.
fn told(others: World, object: &str) -> BTreeSet<String> {
    let (findings, uses) = examine(&others);
    let examined = Examined {
        input: Input {
            world: others,
            objects: Objects::default(),
            revision: 1,
            proxies: Vec::new(),
            compiler: crate::compile::Compiler::default(),
        },
        findings,
        uses,
    };
    let (_kept, mesh) = tokio::sync::watch::channel(Some(Arc::new(examined)));
    let value: serde_json::Value =
        serde_saphyr::from_str(object.trim_end_matches("---\n")).unwrap();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "operation": "CREATE",
            "kind": {"group": "networking.istio.io", "version": "v1", "kind": value["kind"]},
            "object": value,
        },
    });
    let reviewer = Reviewer::new(MeshSettings::default()).beside(mesh);
    let answer = reviewer.review(review.to_string().as_bytes()).unwrap();
    let warnings = answer.to_review()["response"]["warnings"].clone();
    let texts: Vec<String> = serde_json::from_value(warnings).unwrap_or_default();
    // Warnings are cut at a length.
    texts
        .into_iter()
        .filter(|text| text.contains("has no effect on") || text.contains("acts on"))
        .map(|text| text.chars().take(200).collect())
        .collect()
}

fn item() -> impl Strategy<Value = Item> {
    let pick = (0..NAMESPACES.len(), 0..EXPORTS.len(), any::<bool>());
    pick.prop_map(|(namespace, export, wild)| Item {
        namespace: NAMESPACES[namespace],
        export: EXPORTS[export],
        year: 0,
        wild,
    })
}

/// Objects of different ages, in the order of their making.
fn items(most: usize) -> impl Strategy<Value = Vec<Item>> {
    let made = proptest::collection::vec(item(), 0..most);
    made.prop_map(|items| {
        let aged = (2001..).zip(items);
        aged.map(|(year, item)| Item { year, ..item }).collect()
    })
}

fn check(routed: &[Item], ruled: &[Item], egress: &[&str]) -> Result<usize, TestCaseError> {
    let mut checked = 0;
    let yaml: Vec<String> = routed
        .iter()
        .map(|one| one.route())
        .chain(ruled.iter().map(|one| one.rule()))
        .collect();
    let world = world(&format!(
        "{}{}{}",
        clients(),
        sidecar(egress),
        yaml.concat()
    ));
    let (findings, uses) = examine(&world);
    for client in CLIENTS {
        let visible = is_imported(egress, client, "shop");
        if !visible {
            continue;
        }
        checked += 1;
        let workload = format!("{client}/client");
        let capture = CaptureMode::OriginalDestination;
        let snapshot = snapshot(&compiled(&world, &workload, ProxyRole::Sidecar, capture));
        let made = backend(&snapshot);
        let expected = routes(routed, egress, client);
        let names_expected: Vec<String> = match expected.as_slice() {
            [] => vec!["default".to_owned()],
            some => some.iter().map(|one| one.name("vs")).collect(),
        };
        prop_assert_eq!(names(&made), names_expected, "{} {:?}", client, egress);

        let cluster = format!("cluster/outbound|8080||{HOST}").parse().unwrap();
        let text = serde_json::to_string(&snapshot.get(&cluster).unwrap().resource).unwrap();
        let in_force = rules(ruled, client);
        for one in ruled {
            let counts = in_force.first() == Some(one);
            prop_assert_eq!(
                text.contains(&format!(":{}", one.year)),
                counts,
                "{} {}",
                client,
                text
            );
        }
        // Who is said to be concerned is who gets it.
        for (item, yaml) in routed.iter().zip(&yaml) {
            let object = objects(yaml).remove(0);
            let said = concerned(&world, client, &object, &uses);
            prop_assert_eq!(said, expected.contains(item), "{} {:?}", client, item);
        }
        for (item, yaml) in ruled.iter().zip(&yaml[routed.len()..]) {
            let object = objects(yaml).remove(0);
            let said = concerned(&world, client, &object, &uses);
            prop_assert_eq!(said, in_force.contains(item), "{} {:?}", client, item);
        }
    }
    // What an author is told beforehand is what the status will say; but for clients that know
    // nothing of the service.
    if !is_imported(egress, "other", "shop") {
        return Ok(checked);
    }
    for (index, one) in routed.iter().enumerate() {
        let object = objects(&yaml[index]).remove(0);
        let mut others = world.clone();
        others.apply([Change::Removed(object.key().clone())]);
        let said = findings.iter().filter(|finding| {
            let foreign = finding.code == codes::BY_STRANGER
                || (finding.code == codes::SHADOWED && finding.message.contains("comes first"));
            foreign && finding.object.as_ref() == Some(object.key())
        });
        let said: BTreeSet<String> = said
            .map(|finding| {
                let hint = finding.hint.as_ref().map(|hint| format!("; {hint}"));
                let hint = hint.unwrap_or_default();
                format!("{}: {}{hint}", finding.field, finding.message)
            })
            .map(|text| text.chars().take(200).collect())
            .collect();
        prop_assert_eq!(told(others, &yaml[index]), said, "{:?}", one);
    }
    Ok(checked)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_acts_is_what_is_said(
        routed in items(5),
        ruled in items(4),
        egress in 0..EGRESS.len(),
    ) {
        check(&routed, &ruled, EGRESS[egress])?;
    }
}

/// Every namespace, export and import of one route and one rule, and of a pair with the owner's.
#[test]
fn one_object_in_every_place() {
    let mut cells = 0;
    for namespace in NAMESPACES {
        for export in EXPORTS {
            for egress in EGRESS {
                let one = Item {
                    namespace,
                    export,
                    year: 2001,
                    wild: false,
                };
                let owners = Item {
                    namespace: "shop",
                    export: &[],
                    year: 2002,
                    wild: false,
                };
                cells += check(&[one], &[one], egress).unwrap();
                cells += check(&[one, owners], &[], egress).unwrap();
            }
        }
    }
    // Clients that do not import the host are not among them.
    assert_eq!(cells, 850);
}
