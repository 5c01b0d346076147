//! Waits until what was applied runs, and says what is wrong when it does not.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::kubectl::{Kubectl, SHORT, items, name_of, text_at};
use super::manifests::kind_of;
use crate::cluster::progress::Step;

const POLL: Duration = Duration::from_millis(500);
/// Reasons for which a container will not start however long one waits, and how long they must
/// last: the first pull of an image may fail and then succeed.
const HOPELESS: &[&str] = &[
    "CreateContainerConfigError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
];
const HOPE: Duration = Duration::from_secs(20);
/// Lines of a container's log that are shown.
const LINES: &str = "--tail=15";

/// Waits until all pods of these Deployments are those of the newest template, and ready.
pub(crate) fn wait(
    kubectl: &Kubectl,
    namespace: &str,
    deployments: &[&str],
    limit: Duration,
    step: &mut Step,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut hopeless_since: Option<Instant> = None;
    loop {
        let all = kubectl.json(&["get", "deployments,pods", "-n", namespace, "-o", "json"])?;
        let waiting: Vec<String> = deployments
            .iter()
            .filter_map(|name| waiting_for(&all, name))
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        step.doing(&waiting.join(", "));
        let hopeless = items(&all).find_map(hopeless);
        let since = *hopeless_since.get_or_insert_with(Instant::now);
        let given_up = hopeless.is_some() && since.elapsed() >= HOPE;
        if hopeless.is_none() {
            hopeless_since = None;
        }
        if given_up || Instant::now() >= deadline {
            let why = match hopeless {
                Some(reason) if given_up => reason,
                _ => format!("not ready after {} s", limit.as_secs()),
            };
            bail!(
                "{}: {why}\n{}",
                waiting.join(", "),
                diagnosis(kubectl, namespace, &all)
            );
        }
        thread::park_timeout(POLL);
    }
}

/// What a Deployment still lacks; nothing when it is rolled out.
fn waiting_for(all: &Value, name: &str) -> Option<String> {
    let found = items(all).find(|one| kind_of(one) == "Deployment" && name_of(one) == name);
    let Some(deployment) = found else {
        return Some(format!("{name} does not exist"));
    };
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64);
    let wanted = number("/spec/replicas").unwrap_or(1);
    let seen = number("/status/observedGeneration") >= number("/metadata/generation");
    let updated = number("/status/updatedReplicas").unwrap_or(0);
    let available = number("/status/availableReplicas").unwrap_or(0);
    let total = number("/status/replicas").unwrap_or(0);
    if seen && updated == wanted && available >= wanted && total == updated {
        return None;
    }
    let ready = available.min(updated);
    Some(if ready >= wanted && total > updated {
        format!("{name}: {} old to end", total - updated)
    } else {
        format!("{name}: {ready} of {wanted} ready")
    })
}

/// Why a pod will not start by itself.
fn hopeless(pod: &Value) -> Option<String> {
    if kind_of(pod) != "Pod" {
        return None;
    }
    containers(pod).find_map(|container| {
        let waiting = container.pointer("/state/waiting")?;
        let reason = text_at(waiting, "/reason")?;
        let message = text_at(waiting, "/message").unwrap_or("no message");
        HOPELESS
            .contains(&reason)
            .then(|| format!("pod {}: {reason}: {message}", name_of(pod)))
    })
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|pointer| pod.pointer(pointer).and_then(Value::as_array))
        .flatten()
}

/// Whether all containers of a pod are ready, or it has done its work.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let phase = text_at(pod, "/status/phase");
    if phase == Some("Succeeded") {
        return true;
    }
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        text_at(condition, "/type") == Some("Ready")
            && text_at(condition, "/status") == Some("True")
    })
}

/// Everything that helps to see why pods are not ready: states, events, last words.
pub(crate) fn diagnosis(kubectl: &Kubectl, namespace: &str, all: &Value) -> String {
    let mut report = String::new();
    let sick = items(all).filter(|pod| kind_of(pod) == "Pod" && !is_ready(pod));
    for pod in sick {
        let name = name_of(pod);
        // Writing to a string cannot fail.
        writeln!(report, "pod {name}:").unwrap_or_default();
        for line in states(pod) {
            writeln!(report, "  {line}").unwrap_or_default();
        }
        let about = format!("involvedObject.name={name}");
        let events = [
            "get",
            "events",
            "-n",
            namespace,
            "--field-selector",
            &about,
            "-o",
            "json",
        ];
        match kubectl.json(&events) {
            Ok(events) => report.extend(items(&events).filter_map(event)),
            Err(error) => writeln!(report, "  its events: {error:#}").unwrap_or_default(),
        }
        let logs = [
            "logs",
            "-n",
            namespace,
            name,
            "--all-containers",
            "--prefix",
            LINES,
        ];
        if let Ok(said) = kubectl.call(&logs, None, SHORT) {
            for line in String::from_utf8_lossy(&said.stdout).lines() {
                writeln!(report, "  {line}").unwrap_or_default();
            }
        }
    }
    if report.is_empty() {
        let hint = format!(
            "see `{} describe deployments -n {namespace}`",
            kubectl.spelled()
        );
        report.push_str(&hint);
    }
    report
}

/// How each container of a pod is.
fn states(pod: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    for condition in conditions.into_iter().flatten() {
        if text_at(condition, "/status") == Some("False")
            && let Some(message) = text_at(condition, "/message").filter(|text| !text.is_empty())
        {
            lines.push(message.to_owned());
        }
    }
    for container in containers(pod) {
        let name = text_at(container, "/name").unwrap_or_default();
        for (when, pointer) in [("is", "/state"), ("was", "/lastState")] {
            let state = container.pointer(pointer).and_then(Value::as_object);
            for (state, detail) in state
                .into_iter()
                .flatten()
                .filter(|(name, _)| *name != "running")
            {
                let reason = text_at(detail, "/reason").unwrap_or("no reason given");
                let message = text_at(detail, "/message").unwrap_or_default();
                let code = detail.pointer("/exitCode").and_then(Value::as_i64);
                let code = code.map_or_else(String::new, |code| format!(" (exit code {code})"));
                lines.push(format!("{name} {when} {state}: {reason}{code} {message}"));
            }
        }
    }
    lines
}

fn event(event: &Value) -> Option<String> {
    let reason = text_at(event, "/reason")?;
    let message = text_at(event, "/message")?;
    (text_at(event, "/type") != Some("Normal")).then(|| format!("  event {reason}: {message}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(generation: u64, status: &Value) -> Value {
        json!({"items": [{
            "kind": "Deployment",
            "metadata": {"name": "istiod", "generation": generation},
            "spec": {"replicas": 2},
            "status": status,
        }]})
    }

    #[test]
    fn a_deployment_is_done_only_when_all_its_pods_are_new_and_available() {
        let done = json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2,
                          "availableReplicas": 2});
        assert_eq!(waiting_for(&deployment(3, &done), "istiod"), None);
        let unseen = waiting_for(&deployment(4, &done), "istiod");
        assert!(unseen.is_some(), "the controller has not looked yet");
        let partly = json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2,
                            "availableReplicas": 1});
        assert_eq!(
            waiting_for(&deployment(3, &partly), "istiod").unwrap(),
            "istiod: 1 of 2 ready"
        );
        let old = json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 2,
                         "availableReplicas": 3});
        assert_eq!(
            waiting_for(&deployment(3, &old), "istiod").unwrap(),
            "istiod: 1 old to end"
        );
        assert!(
            waiting_for(&json!({"items": []}), "istiod")
                .unwrap()
                .contains("not exist")
        );
    }

    #[test]
    fn an_image_that_is_not_there_is_hopeless_and_a_slow_start_is_not() {
        let pod = |reason: &str| {
            json!({"kind": "Pod", "metadata": {"name": "p"}, "status": {"containerStatuses": [
                {"name": "c", "state": {"waiting": {"reason": reason, "message": "m"}}}
            ]}})
        };
        assert_eq!(
            hopeless(&pod("ImagePullBackOff")).unwrap(),
            "pod p: ImagePullBackOff: m"
        );
        assert_eq!(hopeless(&pod("ContainerCreating")), None);
    }

    #[test]
    fn the_diagnosis_tells_states_events_and_last_words() {
        let script = r#"case "$1" in
            get) echo '{"items":[{"type":"Warning","reason":"FailedMount","message":"no map"},
                                 {"type":"Normal","reason":"Pulled","message":"fine"}]}' ;;
            logs) echo 'last words' ;;
        esac"#;
        let kubectl = Kubectl::new("sh", vec!["-c".into(), script.into(), "kubectl".into()]);
        let all = json!({"items": [
            {"kind": "Pod", "metadata": {"name": "sick"}, "status": {
                "conditions": [{"type": "Ready", "status": "False", "message": "not ready: [c]"}],
                "containerStatuses": [{"name": "c",
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"reason": "Error", "exitCode": 2}}}],
            }},
            {"kind": "Pod", "metadata": {"name": "well"}, "status": {
                "conditions": [{"type": "Ready", "status": "True"}]}},
        ]});
        let report = diagnosis(&kubectl, "istio-system", &all);
        for part in [
            "pod sick:",
            "not ready: [c]",
            "c is waiting: CrashLoopBackOff",
            "c was terminated: Error (exit code 2)",
            "event FailedMount: no map",
            "last words",
        ] {
            assert!(report.contains(part), "{part} in {report}");
        }
        assert!(
            !report.contains("well") && !report.contains("fine"),
            "{report}"
        );
    }
}
