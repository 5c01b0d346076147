//! What is true of every pod: injecting twice is injecting once, the patch does what it says, and
//! nothing the user wrote is lost.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value makes what is not there"
)]

use injector::{ClusterVersion, Configuration, Home, Labels, Namespace, Values, inject};
use mesh_api::mesh_config::MeshConfig;
use proptest::prelude::*;
use serde_json::{Value, json};

fn namespace() -> Namespace {
    Namespace {
        name: "shop".to_owned(),
        labels: Labels::from([("istio-injection".to_owned(), "enabled".to_owned())]),
    }
}

fn configuration(minor: u32) -> Configuration {
    let version = ClusterVersion { major: 1, minor };
    Configuration::new(
        Values::default(),
        MeshConfig::default(),
        version,
        Home::default(),
    )
}

fn action() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        any::<u16>().prop_map(|port| json!(port)),
        Just(json!("http")),
        Just(json!("nowhere")),
        Just(Value::Null),
    ];
    (0..5_u8, port, "[ -~]{0,12}").prop_map(|(kind, port, text)| match kind {
        0 => json!({ "httpGet": { "port": port, "path": text }, "timeoutSeconds": 3 }),
        1 => json!({ "tcpSocket": { "port": port } }),
        2 => json!({ "grpc": { "port": port, "service": text } }),
        3 => json!({ "exec": { "command": [text] } }),
        _ => json!({ "httpGet": { "port": port, "host": "10.0.0.1", "later": text } }),
    })
}

fn container() -> impl Strategy<Value = Value> {
    let probes = proptest::collection::btree_map(
        proptest::sample::select(vec!["livenessProbe", "readinessProbe", "startupProbe"]),
        action(),
        0..3,
    );
    let hook = proptest::option::of(action());
    ("[a-z]{1,8}", probes, hook, any::<bool>()).prop_map(|(name, probes, hook, always)| {
        let mut container = json!({
            "name": name, "image": "i", "aFieldOfTheFuture": { "kept": [1, null] },
            "ports": [{ "name": "http", "containerPort": 8080 }],
        });
        for (kind, probe) in probes {
            container[kind] = probe;
        }
        if let Some(hook) = hook {
            container["lifecycle"] = json!({ "preStop": hook });
        }
        if always {
            container["restartPolicy"] = json!("Always");
        }
        container
    })
}

fn annotations() -> impl Strategy<Value = Value> {
    let known = proptest::sample::select(injector::names::ANNOTATIONS.to_vec());
    let name = prop_oneof![
        3 => known.prop_map(str::to_owned),
        1 => Just("prometheus.io/scrape".to_owned()),
        1 => Just("prometheus.io/port".to_owned()),
        1 => "[a-z./]{1,20}",
    ];
    let value = prop_oneof![
        "true|false",
        "[0-9]{1,5}",
        "[ -~]{0,20}",
        Just("{}".to_owned())
    ];
    proptest::collection::btree_map(name, value, 0..4).prop_map(|pairs| json!(pairs))
}

fn pod() -> impl Strategy<Value = Value> {
    let containers = || proptest::collection::vec(container(), 1..4);
    (
        annotations(),
        containers(),
        containers(),
        proptest::option::of(0..100_u64),
    )
        .prop_map(|(annotations, init, containers, grace)| {
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": "p", "annotations": annotations, "later": 1 },
                "spec": { "initContainers": init, "containers": containers, "later": { "a": 1 } },
            });
            if let Some(grace) = grace {
                pod["spec"]["terminationGracePeriodSeconds"] = json!(grace);
            }
            pod
        })
}

/// Everything of `before` is in `after`, but for what injection is there to change.
fn kept(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().all(|(key, value)| {
            let changes = key.ends_with("Probe") || key == "preStop";
            let moved = key.starts_with("prometheus.io/")
                || key == "sidecar.istio.io/status"
                || key == "istio.io/rev";
            changes || moved || after.get(key).is_some_and(|after| kept(value, after))
        }),
        (Value::Array(before), Value::Array(after)) => {
            let mut left = after.iter();
            // In their order, with ours in between.
            before.iter().all(|one| left.any(|other| kept(one, other)))
        }
        (before, after) => before == after,
    }
}

proptest! {
    #[test]
    fn every_pod(pod in pod(), minor in 27..36_u32) {
        let configuration = configuration(minor);
        // A refusal is an answer as well; it must say something.
        let once = match inject(&configuration, &namespace(), None, &pod) {
            Ok(once) => once,
            Err(refusal) => {
                prop_assert!(refusal.to_string().len() > 20);
                return Ok(());
            }
        };
        prop_assert!(kept(&pod, &once.pod), "{:#}", once.pod);
        let twice = inject(&configuration, &namespace(), None, &once.pod).unwrap();
        prop_assert_eq!(&once.pod, &twice.pod);
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &json_patch::diff(&pod, &once.pod)).unwrap();
        prop_assert_eq!(patched, once.pod);
    }

    #[test]
    fn no_json_makes_it_panic(text in "[ -~]{0,40}", number in any::<i64>()) {
        for pod in [
            json!({ "spec": { "containers": [text, number, null, []] } }),
            json!({ "spec": text, "metadata": number }),
            json!({ "metadata": { "annotations": { "a": number }, "labels": [text] } }),
            json!({ "spec": { "containers": [{ "name": number, "livenessProbe": { "httpGet": text } }] } }),
        ] {
            let _answered = inject(&configuration(33), &namespace(), None, &pod);
        }
    }
}
