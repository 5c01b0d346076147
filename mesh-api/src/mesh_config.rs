//! The settings of a whole mesh, as the ConfigMap `istio` states them, and of its proxies.
//!
//! Plain values under the names users know. Who acts on which of them is decided where they are
//! read; here a key is known or it is not, and its value is well formed or it is not. One bad key
//! never costs another: it keeps its default and is named.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod metadata;
pub mod proxy;
pub mod read;
pub mod span;

pub use proxy::ProxyConfig;
pub use read::{ConfigProblem, Reading, keys};
pub use span::Span;

/// `MeshConfig`: the settings of a mesh. What is absent has the default its accessor names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MeshConfig {
    /// Where proxies write their access log; empty: nowhere.
    pub access_log_file: Option<String>,
    /// The format of a line of the access log; empty: the usual one.
    pub access_log_format: Option<String>,
    /// The encoding of the access log.
    pub access_log_encoding: Option<AccessLogEncoding>,
    /// Whether proxies take part in tracing.
    pub enable_tracing: Option<bool>,
    /// Systems outside the mesh that objects refer to by name.
    pub extension_providers: Vec<ExtensionProvider>,
    /// Providers for objects that name none.
    pub default_providers: DefaultProviders,
    /// The settings of all proxies that have no nearer ones.
    pub default_config: ProxyConfig,
    /// What happens to traffic to destinations the mesh does not know.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// Where a proxy finds its application.
    pub inbound_traffic_policy: InboundTrafficPolicy,
    /// Whether proxies encrypt towards those that can decrypt without being told to.
    pub enable_auto_mtls: Option<bool>,
    /// The name all identities of the mesh begin with.
    pub trust_domain: Option<String>,
    /// Former names, accepted beside it.
    pub trust_domain_aliases: Vec<String>,
    /// The namespace whose policies are mesh-wide.
    pub root_namespace: Option<String>,
    /// Namespaces the control plane looks at: those any of these match; empty: all.
    pub discovery_selectors: Vec<LabelSelector>,
    /// Retries of routes that set none.
    pub default_http_retry_policy: Option<RetryPolicy>,
    /// The same for requests from a proxy to its application.
    pub default_inbound_http_retry_policy: Option<RetryPolicy>,
    /// How long opening a connection may take.
    pub connect_timeout: Option<Span>,
    /// Preference for near endpoints.
    pub locality_lb_setting: Option<Value>,
    /// Preference for endpoints in the same zone.
    pub zone_aware_lb_setting: Option<Value>,
    /// Whether proxies speak HTTP/2 to endpoints of HTTP/1.1 ports.
    pub h2_upgrade_policy: Option<H2UpgradePolicy>,
    /// Whether metrics of applications are served beside those of their proxies.
    pub enable_prometheus_merge: Option<bool>,
    /// How paths are brought into one form before they are matched.
    pub path_normalization: PathNormalization,
    /// Who sees services that do not say so.
    pub default_service_export_to: Vec<String>,
    /// Who sees virtual services that do not say so.
    pub default_virtual_service_export_to: Vec<String>,
    /// Who sees destination rules that do not say so.
    pub default_destination_rule_export_to: Vec<String>,
    /// The class of Ingress objects that are ours.
    pub ingress_class: Option<String>,
    /// Which Ingress objects are ours.
    pub ingress_controller_mode: Option<IngressControllerMode>,
    /// The `istio` label of the gateway that serves Ingress objects.
    pub ingress_selector: Option<String>,
    /// The Service of that gateway.
    pub ingress_service: Option<String>,
    /// Keep-alive probes on connections to endpoints.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long a proxy waits at ports without a declared protocol for a client's first bytes before
    /// it takes it that the server speaks first; zero: for ever. Absent: the proxy's five seconds.
    pub protocol_detection_timeout: Option<Span>,
    /// TLS between workloads of the mesh.
    #[serde(rename = "meshMTLS")]
    pub mesh_mtls: Option<Value>,
    /// TLS elsewhere.
    pub tls_defaults: Option<Value>,
    /// How often names of endpoints are looked up again.
    pub dns_refresh_rate: Option<Span>,
    /// Whether clients check the certificates of servers outside the mesh.
    pub verify_certificate_at_client: Option<bool>,
    /// An authority outside the mesh.
    pub ca: Option<Value>,
    /// More roots to trust.
    pub ca_certificates: Vec<Value>,
    /// Settings of single services.
    pub service_settings: Vec<Value>,
    /// Idle time of tunnels.
    pub hbone_idle_timeout: Option<Span>,
    /// A traffic policy for all services.
    pub default_traffic_policy: Option<Value>,
    /// Other sources of configuration.
    pub config_sources: Vec<Value>,
    /// Names of clusters in statistics, outbound.
    pub outbound_cluster_stat_name: Option<String>,
    /// Names of clusters in statistics, inbound.
    pub inbound_cluster_stat_name: Option<String>,
    /// Where proxies capture outbound traffic.
    pub proxy_listen_port: Option<u16>,
    /// Where proxies capture inbound traffic.
    pub proxy_inbound_listen_port: Option<u16>,
    /// An HTTP proxy port for applications.
    pub proxy_http_port: Option<u16>,
    /// Whether access logs go to a service.
    pub enable_envoy_access_log_service: Option<bool>,
    /// Whether lines about refused connections are left out of the log.
    pub disable_envoy_listener_log: Option<bool>,
    /// Certificates to be made.
    pub certificates: Vec<Value>,
}

/// The namespace of the mesh unless it is set.
pub const DEFAULT_ROOT_NAMESPACE: &str = "istio-system";
/// The trust domain unless it is set.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

impl MeshConfig {
    /// Reads the settings from a document. An empty document is a mesh with defaults.
    ///
    /// What is wrong with single keys is told beside the settings; a document that cannot be
    /// settings at all is an error, and whoever had settings before should keep those.
    pub fn read(document: Value) -> Result<(Self, Vec<ConfigProblem>), ConfigProblem> {
        let read = Self::examine(document)?;
        Ok((read.settings, read.problems))
    }

    /// The namespace whose policies are mesh-wide.
    pub fn root_namespace(&self) -> &str {
        match self.root_namespace.as_deref() {
            None | Some("") => DEFAULT_ROOT_NAMESPACE,
            Some(name) => name,
        }
    }

    /// The name all identities of the mesh begin with.
    pub fn trust_domain(&self) -> &str {
        match self.trust_domain.as_deref() {
            None | Some("") => DEFAULT_TRUST_DOMAIN,
            Some(name) => name,
        }
    }

    /// Whether metrics of applications are served beside those of their proxies.
    pub fn prometheus_merge(&self) -> bool {
        self.enable_prometheus_merge.unwrap_or(true)
    }
}

/// How lines of the access log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccessLogEncoding {
    /// Text.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// A system outside the mesh, of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ExtensionProvider {
    /// The name objects refer to it by.
    pub name: String,
    /// Authorization over HTTP.
    pub envoy_ext_authz_http: Option<Value>,
    /// Authorization over gRPC.
    pub envoy_ext_authz_grpc: Option<Value>,
    /// Tracing with Zipkin.
    pub zipkin: Option<Value>,
    /// Tracing with Lightstep.
    pub lightstep: Option<Value>,
    /// Tracing with Datadog.
    pub datadog: Option<Value>,
    /// Tracing with Stackdriver.
    pub stackdriver: Option<Value>,
    /// Tracing with OpenCensus.
    pub opencensus: Option<Value>,
    /// Tracing with SkyWalking.
    pub skywalking: Option<Value>,
    /// Tracing with OpenTelemetry.
    pub opentelemetry: Option<Value>,
    /// Metrics for Prometheus.
    pub prometheus: Option<Value>,
    /// Access log into a file.
    pub envoy_file_access_log: Option<Value>,
    /// Access log of HTTP over gRPC.
    pub envoy_http_als: Option<Value>,
    /// Access log of TCP over gRPC.
    pub envoy_tcp_als: Option<Value>,
    /// Access log over OpenTelemetry.
    pub envoy_otel_als: Option<Value>,
    /// Certificates over SDS.
    pub sds: Option<Value>,
}

/// Providers for objects that name none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DefaultProviders {
    /// For tracing.
    pub tracing: Vec<String>,
    /// For metrics.
    pub metrics: Vec<String>,
    /// For access logs.
    pub access_logging: Vec<String>,
}

/// What happens to traffic to destinations the mesh does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct OutboundTrafficPolicy {
    /// What happens.
    pub mode: OutboundMode,
}

/// What happens to traffic to destinations the mesh does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// It is refused.
    RegistryOnly,
    /// It goes where it was going.
    #[default]
    AllowAny,
}

/// Where a proxy finds its application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct InboundTrafficPolicy {
    /// Where.
    pub mode: InboundMode,
}

/// Where a proxy finds its application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InboundMode {
    /// At the address the client called.
    #[default]
    Passthrough,
    /// At the loopback address.
    Localhost,
}

/// Chooses by labels; an empty one chooses everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels that must have these values.
    pub match_labels: BTreeMap<String, String>,
    /// Conditions that must all hold.
    pub match_expressions: Vec<LabelRequirement>,
}

/// A condition on a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// What is asked of it.
    pub operator: LabelOperator,
    /// The values for `In` and `NotIn`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// What is asked of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelOperator {
    /// It has one of the values.
    In,
    /// It is absent or has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether labels are chosen.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|one| {
                let value = labels.get(&one.key);
                let listed = value.is_some_and(|value| one.values.contains(value));
                match one.operator {
                    LabelOperator::In => listed,
                    LabelOperator::NotIn => !listed,
                    LabelOperator::Exists => value.is_some(),
                    LabelOperator::DoesNotExist => value.is_none(),
                }
            })
    }
}

/// Retries, as virtual services write them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Retries after the first attempt; 0 switches them off.
    pub attempts: Option<u32>,
    /// The time of one attempt.
    pub per_try_timeout: Option<Span>,
    /// What is retried, a list with commas.
    pub retry_on: Option<String>,
    /// Whether retries may go to other localities.
    pub retry_remote_localities: Option<bool>,
    /// Whether retries avoid endpoints that failed.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// The shortest wait before a retry.
    pub backoff: Option<Span>,
}

/// Whether proxies speak HTTP/2 to endpoints of HTTP/1.1 ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// They do not.
    #[default]
    DoNotUpgrade,
    /// They do.
    Upgrade,
}

/// How paths are brought into one form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PathNormalization {
    /// How much is done.
    pub normalization: Normalization,
}

/// How much is done to a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Normalization {
    /// What the mesh does unless told otherwise: as `Base`.
    #[default]
    Default,
    /// Nothing.
    None,
    /// Dot segments and back slashes.
    Base,
    /// Also several slashes in a row.
    MergeSlashes,
    /// Also slashes that are written as escapes.
    DecodeAndMergeSlashes,
}

/// Which Ingress objects are ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IngressControllerMode {
    /// Not said.
    #[default]
    Unspecified,
    /// None.
    Off,
    /// Those of our class and those without one.
    Default,
    /// Those of our class.
    Strict,
}

/// Keep-alive probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TcpKeepalive {
    /// Probes without an answer before a connection counts as dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Span>,
    /// Time between probes.
    pub interval: Option<Span>,
}

#[cfg(test)]
mod tests;
