//! The proxy container, in each of its three forms: a native sidecar, a container like others, and
//! the one container of a gateway.

use std::time::Duration;

use mesh_api::pod::DATA_DIR;
use serde_json::{Value, json};

use crate::names::PROXY_CONTAINER;
use crate::options::{Options, Template};

const ROOT: &str = "/var/run/secrets/istio";
const TOKENS: &str = "/var/run/secrets/tokens";

/// What a kubelet asks, and how long it waits for the answer, in milliseconds: most proxies become
/// ready within that, and an answer "not yet" would be a warning of a healthy start. A little less
/// than the probes' time-out.
const READY: &str = "/healthz/ready?patience=2700";

/// Volumes the proxy needs, by their names.
pub(crate) const VOLUMES: [&str; 3] = ["istio-data", "istio-token", "istiod-ca-cert"];

/// What the proxy is told about its application.
#[derive(Debug, Default)]
pub(crate) struct Application {
    /// Its probes, as JSON.
    pub(crate) probers: Option<String>,
    /// Where its metrics are, as JSON.
    pub(crate) metrics: Option<String>,
}

/// The proxy container.
pub(crate) fn container(options: &Options, application: Application, pull_policy: &str) -> Value {
    let mut container = json!({
        "name": PROXY_CONTAINER,
        "image": options.image,
        "imagePullPolicy": pull_policy,
        "command": ["/usr/local/bin/proxy"],
        "args": arguments(options),
        "env": environment(options, application),
        "ports": [{ "name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP" }],
        "readinessProbe": readiness_probe(options),
        "resources": options.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": 1337,
            "runAsNonRoot": true,
            "runAsUser": 1337,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": mounts(options),
    });
    if let Value::Object(container) = &mut container {
        if !is_waited_for(options) {
            container.insert("startupProbe".to_owned(), startup_probe());
        }
        if options.native {
            container.insert("restartPolicy".to_owned(), json!("Always"));
        }
        if let Some(lifecycle) = lifecycle(options) {
            container.insert("lifecycle".to_owned(), lifecycle);
        }
    }
    container
}

/// The command line of the proxy.
pub(crate) fn arguments(options: &Options) -> Vec<String> {
    let mut arguments: Vec<String> = match options.template {
        Template::Sidecar => ["sidecar", "--mode", "capture"].map(str::to_owned).into(),
        Template::Gateway => vec!["gateway".to_owned()],
    };
    let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
    add("--workload", "$(POD_NAMESPACE)/$(POD_NAME)".to_owned());
    add("--address", "$(INSTANCE_IP)".to_owned());
    add("--control-plane", options.control_plane.url());
    add("--control-plane-root", format!("{ROOT}/root-cert.pem"));
    add("--token", format!("{TOKENS}/istio-token"));
    add("--data-dir", DATA_DIR.to_owned());
    add("--log-level", options.log_level.clone());
    if let Some(concurrency) = options.concurrency {
        add("--concurrency", concurrency.to_string());
    }
    add("--min-drain", duration(options.min_drain));
    add("--drain-timeout", duration(options.drain_timeout));
    arguments
}

fn duration(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        // Rounded up: a little is more than nothing.
        format!("{}ms", duration.as_micros().div_ceil(1000))
    }
}

fn environment(options: &Options, application: Application) -> Vec<Value> {
    let fields = [
        ("POD_NAME", "metadata.name"),
        ("POD_NAMESPACE", "metadata.namespace"),
        ("INSTANCE_IP", "status.podIP"),
        ("HOST_IP", "status.hostIP"),
        ("SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ];
    let mut variables: Vec<Value> = fields
        .into_iter()
        .map(|(name, path)| {
            json!({
                "name": name,
                "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } },
            })
        })
        .collect();
    for (name, value) in &options.environment {
        variables.push(json!({ "name": name, "value": value }));
    }
    for (name, value) in [
        (PROBERS, application.probers),
        ("ISTIO_PROMETHEUS_ANNOTATIONS", application.metrics),
    ] {
        if let Some(value) = value {
            variables.push(json!({ "name": name, "value": escaped(&value) }));
        }
    }
    variables
}

/// The variable with the application's probes.
pub(crate) const PROBERS: &str = "ISTIO_KUBE_APP_PROBERS";

/// A value whose dollar signs survive the substitution that kubelets do in values.
pub(crate) fn escaped(value: &str) -> String {
    value.replace('$', "$$")
}

/// The opposite of [`escaped`].
pub(crate) fn unescaped(value: &str) -> String {
    value.replace("$$", "$")
}

fn readiness_probe(options: &Options) -> Value {
    json!({
        "httpGet": { "path": READY, "port": 15021, "scheme": "HTTP" },
        "initialDelaySeconds": options.readiness.initial_delay,
        "periodSeconds": options.readiness.period,
        "failureThreshold": options.readiness.failures,
        "timeoutSeconds": 3,
    })
}

/// Whether what starts next waits by itself, for the hook of a sidecar that is a container like
/// others. A kubelet's own question would come up to two seconds later.
fn is_waited_for(options: &Options) -> bool {
    options.template == Template::Sidecar && !options.native && options.hold
}

/// Containers behind this one in the list of init containers start when it succeeds. Ten minutes, asked every second: a control plane that is away for a while delays a pod's start
/// and does not restart its proxy over and over.
fn startup_probe() -> Value {
    json!({
        "httpGet": { "path": READY, "port": 15021, "scheme": "HTTP" },
        "periodSeconds": 1,
        "failureThreshold": 600,
        "timeoutSeconds": 3,
    })
}

fn lifecycle(options: &Options) -> Option<Value> {
    let drain = json!({
        "exec": { "command": ["/usr/local/bin/pilot-agent", "request", "POST", "/drain"] }
    });
    let wait = json!({ "exec": { "command": ["/usr/local/bin/pilot-agent", "wait"] } });
    match (options.template, options.native) {
        (Template::Sidecar, true) => Some(json!({ "preStop": drain })),
        (Template::Sidecar, false) if options.hold => Some(json!({ "postStart": wait })),
        (Template::Sidecar | Template::Gateway, false) | (Template::Gateway, true) => None,
    }
}

fn mounts(options: &Options) -> Vec<Value> {
    let mut mounts = vec![
        json!({ "name": "istio-data", "mountPath": DATA_DIR }),
        json!({ "name": "istio-token", "mountPath": TOKENS, "readOnly": true }),
        json!({ "name": "istiod-ca-cert", "mountPath": ROOT, "readOnly": true }),
    ];
    mounts.extend(options.mounts.iter().cloned());
    mounts
}

/// The volumes behind those mounts, without the user's.
pub(crate) fn volumes() -> [Value; 3] {
    let [data, token, root] = VOLUMES;
    [
        json!({ "name": data, "emptyDir": { "medium": "Memory" } }),
        json!({
            "name": token,
            "projected": {
                "sources": [{
                    "serviceAccountToken": {
                        "audience": "istio-ca",
                        "expirationSeconds": 43200,
                        "path": "istio-token",
                    }
                }]
            },
        }),
        json!({ "name": root, "configMap": { "name": "istio-ca-root-cert" } }),
    ]
}
