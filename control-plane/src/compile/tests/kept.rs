//! What outlives changes: the world is a function of the objects and of what is kept.

use super::order::versions;
use super::*;

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::crd::Object;
use crate::meta::ObjectKey;
use crate::model::{Change, Kept, MeshSettings, World};
use crate::testing::objects;

const WORKLOADS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: b1, namespace: shop, labels: {app: backend, version: v1}}
status: {podIP: 10.0.1.1}
";

fn mesh(yaml: &str) -> String {
    shop(&format!("{WORKLOADS}---{yaml}"))
}

/// Where the client's calls to the backend go, and whether that is held back.
fn state(world: &World) -> (String, bool) {
    let compiled = compiled(
        world,
        "shop/client",
        ProxyRole::Sidecar,
        CaptureMode::Explicit,
    );
    let held = compiled
        .diagnostics()
        .any(|one| one.code.as_str() == "MESH0104");
    let rules = backend(&snapshot(&compiled));
    (target(rules.first().unwrap()), held)
}

fn leads_to(subset: &str) -> String {
    format!("outbound|8080|{subset}|backend.shop.svc.cluster.local")
}

fn route(subset: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: one, namespace: shop}}
spec: {{hosts: [backend], http: [{{route: [{{destination: {{host: backend, subset: {subset}}}}}]}}]}}
"
    )
}

fn rule(subset: &str, policy: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a, namespace: shop}}
spec:
  host: backend
  subsets: [{{name: {subset}, labels: {{version: {subset}}}}}]
  trafficPolicy: {{{policy}}}
"
    )
}

fn set(world: &mut World, yaml: &str) {
    world.apply(objects(yaml).into_iter().map(Change::Applied));
}

fn stored(world: &World) -> Kept {
    let (text, left_out) = world.kept().to_text();
    assert_eq!(left_out, []);
    let (kept, wrong) = Kept::read(&text);
    assert_eq!(wrong, []);
    kept
}

/// The same mesh after a restart.
fn restarted(world: &World, yaml: &str) -> World {
    let objects = objects(yaml).into_iter().map(Change::Applied);
    World::of(MeshSettings::default(), &stored(world), objects)
}

#[test]
fn a_restart_while_a_route_is_held_back_changes_nothing() {
    let rule = rule("v1", "");
    let mut running = world(&mesh(&format!("{}---{}", rule, route("v1"))));
    set(&mut running, &route("v9"));
    assert_eq!(state(&running), (leads_to("v1"), true));
    let now = mesh(&format!("{}---{}", rule, route("v9")));
    let again = restarted(&running, &now);
    assert_eq!(versions(&again), versions(&running));
    assert_eq!(again.kept(), running.kept());
    // Without what was kept nobody can know.
    let forgetful = world(&now);
    assert!(state(&forgetful).0.contains("subset v9"));
}

#[test]
fn subsets_renamed_before_their_route_keep_what_they_meant() {
    let mut world = world(&mesh(&format!("{}---{}", rule("v1", ""), route("v1"))));
    assert!(world.kept().is_empty());
    set(&mut world, &rule("stable", ""));
    assert_eq!(state(&world), (leads_to("v1"), true));
    let compiled = compiled(
        &world,
        "shop/client",
        ProxyRole::Sidecar,
        CaptureMode::Explicit,
    );
    let cluster = |subset: &str| {
        let name = ResourceName::Cluster(leads_to(subset).parse().unwrap());
        let snapshot = snapshot(&compiled);
        let entry = snapshot.get(&name).map(|entry| entry.resource.clone());
        entry.map(|resource| format!("{resource:?}"))
    };
    let kept = cluster("v1").expect("the kept subset has a cluster");
    assert!(kept.contains("\"version\": \"v1\""), "{kept}");
    let now = mesh(&format!("{}---{}", rule("stable", ""), route("v1")));
    assert_eq!(versions(&restarted(&world, &now)), versions(&world));
    set(&mut world, &route("stable"));
    assert_eq!(state(&world), (leads_to("stable"), false));
    assert!(world.kept().is_empty());
}

/// Holding back is for what an author's own side has not got yet: no stranger can end it.
#[test]
fn what_strangers_define_or_declare_is_not_there() {
    let mut world = world(&mesh(&format!("{}---{}", rule("v1", ""), route("v1"))));
    set(&mut world, &route("v9"));
    assert_eq!(state(&world), (leads_to("v1"), true));
    let host = "backend.shop.svc.cluster.local";
    // That of the root namespace neither, where the owner has rules of its own.
    for namespace in ["evil", "istio-system"] {
        let rule = rule("v9", "").replace("namespace: shop", &format!("namespace: {namespace}"));
        set(
            &mut world,
            &rule.replace("host: backend", &format!("host: {host}")),
        );
        assert_eq!(state(&world), (leads_to("v1"), true), "{namespace}");
    }
    set(&mut world, &rule("v9", ""));
    assert_eq!(state(&world), (leads_to("v9"), false));

    let elsewhere =
        route("v1").replace("host: backend, subset: v1", "host: b.pay.svc.cluster.local");
    set(&mut world, &elsewhere);
    assert_eq!(state(&world), (leads_to("v9"), true));
    set(
        &mut world,
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b, namespace: evil}
spec:
  hosts: [b.pay.svc.cluster.local]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.9.9.9}]
",
    );
    assert_eq!(
        state(&world),
        (leads_to("v9"), true),
        "not evil's to declare"
    );
}

/// What is there is what clients of the author's namespace have.
#[test]
fn a_subset_is_there_if_the_authors_clients_have_it() {
    let rule = |namespace: &str, name: &str, subset: &str, more: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{host: b.pay.svc.cluster.local, {more} subsets: [{subset}]}}
---"
        )
    };
    let v1 = "{name: v1, labels: {version: v1}}";
    let stable = "{name: stable, labels: {version: v1}}";
    let private = "exportTo: ['.'],";
    let some = "workloadSelector: {matchLabels: {app: x}},";
    let held_by = |rules: &str| {
        let lead = route("v1").replace("host: backend", "host: b.pay.svc.cluster.local");
        let service = "
apiVersion: v1
kind: Service
metadata: {name: b, namespace: pay}
spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 8080}]}
---";
        let world = world(&mesh(&format!("{service}{rules}{lead}")));
        let mut all = world.virtual_services.iter();
        all.any(|one| !world.lacks(&one.key).is_empty())
    };
    for (rules, held) in [
        (rule("pay", "a", v1, ""), false),
        (rule("pay", "a", v1, private), true),
        // The author's own come first, then the owner's, then those of the root namespace.
        (
            rule("pay", "a", v1, "") + &rule("shop", "b", stable, ""),
            true,
        ),
        (
            rule("istio-system", "a", v1, "") + &rule("pay", "b", stable, ""),
            true,
        ),
        (
            rule("istio-system", "a", v1, "") + &rule("pay", "b", stable, private),
            false,
        ),
        (
            rule("istio-system", "a", v1, "") + &rule("shop", "b", stable, some),
            false,
        ),
        (rule("shop", "a", v1, some), false),
        (rule("evil", "a", v1, ""), true),
    ] {
        assert_eq!(held_by(&rules), held, "{rules}");
    }
}

#[test]
fn what_is_kept_does_not_depend_on_what_comes_back_first() {
    let service = "
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 8080}]}
";
    let whole = mesh(&format!("{}---{}", rule("v1", ""), route("v1")));
    let key = |yaml: &str| objects(yaml).remove(0).key().clone();
    let gone = [key(service), key(&rule("v1", ""))];
    let mut kept = Vec::new();
    for order in [vec![0, 1], vec![1, 0]] {
        let mut world = world(&whole);
        for index in order {
            world.apply([Change::Removed(gone[index].clone())]);
        }
        set(&mut world, service);
        kept.push(Arc::clone(world.kept()));
    }
    assert_eq!(kept[0], kept[1]);
    assert!(!kept[0].is_empty());
}

/// A stranger's entry and rule for the same outside host change nothing for others.
#[test]
fn strangers_do_not_end_holding_back_for_hosts_outside_either() {
    let entry = |namespace: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: {namespace}}}
spec:
  hosts: [api.example.com]
  ports: [{{number: 8080, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 10.9.9.9}}]
"
        )
    };
    let rule = |namespace: &str, subset: &str| {
        let rule = rule(subset, "").replace("namespace: shop", &format!("namespace: {namespace}"));
        rule.replace("host: backend", "host: api.example.com")
    };
    let lead = route("v1").replace("host: backend", "host: api.example.com");
    let mut world = world(&mesh(
        &[entry("shop"), rule("shop", "v1"), lead].join("---"),
    ));
    assert!(world.kept().is_empty());
    set(&mut world, &entry("evil"));
    set(&mut world, &rule("evil", "v1"));
    set(&mut world, &rule("shop", "stable"));
    let (_, kept) = (world.generation(), world.kept());
    assert_eq!(kept.routes().count(), 1);
}

#[test]
fn a_deleted_rule_stays_whole_for_the_routes_that_need_it() {
    let tls = "tls: {mode: SIMPLE}";
    let mut world = world(&mesh(&format!("{}---{}", rule("v1", tls), route("v1"))));
    let before = versions(&world);
    let key = objects(&rule("v1", tls)).remove(0).key().clone();
    world.apply([Change::Removed(key)]);
    assert_eq!(state(&world), (leads_to("v1"), true));
    // What the rule asked for is asked of the kept subset as well.
    let name = "cluster/outbound|8080|v1|backend.shop.svc.cluster.local";
    let of = |versions: &BTreeMap<String, mesh_api::version::Version>| {
        versions
            .get(&format!("Explicit shop/client {name}"))
            .copied()
    };
    assert!(of(&before).is_some());
    assert_eq!(of(&versions(&world)), of(&before));
}

#[test]
fn what_is_kept_serves_only_the_route_it_is_kept_for() {
    let mut world = world(&mesh(&format!("{}---{}", rule("v1", ""), route("v1"))));
    set(&mut world, &rule("stable", ""));
    let other = route("v1")
        .replace("name: one", "name: two")
        .replace("http:", "exportTo: ['.'], http:")
        .replace("hosts: [backend]", "hosts: [store]");
    set(&mut world, &other);
    let compiled = compiled(
        &world,
        "shop/client",
        ProxyRole::Sidecar,
        CaptureMode::Explicit,
    );
    let host = virtual_host(&snapshot(&compiled), "80/store.shop.svc.cluster.local");
    assert!(target(&host.rules[0]).contains("subset v1"));
}

#[test]
fn an_object_made_anew_owes_nothing_to_the_former_one() {
    let made = |second: u8, subset: &str| {
        let created = format!("creationTimestamp: '2026-01-01T00:00:0{second}Z', name: one");
        route(subset).replace("name: one", &created)
    };
    let mut world = world(&mesh(&format!("{}---{}", rule("v1", ""), made(1, "v1"))));
    set(&mut world, &made(2, "v9"));
    assert!(!state(&world).1);
    assert!(world.kept().is_empty());
}

#[test]
fn a_root_waits_for_its_delegate() {
    let root = |delegate: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: root, namespace: shop}}
spec: {{hosts: [backend], http: [{{match: [{{uri: {{prefix: /}}}}], delegate: {{name: {delegate}}}}}]}}
"
        )
    };
    let inner = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: inner, namespace: shop}
spec: {http: [{route: [{destination: {host: store, port: {number: 80}}}]}]}
";
    let mut world = world(&mesh(&format!("{}---{inner}", root("inner"))));
    let before = state(&world);
    assert!(before.0.contains("store"));
    set(&mut world, &root("not-yet"));
    assert_eq!(state(&world), (before.0, true));
}

/// One thing that happens to one object.
#[derive(Clone, Debug)]
struct Edit {
    object: usize,
    /// `None`: it is deleted.
    form: Option<usize>,
}

const OBJECTS: usize = 6;
const FORMS: usize = 4;

fn form(edit: &Edit, step: usize, made: usize) -> Option<Object> {
    let form = edit.form?;
    let subset = ["v1", "v2", "v9", "v3"][form];
    let meta = |name: &str| {
        format!(
            "metadata: {{name: {name}, namespace: shop, generation: {step}, creationTimestamp: \
             '2026-01-01T00:{:02}:{:02}Z'}}",
            made / 60,
            made % 60
        )
    };
    let networking = "apiVersion: networking.istio.io/v1";
    let yaml = match edit.object {
        0 | 1 => {
            let name = ["one", "two"][edit.object];
            let second = if form == 3 { "store" } else { "backend" };
            format!(
                "{networking}\nkind: VirtualService\n{}\nspec: {{hosts: [backend], http: [{{match: \
                 [{{uri: {{prefix: /{name}}}}}], route: [{{destination: {{host: backend, subset: \
                 {subset}}}, weight: 1}}, {{destination: {{host: {second}, port: {{number: 80}}}}, \
                 weight: {step}}}]}}]}}\n",
                meta(name)
            )
        }
        2..=4 => {
            let name = ["a", "b", "wild"][edit.object - 2];
            let host = ["backend", "backend", "'*.shop.svc.cluster.local'"][edit.object - 2];
            format!(
                "{networking}\nkind: DestinationRule\n{}\nspec: {{host: {host}, subsets: [{{name: \
                 {subset}, labels: {{version: '{step}'}}}}, {{name: s{form}}}], trafficPolicy: \
                 {{connectionPool: {{tcp: {{maxConnections: {step}}}}}}}}}\n",
                meta(name)
            )
        }
        _ => format!(
            "apiVersion: v1\nkind: Service\n{}\nspec: {{clusterIP: 10.96.0.11, ports: [{{name: \
             http, port: 80}}]}}\n",
            meta("store")
        ),
    };
    Some(objects(&yaml).remove(0))
}

fn key(object: usize) -> ObjectKey {
    let any = Edit {
        object,
        form: Some(0),
    };
    form(&any, 1, 1).unwrap().key().clone()
}

/// Every edit as a change, numbered like the API server numbers generations.
fn changes(edits: &[Edit]) -> Vec<Change> {
    let mut made: BTreeMap<usize, usize> = BTreeMap::new();
    let mut changes = Vec::new();
    for (step, edit) in edits.iter().enumerate() {
        let step = step + 1;
        changes.push(if edit.form.is_none() {
            made.remove(&edit.object);
            Change::Removed(key(edit.object))
        } else {
            let made = *made.entry(edit.object).or_insert(step);
            Change::Applied(form(edit, step, made).unwrap())
        });
    }
    changes
}

/// The objects there are after some changes.
fn there(changes: &[Change]) -> Vec<Change> {
    let mut there: BTreeMap<ObjectKey, Change> = BTreeMap::new();
    for one in objects(&mesh("\n")) {
        there.insert(one.key().clone(), Change::Applied(one));
    }
    for change in changes {
        there.insert(change.key().clone(), change.clone());
    }
    there
        .into_values()
        .filter(|change| matches!(change, Change::Applied(_)))
        .collect()
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = (0..OBJECTS, proptest::option::weighted(0.85, 0..FORMS))
        .prop_map(|(object, form)| Edit { object, form });
    proptest::collection::vec(edit, 1..14)
}

/// Everything that decides what is in effect.
fn in_effect(world: &World) -> Vec<String> {
    let routes = world.effective_virtual_services();
    let routes = routes.map(|one| format!("{:?} {:?}", one.object.spec, one.held_back_by));
    routes.chain([format!("{:?}", world.kept())]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A restart after any step, with the objects in any order, is the same mesh.
    #[test]
    fn the_world_is_a_function_of_the_objects_and_what_is_kept(
        edits in edits(),
        seed in any::<u64>(),
    ) {
        let changes = changes(&edits);
        let mut running = World::of(MeshSettings::default(), &Kept::default(), there(&[]));
        for step in 1..=changes.len() {
            running.apply([changes[step - 1].clone()]);
            let mut objects = there(&changes[..step]);
            objects.sort_by_key(|change| {
                use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
                BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, change.key()))
            });
            let again = World::of(MeshSettings::default(), &stored(&running), objects);
            prop_assert_eq!(in_effect(&again), in_effect(&running));
            prop_assert_eq!(again.kept(), running.kept());
            if step == changes.len() {
                prop_assert_eq!(versions(&again), versions(&running));
            }
        }
    }

    /// A second replica that starts at any time, sees the changes in other batches and hears what
    /// the first one keeps, has the same mesh.
    #[test]
    fn a_second_replica_has_the_same_mesh(
        edits in edits(),
        starts in any::<prop::sample::Index>(),
        batch in 1usize..5,
    ) {
        let changes = changes(&edits);
        let starts = starts.index(changes.len());
        let mut first = World::of(MeshSettings::default(), &Kept::default(), there(&[]));
        for change in &changes[..starts] {
            first.apply([change.clone()]);
        }
        let mut second = World::of(
            MeshSettings::default(),
            &stored(&first),
            there(&changes[..starts]),
        );
        for change in &changes[starts..] {
            first.apply([change.clone()]);
        }
        for some in changes[starts..].chunks(batch) {
            second.apply(some.iter().cloned());
        }
        second.take([], Some(&stored(&first)));
        prop_assert_eq!(in_effect(&second), in_effect(&first));
        prop_assert_eq!(versions(&second), versions(&first));
    }
}
