//! What the whole mesh is told: by flags at start, and by the mesh's settings while it runs.

use std::sync::Arc;
use std::time::Duration;

use mesh_api::cluster::TcpKeepalive;
use mesh_api::listener::UnmatchedTraffic;
use mesh_api::mesh_config::{
    AccessLogEncoding, H2UpgradePolicy, InboundMode, MeshConfig, Normalization, OutboundMode,
    RetryPolicy, keys, metadata,
};
use mesh_api::name::SettingsName;
use mesh_api::route::NormalForm;
use mesh_api::settings::{AccessLogMode, ProxySettings};
use serde_json::Value;

/// Settings of the mesh that the compiler reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// The domain behind `svc` in the full name of a Kubernetes service.
    pub cluster_domain: Arc<str>,
    /// Where mesh-wide objects stand.
    pub root_namespace: Arc<str>,
    /// The name of this Kubernetes cluster, for telemetry.
    pub cluster_id: Arc<str>,
    /// Whether the whole mesh is on this machine, so that workloads are at loopback addresses.
    /// Never set by the mesh's configuration.
    pub one_machine: bool,
    /// What sidecars do with destinations nobody declared, unless a `Sidecar` says otherwise.
    pub outbound_traffic: UnmatchedTraffic,
    /// Whether applications are called at the loopback address rather than where the client
    /// called.
    pub inbound_localhost: bool,
    /// How long opening a connection may take where no destination rule says so; `None`: the
    /// proxy's own default.
    pub connect_timeout: Option<Duration>,
    /// Keep-alive probes where no destination rule says otherwise.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Retries of routes that set none; `None`: what the mesh does by itself.
    pub default_retries: Option<RetryPolicy>,
    /// Who sees what does not say so.
    pub exports: DefaultExports,
    /// The form of paths that proxies match and forward.
    pub paths: NormalForm,
    /// How long proxies wait for a client that says nothing where they have to find out the
    /// protocol; zero: for ever, `None`: as long as they were started with.
    pub detection_timeout: Option<Duration>,
    /// Whether proxies log requests, and how; `None`: as they were started.
    pub access_log: Option<AccessLogMode>,
    /// How long clients may send or take nothing while a request runs, where a proxy has no time of
    /// its own.
    pub stream_idle_timeout: Option<Duration>,
    /// How long HTTP connections may have no request; likewise.
    pub idle_timeout: Option<Duration>,
    /// Settings that were written and are not acted on.
    pub not_acted_on: Vec<String>,
}

/// `exportTo` of objects that have none; empty: everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultExports {
    /// Of services and service entries.
    pub services: Vec<String>,
    /// Of virtual services.
    pub virtual_services: Vec<String>,
    /// Of destination rules.
    pub destination_rules: Vec<String>,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            cluster_domain: Arc::from("cluster.local"),
            root_namespace: Arc::from("istio-system"),
            cluster_id: Arc::from("Kubernetes"),
            one_machine: false,
            outbound_traffic: UnmatchedTraffic::Passthrough,
            inbound_localhost: false,
            connect_timeout: None,
            tcp_keepalive: None,
            default_retries: None,
            exports: DefaultExports::default(),
            paths: NormalForm::default(),
            detection_timeout: None,
            access_log: None,
            stream_idle_timeout: None,
            idle_timeout: None,
            not_acted_on: Vec::new(),
        }
    }
}

impl MeshSettings {
    /// These settings with what the mesh's configuration says.
    #[must_use]
    pub fn configured(&self, config: &MeshConfig, not_acted_on: &[String]) -> Self {
        Self {
            cluster_domain: Arc::clone(&self.cluster_domain),
            cluster_id: Arc::clone(&self.cluster_id),
            one_machine: self.one_machine,
            root_namespace: match config.root_namespace.as_deref() {
                None | Some("") => Arc::clone(&self.root_namespace),
                Some(name) => Arc::from(name),
            },
            outbound_traffic: match config.outbound_traffic_policy.mode {
                OutboundMode::AllowAny => UnmatchedTraffic::Passthrough,
                OutboundMode::RegistryOnly => UnmatchedTraffic::Refuse,
            },
            inbound_localhost: config.inbound_traffic_policy.mode == InboundMode::Localhost,
            connect_timeout: config
                .connect_timeout
                .map(Duration::from)
                .filter(|timeout| !timeout.is_zero()),
            tcp_keepalive: config.tcp_keepalive.map(|keepalive| TcpKeepalive {
                probes: keepalive.probes,
                time: keepalive.time.map(Duration::from),
                interval: keepalive.interval.map(Duration::from),
            }),
            default_retries: config.default_http_retry_policy.clone(),
            exports: DefaultExports {
                services: config.default_service_export_to.clone(),
                virtual_services: config.default_virtual_service_export_to.clone(),
                destination_rules: config.default_destination_rule_export_to.clone(),
            },
            paths: match config.path_normalization.normalization {
                Normalization::Default | Normalization::Base => NormalForm::Base,
                Normalization::None => NormalForm::AsGiven,
                Normalization::MergeSlashes => NormalForm::MergeSlashes,
                Normalization::DecodeAndMergeSlashes => NormalForm::DecodeAndMergeSlashes,
            },
            detection_timeout: config.protocol_detection_timeout.map(Duration::from),
            access_log: access_log(config),
            stream_idle_timeout: config.default_config.time(metadata::STREAM_IDLE_TIMEOUT),
            idle_timeout: config.default_config.time(metadata::IDLE_TIMEOUT),
            not_acted_on: not_acted_on.to_vec(),
        }
    }

    /// What of these settings proxies act on; `None` if it is what they do anyway.
    pub fn of_proxies(&self) -> Option<ProxySettings> {
        let settings = ProxySettings {
            name: SettingsName,
            paths: self.paths,
            detection_timeout: self.detection_timeout,
            access_log: self.access_log,
            stream_idle_timeout: self.stream_idle_timeout,
            idle_timeout: self.idle_timeout,
        };
        (settings != ProxySettings::default()).then_some(settings)
    }
}

/// What `accessLogFile` and `accessLogEncoding` say together; `None`: nothing, so that proxies that
/// were started by hand log as their command line says.
fn access_log(config: &MeshConfig) -> Option<AccessLogMode> {
    let file = config.access_log_file.as_deref()?;
    Some(match config.access_log_encoding.unwrap_or_default() {
        _ if file.is_empty() => AccessLogMode::Off,
        AccessLogEncoding::Text => AccessLogMode::Text,
        AccessLogEncoding::Json => AccessLogMode::Json,
    })
}

/// The one place proxies write their access log to: in a pod there is no other that somebody reads.
const STDOUT: &str = "/dev/stdout";

/// Settings the control plane acts on, with everything below them.
const ACTED_ON: [&str; 18] = [
    "accessLogEncoding",
    "accessLogFile",
    "connectTimeout",
    // These two of `defaultConfig` reach running proxies; the rest of it the injector reads.
    "defaultConfig.environmentVariables.ISTIO_META_IDLE_TIMEOUT",
    "defaultConfig.environmentVariables.MESH_STREAM_IDLE_TIMEOUT",
    "defaultConfig.proxyMetadata.ISTIO_META_IDLE_TIMEOUT",
    "defaultConfig.proxyMetadata.MESH_STREAM_IDLE_TIMEOUT",
    "defaultDestinationRuleExportTo",
    "defaultHttpRetryPolicy",
    "defaultServiceExportTo",
    "defaultVirtualServiceExportTo",
    "discoverySelectors",
    "inboundTrafficPolicy",
    "outboundTrafficPolicy",
    "pathNormalization",
    "protocolDetectionTimeout",
    "rootNamespace",
    "tcpKeepalive",
];

/// Settings the injector acts on when it writes a proxy into a pod, with everything below them.
const ACTED_ON_AT_INJECTION: [&str; 12] = [
    "defaultConfig.concurrency",
    "defaultConfig.discoveryAddress",
    "defaultConfig.drainDuration",
    "defaultConfig.environmentVariables",
    "defaultConfig.holdApplicationUntilProxyStarts",
    "defaultConfig.interceptionMode",
    "defaultConfig.proxyMetadata.EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
    "defaultConfig.proxyMetadata.ISTIO_META_HTTP10",
    "defaultConfig.proxyMetadata.MESH_KUBELET_ADDRESSES",
    "defaultConfig.proxyMetadata.MINIMUM_DRAIN_DURATION",
    "defaultConfig.terminationDrainDuration",
    "enablePrometheusMerge",
];

/// Whether the control plane acts on a setting, such as `outboundTrafficPolicy.mode`.
pub fn is_acted_on(key: &str) -> bool {
    ACTED_ON.iter().any(|known| is_below(key, known))
}

fn is_below(key: &str, known: &str) -> bool {
    key.strip_prefix(known)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The settings of a document that nobody acts on, so that they can be named.
pub fn not_acted_on(document: &Value, config: &MeshConfig) -> Vec<String> {
    let mut found: Vec<String> = keys(document)
        .into_iter()
        .filter(|key| {
            let at_injection = |known: &&str| is_below(key, known);
            let acted_on = is_acted_on(key) || ACTED_ON_AT_INJECTION.iter().any(at_injection);
            !acted_on && !says_what_is_done(key, config) && is_known(key)
        })
        .collect();
    // Lines are written all the same, but not there.
    let file = config.access_log_file.as_deref();
    if let Some(file) = file.filter(|file| !["", STDOUT].contains(file)) {
        found.push(format!("accessLogFile {file} (lines go to {STDOUT})"));
    }
    found.sort();
    found
}

/// Whether a setting asks for nothing but what is done anyway.
fn says_what_is_done(key: &str, config: &MeshConfig) -> bool {
    match key {
        "enableAutoMtls" => config.enable_auto_mtls == Some(false),
        "enableTracing" => config.enable_tracing == Some(false),
        "h2UpgradePolicy" => config.h2_upgrade_policy == Some(H2UpgradePolicy::DoNotUpgrade),
        "trustDomain" => config.trust_domain() == mesh_api::mesh_config::DEFAULT_TRUST_DOMAIN,
        _ => false,
    }
}

/// Whether there is such a setting: what there is not is reported as a mistake already.
fn is_known(key: &str) -> bool {
    let first = key.split('.').next().unwrap_or_default();
    match serde_json::to_value(MeshConfig::default()) {
        Ok(Value::Object(known)) => known.contains_key(first),
        Ok(_) | Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_acts_on_is_named() {
        let document = json!({
            "accessLogFile": "/dev/stdout",
            "enableTracing": true,
            "enableAutoMtls": false,
            "trustDomain": "cluster.local",
            "misspelled": 1,
            "connectTimeout": "3s",
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            "pathNormalization": {"normalization": "MERGE_SLASHES"},
            "extensionProviders": [{"name": "otel"}],
            "defaultConfig": {
                "concurrency": 2,
                "proxyMetadata": {"A": "b", "ISTIO_META_HTTP10": "1"},
                "tracing": {"sampling": 1.0}
            }
        });
        let (config, problems) = MeshConfig::read(document.clone()).unwrap();
        assert_eq!(problems.len(), 1);
        assert_eq!(
            not_acted_on(&document, &config),
            [
                "defaultConfig.proxyMetadata.A",
                "defaultConfig.tracing.sampling",
                "enableTracing",
                "extensionProviders",
            ]
        );
    }

    #[test]
    fn the_access_log_is_what_file_and_encoding_say() {
        for (document, expected) in [
            (json!({}), None),
            (json!({"accessLogEncoding": "JSON"}), None),
            (json!({"accessLogFile": ""}), Some(AccessLogMode::Off)),
            (json!({"accessLogFile": STDOUT}), Some(AccessLogMode::Text)),
            (
                json!({"accessLogFile": STDOUT, "accessLogEncoding": "JSON"}),
                Some(AccessLogMode::Json),
            ),
        ] {
            let config = MeshConfig::read(document.clone()).unwrap().0;
            let settings = MeshSettings::default().configured(&config, &[]);
            let of_proxies = settings.of_proxies().and_then(|proxies| proxies.access_log);
            assert_eq!((settings.access_log, of_proxies), (expected, expected));
            assert_eq!(not_acted_on(&document, &config), Vec::<String>::new());
        }
        let elsewhere = json!({"accessLogFile": "/var/log/access"});
        let config = MeshConfig::read(elsewhere.clone()).unwrap().0;
        let named = not_acted_on(&elsewhere, &config);
        assert!(named[0].contains("/dev/stdout"), "{named:?}");
    }

    #[test]
    fn settings_change_what_they_say_and_keep_the_rest() {
        let started_with = MeshSettings {
            cluster_domain: Arc::from("example.org"),
            root_namespace: Arc::from("mesh"),
            ..MeshSettings::default()
        };
        let config = |document| MeshConfig::read(document).unwrap().0;
        let changed = started_with.configured(
            &config(json!({
                "connectTimeout": "3s",
                "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
                "defaultServiceExportTo": ["."],
                "pathNormalization": {"normalization": "DECODE_AND_MERGE_SLASHES"},
            })),
            &["enableTracing".to_owned()],
        );
        let expected = MeshSettings {
            connect_timeout: Some(Duration::from_secs(3)),
            outbound_traffic: UnmatchedTraffic::Refuse,
            exports: DefaultExports {
                services: vec![".".to_owned()],
                ..DefaultExports::default()
            },
            paths: NormalForm::DecodeAndMergeSlashes,
            not_acted_on: vec!["enableTracing".to_owned()],
            ..started_with.clone()
        };
        assert_eq!(changed, expected);
        // What is taken back has its default again.
        let back = changed.configured(&MeshConfig::default(), &[]);
        assert_eq!(back, started_with);
    }
}
