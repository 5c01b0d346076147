//! Every setting of the mesh is acted on or named, and none is both.

use mesh_api::mesh_config::MeshConfig;
use serde_json::{Value, json};

use crate::model::MeshSettings;
use crate::model::settings::not_acted_on;

/// Settings that act elsewhere than in what is compiled, and where.
const ELSEWHERE: [(&str, &str); 5] = [
    ("accessLogEncoding", "beside accessLogFile"),
    ("defaultConfig", "the injector's arguments of the proxy"),
    ("enablePrometheusMerge", "the injector's annotations"),
    (
        "protocolDetectionTimeout",
        "the injector's arguments of the proxy",
    ),
    ("discoverySelectors", "which namespaces the source follows"),
];

/// A value for each setting that is not its default.
fn documents() -> Vec<(&'static str, Value)> {
    vec![
        ("accessLogFile", json!("/dev/stdout")),
        ("accessLogFormat", json!("%PROTOCOL%")),
        ("accessLogEncoding", json!("JSON")),
        ("enableTracing", json!(true)),
        ("extensionProviders", json!([{"name": "otel"}])),
        ("defaultProviders", json!({"metrics": ["prometheus"]})),
        ("defaultConfig", json!({"concurrency": 3})),
        ("outboundTrafficPolicy", json!({"mode": "REGISTRY_ONLY"})),
        ("inboundTrafficPolicy", json!({"mode": "LOCALHOST"})),
        ("enableAutoMtls", json!(true)),
        ("trustDomain", json!("example.org")),
        ("trustDomainAliases", json!(["old.example.org"])),
        ("rootNamespace", json!("mesh")),
        ("discoverySelectors", json!([{"matchLabels": {"a": "b"}}])),
        ("defaultHttpRetryPolicy", json!({"attempts": 5})),
        ("defaultInboundHttpRetryPolicy", json!({"attempts": 5})),
        ("connectTimeout", json!("3s")),
        ("localityLbSetting", json!({"enabled": true})),
        ("zoneAwareLbSetting", json!({"enabled": true})),
        ("h2UpgradePolicy", json!("UPGRADE")),
        ("enablePrometheusMerge", json!(false)),
        (
            "pathNormalization",
            json!({"normalization": "MERGE_SLASHES"}),
        ),
        ("defaultServiceExportTo", json!(["."])),
        ("defaultVirtualServiceExportTo", json!(["."])),
        ("defaultDestinationRuleExportTo", json!(["."])),
        ("ingressClass", json!("mesh")),
        ("ingressControllerMode", json!("STRICT")),
        ("ingressSelector", json!("edge")),
        ("ingressService", json!("edge")),
        ("tcpKeepalive", json!({"probes": 3})),
        ("protocolDetectionTimeout", json!("1s")),
        ("meshMTLS", json!({"minProtocolVersion": "TLSV1_3"})),
        ("tlsDefaults", json!({"minProtocolVersion": "TLSV1_3"})),
        ("dnsRefreshRate", json!("7s")),
        ("verifyCertificateAtClient", json!(true)),
        ("ca", json!({"address": "ca:1"})),
        ("caCertificates", json!([{"pem": "x"}])),
        ("serviceSettings", json!([{"hosts": ["a"]}])),
        ("hboneIdleTimeout", json!("1h")),
        ("defaultTrafficPolicy", json!({"a": "b"})),
        ("configSources", json!([{"address": "a:1"}])),
        ("outboundClusterStatName", json!("%SERVICE%")),
        ("inboundClusterStatName", json!("%SERVICE%")),
        ("proxyListenPort", json!(1)),
        ("proxyInboundListenPort", json!(1)),
        ("proxyHttpPort", json!(1)),
        ("enableEnvoyAccessLogService", json!(true)),
        ("disableEnvoyListenerLog", json!(true)),
        ("certificates", json!([{"secretName": "a"}])),
    ]
}

#[test]
fn every_setting_is_acted_on_or_named() {
    let known = serde_json::to_value(MeshConfig::default()).unwrap();
    let known = known.as_object().unwrap();
    let documents = documents();
    let written: Vec<&str> = documents.iter().map(|(key, _)| *key).collect();
    for key in known.keys() {
        assert!(written.contains(&key.as_str()), "{key} is not looked at");
    }
    let defaults = MeshSettings::default();
    let unset = defaults.configured(&MeshConfig::default(), &[]);
    for (key, value) in documents {
        let document = json!({ key: value });
        let (config, problems) = MeshConfig::read(document.clone()).unwrap();
        assert!(problems.is_empty(), "{key}: {problems:?}");
        let acts = defaults.configured(&config, &[]) != unset
            || ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == key);
        let named = !not_acted_on(&document, &config).is_empty();
        assert!(acts != named, "{key}: acted on: {acts}, named: {named}");
    }
}
