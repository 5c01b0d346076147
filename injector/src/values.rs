//! The installation's settings for injection: key `values` of ConfigMap `istio-sidecar-injector`,
//! in the shape Istio's chart gives them (a subset, plus two settings of our own).
//!
//! ```json
//! {
//!   "revision": "default",
//!   "global": {
//!     "hub": "localhost", "tag": "0.1.0", "network": "",
//!     "imagePullPolicy": "IfNotPresent", "imagePullSecrets": [],
//!     "proxy": { "image": "mesh-proxy", "logLevel": "info",
//!                "resources": { "requests": { "cpu": "10m", "memory": "32Mi" } } }
//!   },
//!   "sidecarInjectorWebhook": { "rewriteAppHTTPProbe": true, "nativeSidecars": "auto",
//!                               "applicationStopDelaySeconds": 5 }
//! }
//! ```
//!
//! A key that is absent has the default given here; a key nobody knows is named and left alone; a
//! value of the wrong type is an error, and whoever had values before keeps those.

use std::collections::BTreeMap;

use mesh_api::mesh_config;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Operator, Policy, Requirement, Selector, names};

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Values {
    /// The revision this injector belongs to.
    pub revision: String,
    /// Other names of this revision.
    pub revision_tags: Vec<String>,
    /// Settings shared by everything that is installed.
    pub global: Global,
    /// Settings of injection itself.
    pub sidecar_injector_webhook: Webhook,
}

/// Settings shared by everything that is installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Global {
    /// The registry images come from.
    pub hub: String,
    /// The tag of images.
    pub tag: Tag,
    /// When kubelets pull: `IfNotPresent`, `Always` or `Never`.
    pub image_pull_policy: String,
    /// Names of Secrets with credentials for the registry, in the namespace of each pod.
    pub image_pull_secrets: Vec<String>,
    /// The network of the cluster; pods are labelled with it.
    pub network: String,
    /// Settings of proxies.
    pub proxy: Proxy,
}

/// A tag; charts write some as numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Value", into = "String")]
pub struct Tag(pub String);

/// Settings of proxies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxy {
    /// The name of the image, or all of it if it has a `/`.
    pub image: String,
    /// What the proxy asks for and may use.
    pub resources: Value,
    /// Its log level.
    pub log_level: String,
    /// Destinations whose connections are captured: CIDRs or `*`.
    #[serde(rename = "includeIPRanges")]
    pub include_ip_ranges: String,
    /// Destinations left out.
    #[serde(rename = "excludeIPRanges")]
    pub exclude_ip_ranges: String,
    /// Ports captured on the way in: numbers or `*`.
    pub include_inbound_ports: String,
    /// Ports left out on the way in.
    pub exclude_inbound_ports: String,
    /// Ports captured on the way out whatever the address.
    pub include_outbound_ports: String,
    /// Ports left out on the way out.
    pub exclude_outbound_ports: String,
    /// Seconds before the first readiness probe.
    pub readiness_initial_delay_seconds: u32,
    /// Seconds between readiness probes.
    pub readiness_period_seconds: u32,
    /// Failed probes until the proxy counts as not ready.
    pub readiness_failure_threshold: u32,
}

/// Settings of injection itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    /// Whether namespaces without a label count as enabled.
    pub enable_namespaces_by_default: bool,
    /// What happens to a pod of a chosen namespace that nothing else decides about.
    pub policy: Policy,
    /// Pods that get no sidecar unless they ask.
    pub never_inject_selector: Vec<mesh_config::LabelSelector>,
    /// Pods that get one although the policy is disabled.
    pub always_inject_selector: Vec<mesh_config::LabelSelector>,
    /// Whether probes go through the proxy.
    #[serde(rename = "rewriteAppHTTPProbe")]
    pub rewrite_app_http_probe: bool,
    /// Annotations every injected pod gets.
    pub injected_annotations: BTreeMap<String, String>,
    /// The form of the sidecar.
    pub native_sidecars: NativeSidecars,
    /// How long an application container without preStop waits before it is told to end, so that
    /// its clients learn that it is going; 0: it does not wait.
    pub application_stop_delay_seconds: u32,
}

/// The form of the sidecar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NativeSidecars {
    /// An init container that keeps running, where the cluster knows that.
    #[default]
    Auto,
    /// A container like others.
    Never,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            revision: names::DEFAULT_REVISION.to_owned(),
            revision_tags: Vec::new(),
            global: Global::default(),
            sidecar_injector_webhook: Webhook::default(),
        }
    }
}

impl Default for Global {
    fn default() -> Self {
        Self {
            hub: "localhost".to_owned(),
            tag: Tag(env!("CARGO_PKG_VERSION").to_owned()),
            image_pull_policy: "IfNotPresent".to_owned(),
            image_pull_secrets: Vec::new(),
            network: String::new(),
            proxy: Proxy::default(),
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            image: "mesh-proxy".to_owned(),
            // No limits: a throttled proxy makes every request slow, and one that is killed for
            // its memory takes the pod's traffic with it.
            resources: json!({ "requests": { "cpu": "10m", "memory": "32Mi" } }),
            log_level: "info".to_owned(),
            include_ip_ranges: "*".to_owned(),
            exclude_ip_ranges: String::new(),
            include_inbound_ports: "*".to_owned(),
            exclude_inbound_ports: String::new(),
            include_outbound_ports: String::new(),
            exclude_outbound_ports: String::new(),
            // None: the startup probe has asked already. A kubelet that may not ask yet asks a
            // whole period later, and the pod is not ready so long.
            readiness_initial_delay_seconds: 0,
            readiness_period_seconds: 5,
            readiness_failure_threshold: 3,
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            enable_namespaces_by_default: false,
            policy: Policy::Enabled,
            never_inject_selector: Vec::new(),
            always_inject_selector: Vec::new(),
            rewrite_app_http_probe: true,
            injected_annotations: BTreeMap::new(),
            native_sidecars: NativeSidecars::Auto,
            application_stop_delay_seconds: 5,
        }
    }
}

impl From<Value> for Tag {
    fn from(value: Value) -> Self {
        Self(match value {
            Value::String(text) => text,
            Value::Null => String::new(),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        })
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

/// Values that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the values cannot be read: {0}")]
pub struct UnreadableValues(pub String);

impl Values {
    /// Reads the text of key `values`, JSON or YAML. Beside them: keys that mean nothing here.
    pub fn read(text: &str) -> Result<(Self, Vec<String>), UnreadableValues> {
        let fail = |error: String| {
            let line = error.lines().next().unwrap_or_default();
            UnreadableValues(line.to_owned())
        };
        let document: Value =
            serde_saphyr::from_str(text).map_err(|error| fail(error.to_string()))?;
        if document.is_null() {
            return Ok((Self::default(), Vec::new()));
        }
        let values: Self =
            serde_json::from_value(document.clone()).map_err(|error| fail(error.to_string()))?;
        let known = serde_json::to_value(&values).map_err(|error| fail(error.to_string()))?;
        let mut unknown = Vec::new();
        name_unknown(&document, &known, "", &mut unknown);
        Ok((values, unknown))
    }

    /// The image of the proxy.
    pub fn proxy_image(&self) -> String {
        let Global {
            hub, tag, proxy, ..
        } = &self.global;
        if proxy.image.contains('/') {
            return proxy.image.clone();
        }
        let prefix = if hub.is_empty() {
            String::new()
        } else {
            format!("{}/", hub.trim_end_matches('/'))
        };
        if tag.0.is_empty() {
            format!("{prefix}{}", proxy.image)
        } else {
            format!("{prefix}{}:{}", proxy.image, tag.0)
        }
    }
}

impl Values {
    /// Uses this image, whatever was said before.
    pub fn set_proxy_image(&mut self, image: &str) {
        image.clone_into(&mut self.global.proxy.image);
        if !image.contains('/') {
            self.global.hub.clear();
            self.global.tag.0.clear();
        }
    }
}

/// Keys of `document` that did not come back.
fn name_unknown(document: &Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    let (Value::Object(document), Value::Object(known)) = (document, known) else {
        return;
    };
    for (key, value) in document {
        let here = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match known.get(key) {
            Some(known) => name_unknown(value, known, &here, unknown),
            None => unknown.push(here),
        }
    }
}

impl From<&mesh_config::LabelSelector> for Selector {
    fn from(selector: &mesh_config::LabelSelector) -> Self {
        let mesh_config::LabelSelector {
            match_labels,
            match_expressions,
        } = selector;
        let requirement = |one: &mesh_config::LabelRequirement| Requirement {
            key: one.key.clone(),
            operator: match one.operator {
                mesh_config::LabelOperator::In => Operator::In(one.values.clone()),
                mesh_config::LabelOperator::NotIn => Operator::NotIn(one.values.clone()),
                mesh_config::LabelOperator::Exists => Operator::Exists,
                mesh_config::LabelOperator::DoesNotExist => Operator::DoesNotExist,
            },
        };
        Self {
            match_labels: match_labels.clone(),
            match_expressions: match_expressions.iter().map(requirement).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_means_the_defaults_and_the_image_is_put_together() {
        let (values, unknown) = Values::read("{}").unwrap();
        assert_eq!((&values, unknown), (&Values::default(), Vec::new()));
        assert_eq!(Values::read("").unwrap().0, Values::default());
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            values.proxy_image(),
            format!("localhost/mesh-proxy:{version}")
        );
        for (text, image) in [
            (
                r#"{"global":{"hub":"r.io/m/","tag":"x"}}"#,
                "r.io/m/mesh-proxy:x",
            ),
            (r#"{"global":{"hub":"","tag":1.5}}"#, "mesh-proxy:1.5"),
            (
                r#"{"global":{"proxy":{"image":"a/b@sha256:1"}}}"#,
                "a/b@sha256:1",
            ),
        ] {
            assert_eq!(Values::read(text).unwrap().0.proxy_image(), image, "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_named_and_wrong_types_refused() {
        let text = r#"{"global":{"proxy":{"resources":{"limits":{"cpu":"1"}},"privileged":true}},
            "sidecarInjectorWebhook":{"neverInjectSelector":[{"matchLabels":{"a":"b"}}]},"pilot":{}}"#;
        let (values, unknown) = Values::read(text).unwrap();
        assert_eq!(unknown, ["global.proxy.privileged", "pilot"]);
        assert_eq!(
            values.global.proxy.resources,
            json!({"limits": {"cpu": "1"}})
        );
        let error = Values::read(r#"{"global":{"imagePullSecrets":"x"}}"#).unwrap_err();
        assert!(error.to_string().contains("expected a sequence"), "{error}");
    }
}
