//! `ProxyConfig`: the settings of one proxy, stated for the mesh, a namespace or a pod.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::metadata;
use super::read::{self, ConfigProblem};
use super::span::Span;

/// The settings of a proxy. Everything is optional, so that nearer settings can be laid over
/// those further away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// Worker threads; 0: as many as there are processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Variables of the proxy's environment and facts about it.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "metadata::variables"
    )]
    pub proxy_metadata: BTreeMap<String, String>,
    /// Whether the application waits for the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_application_until_proxy_starts: Option<bool>,
    /// How long the proxy drains once it is told to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_drain_duration: Option<Span>,
    /// How long connections drain when a listener goes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_duration: Option<Span>,
    /// Where the control plane is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery_address: Option<String>,
    /// The port of health and merged metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_port: Option<u16>,
    /// The port of the admin page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_admin_port: Option<u16>,
    /// Which image the proxy is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ProxyImage>,
    /// Tracing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Value>,
    /// Which of the proxy's own statistics are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_stats_matcher: Option<StatsMatcher>,
    /// More labels on statistics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_stat_tags: Vec<String>,
    /// How the proxy asks whether the application is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Value>,
    /// What stands in front of gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_topology: Option<Value>,
    /// Headers the proxy adds or leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_headers: Option<Value>,
    /// How traffic is captured: `REDIRECT`, `TPROXY` or `NONE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interception_mode: Option<String>,
    /// Variables of the proxy's environment, as the object of this kind calls them.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "metadata::variables"
    )]
    pub environment_variables: BTreeMap<String, String>,
    /// What the proxy calls itself in traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing_service_name: Option<String>,
    /// The name of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_id: Option<String>,
    /// The name of the service the proxy belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cluster: Option<String>,
    /// Where Zipkin is; deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zipkin_address: Option<String>,
    /// Where statistics are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statsd_udp_address: Option<String>,
    /// An access log service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_access_log_service: Option<Value>,
    /// A metrics service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_metrics_service: Option<Value>,
    /// Switches of another proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_values: Option<Value>,
    /// Where private keys are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_provider: Option<Value>,
    /// More roots to trust.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_certificates_pem: Vec<String>,
    /// How proxies and the control plane trust each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane_auth_policy: Option<Value>,
    /// A folder of another proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_path: Option<String>,
    /// A binary of another proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_path: Option<String>,
    /// A configuration file of another proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_config_file: Option<String>,
    /// A template of another proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_bootstrap_template_path: Option<String>,
    /// The longest name of a statistic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stat_name_length: Option<u32>,
    /// How often the access log is flushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_flush_interval: Option<Span>,
    /// How much of the access log is collected before it is flushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_flush_min_size_kb: Option<u32>,
    /// Whether metrics are served compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats_compression: Option<bool>,
}

/// Which image a proxy is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProxyImage {
    /// `default`, `debug` or `distroless`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_type: Option<String>,
}

/// Which of a proxy's own statistics are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct StatsMatcher {
    /// Those whose names begin with one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inclusion_prefixes: Vec<String>,
    /// Those whose names end with one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inclusion_suffixes: Vec<String>,
    /// Those whose names match one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inclusion_regexps: Vec<String>,
}

/// Lays each named field over the one below unless it is absent.
macro_rules! nearer {
    ($near:ident over $far:ident: $($field:ident),+ $(,)?) => {
        Self {
            $($field: $near.$field.or($far.$field),)+
            proxy_metadata: joined($far.proxy_metadata, $near.proxy_metadata),
            environment_variables: joined($far.environment_variables, $near.environment_variables),
            extra_stat_tags: either($near.extra_stat_tags, $far.extra_stat_tags),
            ca_certificates_pem: either($near.ca_certificates_pem, $far.ca_certificates_pem),
        }
    };
}

impl ProxyConfig {
    /// Reads the settings from a document: the value of `defaultConfig`, of the annotation
    /// `proxy.istio.io/config` or the specification of an object of this kind.
    pub fn read(document: Value) -> Result<(Self, Vec<ConfigProblem>), ConfigProblem> {
        let read = read::lenient::<Self>(document)?;
        Ok((read.settings, read.problems))
    }

    /// What one of the variables in [`metadata::TIMES`] says; `None`: nothing.
    pub fn time(&self, variable: &str) -> Option<Duration> {
        let said = self.proxy_metadata.get(variable);
        let said = said.or_else(|| self.environment_variables.get(variable));
        metadata::time(said?).ok()
    }

    /// These settings over others further away. What is absent here comes from there; the maps
    /// are joined key by key.
    #[must_use]
    pub fn over(self, far: Self) -> Self {
        let near = self;
        nearer!(near over far:
            concurrency,
            hold_application_until_proxy_starts,
            termination_drain_duration,
            drain_duration,
            discovery_address,
            status_port,
            proxy_admin_port,
            image,
            tracing,
            proxy_stats_matcher,
            readiness_probe,
            gateway_topology,
            proxy_headers,
            interception_mode,
            tracing_service_name,
            mesh_id,
            service_cluster,
            zipkin_address,
            statsd_udp_address,
            envoy_access_log_service,
            envoy_metrics_service,
            runtime_values,
            private_key_provider,
            control_plane_auth_policy,
            config_path,
            binary_path,
            custom_config_file,
            proxy_bootstrap_template_path,
            stat_name_length,
            file_flush_interval,
            file_flush_min_size_kb,
            stats_compression,
        )
    }
}

fn joined(
    mut far: BTreeMap<String, String>,
    near: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    far.extend(near);
    far
}

fn either(near: Vec<String>, far: Vec<String>) -> Vec<String> {
    if near.is_empty() { far } else { near }
}
