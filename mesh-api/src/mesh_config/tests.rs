//! What users write, and what is made of it.

use std::time::Duration;

use serde_json::json;

use super::*;

fn read(document: Value) -> (MeshConfig, Vec<String>) {
    let (config, problems) = MeshConfig::read(document).expect("settings");
    (config, problems.iter().map(ToString::to_string).collect())
}

#[test]
fn what_people_write_is_read() {
    let (config, problems) = read(json!({
        "accessLogFile": "/dev/stdout",
        "accessLogEncoding": "JSON",
        "connectTimeout": "1.5s",
        "enableTracing": true,
        "rootNamespace": "mesh",
        "trustDomain": null,
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        "discoverySelectors": [
            {"matchLabels": {"mesh": "yes"}},
            {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}
        ],
        "defaultHttpRetryPolicy": {"attempts": 0},
        "extensionProviders": [{"name": "otel", "opentelemetry": {"service": "otel", "port": 4317}}],
        "meshMTLS": {"minProtocolVersion": "TLSV1_3"},
        "defaultConfig": {
            "concurrency": 2,
            "proxyMetadata": {"ISTIO_META_HTTP10": "1"},
            "holdApplicationUntilProxyStarts": true,
            "terminationDrainDuration": "1m30s",
            "tracing": {"sampling": 100.0}
        }
    }));
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(config.access_log_encoding, Some(AccessLogEncoding::Json));
    assert_eq!(
        config.connect_timeout,
        Some(Span(Duration::from_millis(1500)))
    );
    assert_eq!(config.root_namespace(), "mesh");
    assert_eq!(config.trust_domain(), "cluster.local");
    assert_eq!(
        config.outbound_traffic_policy.mode,
        OutboundMode::RegistryOnly
    );
    let labels = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let chosen = |pairs: &[(&str, &str)]| {
        config
            .discovery_selectors
            .iter()
            .any(|one| one.matches(&labels(pairs)))
    };
    assert!(chosen(&[("mesh", "yes")]));
    assert!(chosen(&[("team", "b")]));
    assert!(!chosen(&[("team", "c"), ("mesh", "no")]));
    let proxies = &config.default_config;
    assert_eq!(proxies.concurrency, Some(2));
    assert_eq!(proxies.proxy_metadata["ISTIO_META_HTTP10"], "1");
    assert_eq!(
        proxies.termination_drain_duration.map(Duration::from),
        Some(Duration::from_secs(90))
    );
}

#[test]
fn times_among_the_variables_of_proxies_are_checked_one_by_one() {
    let (config, problems) = read(json!({"defaultConfig": {
        "proxyMetadata": {"ISTIO_META_IDLE_TIMEOUT": "0s", "A": "b"},
        "environmentVariables": {"MESH_STREAM_IDLE_TIMEOUT": "10m", "ISTIO_META_IDLE_TIMEOUT": "x"},
    }}));
    assert_eq!(
        problems,
        [
            "defaultConfig.environmentVariables.ISTIO_META_IDLE_TIMEOUT: \"x\" is not a duration; \
             write a number with a unit, such as 5s, 0.5s, 200ms or 1h30m",
            "defaultConfig.proxyMetadata.ISTIO_META_IDLE_TIMEOUT: \"0s\" would be no time at all; \
             write a duration above zero, such as 1h",
        ]
    );
    let proxies = config.default_config;
    assert_eq!(proxies.proxy_metadata["A"], "b");
    assert_eq!(proxies.time(metadata::IDLE_TIMEOUT), None);
    let stream = proxies.time(metadata::STREAM_IDLE_TIMEOUT);
    assert_eq!(stream, Some(Duration::from_mins(10)));
}

#[test]
fn one_bad_key_costs_no_other() {
    let (config, problems) = read(json!({
        "accesLogFile": "/dev/stdout",
        "connectTimeout": "soon",
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLLY"},
        "xyzzy": 1,
        "enablePrometheusMerge": "no",
        "rootNamespace": "mesh",
        "discoverySelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": 7}],
        "defaultConfig": {"concurrency": -1, "drainDurration": "5s", "statusPort": 15020}
    }));
    assert_eq!(
        problems,
        [
            "accesLogFile: unknown key; did you mean accessLogFile?",
            "connectTimeout: \"soon\" is not a duration; write a number with a unit, such as 5s, \
             0.5s, 200ms or 1h30m",
            "defaultConfig.concurrency: invalid value: integer `-1`, expected u32",
            "defaultConfig.drainDurration: unknown key; did you mean drainDuration?",
            "discoverySelectors[1].matchLabels: invalid type: integer `7`, expected a map",
            "enablePrometheusMerge: invalid type: string \"no\", expected a boolean",
            "outboundTrafficPolicy.mode: unknown variant `REGISTRY_ONLLY`, expected \
             `REGISTRY_ONLY` or `ALLOW_ANY`; did you mean REGISTRY_ONLY?",
            "xyzzy: unknown key; check the spelling",
        ]
    );
    assert_eq!(config.root_namespace(), "mesh");
    assert_eq!(config.default_config.status_port, Some(15020));
    // Half a list of selectors would choose other namespaces than anybody meant.
    assert_eq!(config.discovery_selectors, []);
    assert_eq!(config.outbound_traffic_policy.mode, OutboundMode::AllowAny);
}

#[test]
fn what_was_left_out_and_what_was_meant_are_named() {
    let read = MeshConfig::examine(json!({
        "outboundTraficPolicy": {"mode": "REGISTRY_ONLY"},
        "pathNormalization": {"normalisation": "BASE"},
        "discoverySelectors": [{"matchLabels": 7}],
        "rootNamespace": "mesh"
    }))
    .expect("settings");
    let told: Vec<_> = read
        .problems
        .iter()
        .map(|one| (one.left_out.as_str(), one.unknown.clone()))
        .collect();
    let meant = |key: &str| Some(Some(key.to_owned()));
    assert_eq!(
        told,
        [
            ("discoverySelectors", None),
            ("outboundTraficPolicy", meant("outboundTrafficPolicy")),
            (
                "pathNormalization.normalisation",
                meant("pathNormalization.normalization")
            ),
        ]
    );
    assert_eq!(
        read.document,
        json!({"pathNormalization": {}, "rootNamespace": "mesh"})
    );
}

#[test]
fn what_is_no_document_of_keys_is_an_error() {
    assert!(MeshConfig::read(json!(["a"])).is_err());
    assert!(MeshConfig::read(json!("a")).is_err());
    assert_eq!(read(Value::Null), (MeshConfig::default(), Vec::new()));
}

#[test]
fn nearer_settings_lie_over_farther_ones() {
    let read = |document| ProxyConfig::read(document).expect("settings").0;
    let far = read(json!({
        "concurrency": 2, "statusPort": 15020, "proxyMetadata": {"A": "far", "B": "far"}
    }));
    let near = read(json!({"concurrency": 0, "proxyMetadata": {"B": "near"}}));
    let expected = read(json!({
        "concurrency": 0, "statusPort": 15020, "proxyMetadata": {"A": "far", "B": "near"}
    }));
    assert_eq!(near.over(far), expected);
}

#[test]
fn keys_are_listed_down_to_their_values() {
    let mut listed = keys(&json!({
        "a": {"b": 1, "c": {}}, "d": [{"e": 1}], "f": null, "g": "x"
    }));
    listed.sort();
    assert_eq!(listed, ["a.b", "a.c", "d", "g"]);
}

#[test]
fn spans() {
    let seconds = |text: &str| text.parse::<Span>().map(|span| span.0.as_secs_f64());
    assert_eq!(seconds("0s"), Ok(0.0));
    assert_eq!(seconds("0.25s"), Ok(0.25));
    assert_eq!(seconds("1h1m1s500ms"), Ok(3661.5));
    for wrong in ["", "5", "s", "-5s", "5 s", "1..2s", "5d", "99999999999999h"] {
        assert!(seconds(wrong).is_err(), "{wrong}");
    }
}
