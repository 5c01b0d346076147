//! Proves an installation by using it: two pods in a namespace of their own get a proxy each, one
//! calls the other, and both proxies must have seen it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::kubectl::{Kubectl, SHORT, items, name_of, text_at};
use super::manifests::{self, INJECTOR_NAMESPACE};
use super::rollout;
use crate::cluster::progress::Step;

const CLIENT: &str = "client";
const SERVER: &str = "server";
const REQUESTS: u64 = 20;
/// How long configuration may take to reach proxies that are ready already.
const SETTLE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);

/// Sends requests through two injected pods; removes everything again, whatever comes of it.
pub(crate) fn verify(
    kubectl: &Kubectl,
    shop: &str,
    limit: Duration,
    step: &mut Step,
) -> Result<()> {
    let namespace = format!("mesh-verify-{}", std::process::id());
    let outcome = prove(kubectl, shop, &namespace, limit, step);
    step.doing("removing the namespace");
    let delete = [
        "delete",
        "namespace",
        &namespace,
        "--ignore-not-found",
        "--wait=true",
    ];
    let removed = kubectl.succeed(&delete, None, limit);
    outcome?;
    removed.with_context(|| format!("namespace {namespace} could not be removed"))?;
    Ok(())
}

fn prove(
    kubectl: &Kubectl,
    shop: &str,
    namespace: &str,
    limit: Duration,
    step: &mut Step,
) -> Result<()> {
    let objects = objects(namespace, shop);
    let (first, rest) = objects.split_at(1);
    let create = ["create", "-f", "-"];
    kubectl.succeed(&create, Some(&manifests::list(first)?), SHORT)?;
    // Pods need the namespace's service account, and their proxies its root certificate.
    wait_for_account(kubectl, namespace, limit)?;
    kubectl
        .succeed(&create, Some(&manifests::list(rest)?), SHORT)
        .context("pods of a labelled namespace are not admitted")?;
    wait_for_pods(kubectl, namespace, limit, step)?;
    step.doing("sending requests");
    call(kubectl, namespace)?;
    for (pod, reporter) in [(CLIENT, "source"), (SERVER, "destination")] {
        seen_by(kubectl, namespace, pod, reporter)?;
    }
    Ok(())
}

/// The namespace, and what is in it.
fn objects(namespace: &str, shop: &str) -> Vec<Value> {
    let pod = |name: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "securityContext": {
                    "runAsNonRoot": true,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "app",
                    "image": shop,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/usr/local/bin/shop"],
                    "args": ["store", "--listen", "0.0.0.0:8080", "--name", name],
                    "ports": [{"containerPort": 8080}],
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        })
    };
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                "labels": {
                    "istio-injection": "enabled",
                    "app.kubernetes.io/managed-by": "mesh",
                },
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVER, "namespace": namespace},
            "spec": {
                "selector": {"app": SERVER},
                "ports": [{"name": "http", "port": 8080, "targetPort": 8080}],
            },
        }),
        pod(SERVER),
        pod(CLIENT),
    ]
}

fn wait_for_account(kubectl: &Kubectl, namespace: &str, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    let get = ["get", "serviceaccount", "default", "-n", namespace];
    loop {
        let said = kubectl.call(&get, None, SHORT)?;
        if said.status.success() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!(
                "namespace {namespace} got no service account: {}",
                said.stderr.trim()
            );
        }
        thread::park_timeout(POLL);
    }
}

fn wait_for_pods(
    kubectl: &Kubectl,
    namespace: &str,
    limit: Duration,
    step: &mut Step,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let pods = kubectl.json(&["get", "pods", "-n", namespace, "-o", "json"])?;
        if let Some(bare) = items(&pods).find(|pod| !has_proxy(pod)) {
            bail!(
                "pod {} got no proxy although its namespace asks for it; what the injector says: \
                 `{} logs -n {INJECTOR_NAMESPACE} deployment/istio-sidecar-injector`",
                name_of(bare),
                kubectl.spelled()
            );
        }
        let ready = items(&pods).filter(|pod| rollout::is_ready(pod)).count();
        if ready == 2 {
            return Ok(());
        }
        step.doing(&format!("{ready} of 2 pods ready"));
        if Instant::now() >= deadline {
            bail!(
                "{ready} of 2 injected pods became ready in {} s\n{}",
                limit.as_secs(),
                rollout::diagnosis(kubectl, namespace, &pods)
            );
        }
        thread::park_timeout(POLL);
    }
}

/// Whether the injector was there.
fn has_proxy(pod: &Value) -> bool {
    ["/spec/initContainers", "/spec/containers"]
        .into_iter()
        .filter_map(|pointer| pod.pointer(pointer).and_then(Value::as_array))
        .flatten()
        .any(|container| text_at(container, "/name") == Some("istio-proxy"))
}

/// Calls one pod from the other until every request of a round succeeds.
fn call(kubectl: &Kubectl, namespace: &str) -> Result<()> {
    let deadline = Instant::now() + SETTLE;
    let to = format!("{SERVER}:8080");
    let requests = REQUESTS.to_string();
    loop {
        let load = [
            "exec",
            "-n",
            namespace,
            CLIENT,
            "-c",
            "app",
            "--",
            "/usr/local/bin/load",
            "--to",
            &to,
            "-n",
            &requests,
            "-c",
            "2",
        ];
        let said = kubectl.call(&load, None, SHORT)?;
        if said.status.success() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!(
                "requests from one injected pod to the other fail: {} {}",
                String::from_utf8_lossy(&said.stdout).trim(),
                said.stderr.trim()
            );
        }
        thread::park_timeout(POLL);
    }
}

/// Waits until a pod's proxy has counted the requests on its side.
fn seen_by(kubectl: &Kubectl, namespace: &str, pod: &str, reporter: &str) -> Result<()> {
    let deadline = Instant::now() + SETTLE;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:15090/proxy/stats/prometheus");
    loop {
        let metrics = kubectl.text(&["get", "--raw", &path])?;
        let seen = requests_seen(&metrics, reporter);
        if seen >= REQUESTS {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!(
                "{REQUESTS} requests went from pod to pod, but the proxy of pod {pod} counted only \
                 {seen} as {reporter}: traffic passes it by"
            );
        }
        thread::park_timeout(POLL);
    }
}

/// How many requests a proxy counted on one side.
fn requests_seen(metrics: &str, reporter: &str) -> u64 {
    let side = format!("reporter=\"{reporter}\"");
    metrics
        .lines()
        .filter(|line| line.starts_with("istio_requests_total{") && line.contains(&side))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_native_and_a_classic_proxy_are_both_seen() {
        let proxy = json!([{"name": "istio-proxy"}]);
        assert!(has_proxy(&json!({"spec": {"initContainers": proxy}})));
        assert!(has_proxy(&json!({"spec": {"containers": proxy}})));
        assert!(!has_proxy(
            &json!({"spec": {"containers": [{"name": "app"}]}})
        ));
    }

    #[test]
    fn only_requests_of_the_right_side_count() {
        let metrics = "# TYPE istio_requests_total counter\n\
            istio_requests_total{reporter=\"source\",response_code=\"200\"} 18\n\
            istio_requests_total{reporter=\"source\",response_code=\"503\"} 2\n\
            istio_requests_total{reporter=\"destination\",response_code=\"200\"} 7\n\
            istio_request_bytes_count{reporter=\"source\"} 99\n";
        assert_eq!(requests_seen(metrics, "source"), 20);
        assert_eq!(requests_seen(metrics, "destination"), 7);
        assert_eq!(requests_seen("", "source"), 0);
    }

    #[test]
    fn the_namespace_comes_first_and_asks_for_proxies() {
        let objects = objects("n", "localhost/mesh-shop:1");
        assert_eq!(objects[0]["kind"], "Namespace");
        assert_eq!(
            objects[0]["metadata"]["labels"]["istio-injection"],
            "enabled"
        );
        assert_eq!(objects.len(), 4);
    }
}
