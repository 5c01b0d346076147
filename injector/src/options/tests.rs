//! What annotations, the mesh and the values say together, as tables.

use serde_json::json;

use super::*;
use crate::Home;
use crate::configuration::ClusterVersion;
use crate::values::Values;

fn configuration(minor: u32) -> Configuration {
    let version = ClusterVersion { major: 1, minor };
    let mesh = mesh_api::mesh_config::MeshConfig::default();
    Configuration::new(Values::default(), mesh, version, Home::default())
}

fn of(
    minor: u32,
    grace: Option<u64>,
    pairs: &[(&str, &str)],
) -> Result<(Options, Vec<String>), Refusal> {
    let annotations: BTreeMap<&str, &str> = pairs.iter().copied().collect();
    let mut pod = json!({ "metadata": { "annotations": annotations }, "spec": {} });
    if let Some(grace) = grace {
        pod["spec"]["terminationGracePeriodSeconds"] = json!(grace);
    }
    read(&configuration(minor), &Draft::of(&pod).unwrap(), false)
}

fn fine(pairs: &[(&str, &str)]) -> Options {
    let (options, warnings) = of(33, None, pairs).unwrap();
    assert_eq!(warnings, Vec::<String>::new(), "{pairs:?}");
    options
}

#[test]
fn the_form_follows_cluster_annotation_and_values() {
    const NAME: &str = "sidecar.istio.io/nativeSidecar";
    for (minor, annotation, native, warned) in [
        (28, None, false, 0),
        (28, Some("true"), false, 1),
        (29, None, true, 0),
        (33, Some("false"), false, 0),
        (33, Some("true"), true, 0),
    ] {
        let pairs: Vec<(&str, &str)> = annotation.iter().map(|value| (NAME, *value)).collect();
        let (options, warnings) = of(minor, None, &pairs).unwrap();
        assert_eq!(
            (options.native, warnings.len()),
            (native, warned),
            "{minor} {annotation:?}"
        );
    }
    assert!(!fine(&[("inject.istio.io/templates", "gateway")]).native);
}

#[test]
fn one_resource_annotation_changes_one_value() {
    let default = json!({ "requests": { "cpu": "10m", "memory": "32Mi" } });
    assert_eq!(fine(&[]).resources, default);
    let own = fine(&[
        ("sidecar.istio.io/proxyCPU", "100m"),
        ("sidecar.istio.io/proxyMemoryLimit", "1Gi"),
    ]);
    assert_eq!(
        own.resources,
        json!({
            "requests": { "cpu": "100m", "memory": "32Mi" }, "limits": { "memory": "1Gi" }
        })
    );
    // What the installation asks for gives way to what a pod says of the same resource.
    let small = fine(&[("sidecar.istio.io/proxyMemoryLimit", "16Mi")]);
    assert_eq!(small.resources["requests"]["memory"], "16Mi");
    let mistaken = of(
        33,
        None,
        &[
            ("sidecar.istio.io/proxyCPU", "1"),
            ("sidecar.istio.io/proxyCPULimit", "500m"),
        ],
    );
    let refusal = mistaken.unwrap_err().to_string();
    assert!(refusal.contains("cpu 1 and allow only 500m"), "{refusal}");
}

#[test]
fn limits_of_the_installation_hold_and_give_way() {
    let resources = |limit: &str| {
        let mut configuration = configuration(33);
        let proxy = &mut configuration.values.global.proxy;
        proxy.resources = json!({
            "requests": { "cpu": "10m", "memory": "32Mi" },
            "limits": { "cpu": limit, "memory": "128Mi" },
        });
        let pod = json!({ "metadata": { "annotations": {
            "sidecar.istio.io/proxyMemory": "256Mi"
        } } });
        read(&configuration, &Draft::of(&pod).unwrap(), false)
    };
    assert_eq!(
        resources("1").unwrap().0.resources,
        json!({
            "requests": { "cpu": "10m", "memory": "256Mi" },
            "limits": { "cpu": "1", "memory": "256Mi" },
        })
    );
    let refusal = resources("5m").unwrap_err().to_string();
    assert!(refusal.contains("global.proxy.resources"), "{refusal}");
}

#[test]
fn drain_times_fit_into_the_grace_period() {
    const CONFIG: &str = "proxy.istio.io/config";
    for (minor, grace, config, expected, warned) in [
        (33, None, "{}", (0, 20), false),
        (28, None, "{}", (5, 20), false),
        (33, None, "terminationDrainDuration: 8s", (8, 20), false),
        (33, None, "drainDuration: 45s", (0, 28), false),
        (28, Some(10), "{}", (5, 3), false),
        (28, Some(600), "drainDuration: 2m", (5, 120), false),
        (28, Some(10), "terminationDrainDuration: 60s", (8, 0), true),
        (28, Some(0), "{}", (0, 0), true),
        (
            33,
            None,
            "proxyMetadata: {MINIMUM_DRAIN_DURATION: 3s}",
            (3, 20),
            false,
        ),
    ] {
        let (options, warnings) = of(minor, grace, &[(CONFIG, config)]).unwrap();
        let found = (options.min_drain.as_secs(), options.drain_timeout.as_secs());
        assert_eq!(found, expected, "{minor} {grace:?} {config}");
        assert_eq!(!warnings.is_empty(), warned, "{config}: {warnings:?}");
    }
}

#[test]
fn applications_wait_before_they_end_where_the_cluster_can() {
    let delay = |minor, grace| of(minor, grace, &[]).unwrap().0.stop_delay;
    assert_eq!(delay(29, None), None);
    assert_eq!(delay(30, None), Some(5));
    assert_eq!(delay(33, Some(9)), Some(3));
    assert_eq!(delay(33, Some(2)), None);
}

#[test]
fn the_annotation_lies_over_the_mesh_and_names_what_has_no_effect() {
    let mut configuration = configuration(33);
    configuration.mesh.default_config = serde_json::from_value(json!({
        "concurrency": 2, "proxyMetadata": { "ISTIO_META_HTTP10": "1", "A": "mesh" },
        "tracing": {},
    }))
    .unwrap();
    let config = "{proxyMetadata: {A: pod, POD_NAME: x, EXIT_ON_ZERO_ACTIVE_CONNECTIONS: maybe}, tracing: {}, nonsense: 1, concurrency: 0}";
    let pod = json!({ "metadata": { "annotations": { "proxy.istio.io/config": config } } });
    let (options, warnings) = read(&configuration, &Draft::of(&pod).unwrap(), false).unwrap();
    let environment: Vec<_> = options.environment.iter().collect();
    assert_eq!(
        environment,
        [
            (&"A".to_owned(), &"pod".to_owned()),
            (&"ISTIO_META_HTTP10".to_owned(), &"1".to_owned()),
        ]
    );
    assert_eq!(options.concurrency, None);
    for word in [
        "nonsense",
        "tracing",
        "POD_NAME",
        "neither 1 nor 0",
        "A is passed on",
        "concurrency: 0",
    ] {
        let named = warnings.iter().filter(|warning| warning.contains(word));
        assert_eq!(named.count(), 1, "{word}: {warnings:?}");
    }
    let (options, warnings) = read(&configuration, &Draft::of(&json!({})).unwrap(), false).unwrap();
    assert_eq!((options.concurrency, warnings), (Some(2), Vec::new()));
}

#[test]
fn times_that_running_proxies_are_told_are_written_into_a_pod_only_if_it_says_so_itself() {
    let mut configuration = configuration(33);
    configuration.mesh.default_config = serde_json::from_value(json!({
        "proxyMetadata": { "ISTIO_META_IDLE_TIMEOUT": "30s", "MESH_STREAM_IDLE_TIMEOUT": "10s" },
    }))
    .unwrap();
    let of = |variables: &str| {
        let config = format!("proxyMetadata: {{{variables}}}");
        let pod = json!({ "metadata": { "annotations": { "proxy.istio.io/config": config } } });
        let (options, warnings) = read(&configuration, &Draft::of(&pod).unwrap(), false).unwrap();
        let environment: Vec<_> = options.environment.into_iter().collect();
        (environment, warnings)
    };
    let idle = |time: &str| vec![("ISTIO_META_IDLE_TIMEOUT".to_owned(), time.to_owned())];
    assert_eq!(of(""), (Vec::new(), Vec::new()));
    assert_eq!(of("ISTIO_META_IDLE_TIMEOUT: 1h"), (idle("1h"), Vec::new()));
    // The proxy would not start with it.
    let (environment, warnings) = of("MESH_STREAM_IDLE_TIMEOUT: never");
    assert_eq!(environment, Vec::new());
    assert!(
        warnings[0].contains("proxyMetadata.MESH_STREAM_IDLE_TIMEOUT"),
        "{warnings:?}"
    );
}

#[test]
fn annotations_without_effect_are_named_one_by_one() {
    for name in names::ANNOTATIONS {
        let acts = !unsupported::all().contains(name);
        let (_, warnings) = match of(33, None, &[(name, "")]) {
            Ok(read) => read,
            // It is read, and an empty value will not do.
            Err(refusal) => {
                assert!(refusal.to_string().contains(name), "{refusal}");
                continue;
            }
        };
        assert_eq!(warnings.is_empty(), acts, "{name}: {warnings:?}");
    }
}

#[test]
fn values_that_cannot_be_used_name_their_annotation() {
    for (name, value) in [
        ("sidecar.istio.io/proxyCPU", "lots"),
        ("sidecar.istio.io/logLevel", "loud"),
        ("sidecar.istio.io/nativeSidecar", "yes"),
        ("sidecar.istio.io/rewriteAppHTTPProbers", "1"),
        ("sidecar.istio.io/interceptionMode", "BPF"),
        ("sidecar.istio.io/discoveryAddress", "istiod"),
        ("sidecar.istio.io/discoveryAddress", "https://istiod:1"),
        ("sidecar.istio.io/proxyImage", "a b"),
        ("sidecar.istio.io/userVolume", "x"),
        (
            "sidecar.istio.io/userVolumeMount",
            r#"[{"mountPath":"/x"}]"#,
        ),
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "http"),
        ("traffic.sidecar.istio.io/includeInboundPorts", "80,*"),
        (
            "traffic.sidecar.istio.io/excludeOutboundIPRanges",
            "10.0.0.1",
        ),
        ("readiness.status.sidecar.istio.io/periodSeconds", "0"),
        ("readiness.status.sidecar.istio.io/failureThreshold", "-1"),
        ("inject.istio.io/templates", "grpc-agent"),
        ("prometheus.istio.io/merge-metrics", "maybe"),
        ("proxy.istio.io/config", "- a list"),
        ("proxy.istio.io/config", "{not yaml"),
    ] {
        let refusal = of(33, None, &[(name, value)]).unwrap_err().to_string();
        assert!(
            refusal.contains(name) && refusal.contains(value),
            "{refusal}"
        );
    }
}
