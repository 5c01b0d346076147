//! Sends the kubelet's probes around the redirection: each goes to the proxy's health port, and the
//! proxy asks the application from inside the pod. So probes see the application and not the
//! proxy's answer for it, and they still work where only peers with certificates are let in.
//!
//! Probes that run a command, and those that name a host of their own, are not about a port of the
//! pod and stay as they are.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::draft::{self, Draft, Object};
use crate::names::{INIT_CONTAINER, PROXY_CONTAINER};

/// The port the proxy answers probes at.
const HEALTH_PORT: u16 = 15020;

/// A probe's key in a container, and the end of its new path.
const KINDS: [(&str, &str); 3] = [
    ("livenessProbe", "livez"),
    ("readinessProbe", "readyz"),
    ("startupProbe", "startupz"),
];

/// A hook's key in a container's lifecycle, and the end of its new path.
const HOOKS: [(&str, &str); 2] = [("postStart", "poststartz"), ("preStop", "prestopz")];

/// What came of rewriting.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    /// The original probes by their new paths.
    pub(crate) probers: BTreeMap<String, Value>,
    /// What the user should know.
    pub(crate) warnings: Vec<String>,
}

impl Rewritten {
    /// The original probes as the proxy reads them.
    pub(crate) fn json(&self) -> Option<String> {
        let some = !self.probers.is_empty();
        some.then(|| json!(self.probers).to_string())
    }
}

/// Rewrites the probes of every container but our own. Those that were rewritten before are
/// recognised and left alone.
pub(crate) fn rewrite(draft: &mut Draft) -> Rewritten {
    let mut rewritten = Rewritten::default();
    let inits = draft
        .init_containers
        .iter_mut()
        // Only init containers that keep running have probes.
        .filter(|container| draft::text(container, "restartPolicy") == "Always");
    for container in inits.chain(&mut draft.containers) {
        if let Value::Object(container) = container {
            rewrite_container(container, &mut rewritten);
        }
    }
    rewritten
}

fn rewrite_container(container: &mut Object, rewritten: &mut Rewritten) {
    let name = container
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if [PROXY_CONTAINER, INIT_CONTAINER].contains(&name.as_str()) {
        return;
    }
    let ports = named_ports(container);
    for (kind, end) in KINDS {
        let Some(Value::Object(probe)) = container.get_mut(kind) else {
            continue;
        };
        let path = format!("/app-health/{name}/{end}");
        if let Err(why) = redirect(probe, &ports, path, rewritten) {
            rewritten
                .warnings
                .push(format!("container {name}: {kind} stays as it is: {why}"));
        }
    }
    let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle") else {
        return;
    };
    for (kind, end) in HOOKS {
        let Some(Value::Object(hook)) = lifecycle.get_mut(kind) else {
            continue;
        };
        // A hook over a plain connection was never carried out by any kubelet.
        if !hook.contains_key("httpGet") {
            continue;
        }
        let path = format!("/app-lifecycle/{name}/{end}");
        if let Err(why) = redirect(hook, &ports, path, rewritten) {
            rewritten
                .warnings
                .push(format!("container {name}: {kind} stays as it is: {why}"));
        }
    }
}

/// Turns a probe or hook to the proxy and keeps what it was.
fn redirect(
    probe: &mut Object,
    ports: &BTreeMap<String, u16>,
    path: String,
    rewritten: &mut Rewritten,
) -> Result<(), String> {
    if let Some(prober) = original(probe, ports, &path)? {
        for action in ["httpGet", "tcpSocket", "grpc"] {
            probe.remove(action);
        }
        let get = json!({ "path": path, "port": HEALTH_PORT, "scheme": "HTTP" });
        probe.insert("httpGet".to_owned(), get);
        rewritten.probers.insert(path, prober);
    }
    Ok(())
}

fn named_ports(container: &Object) -> BTreeMap<String, u16> {
    let ports = container.get("ports").and_then(Value::as_array);
    let ports = ports.into_iter().flatten();
    ports
        .filter_map(|port| {
            let number = u16::try_from(port.get("containerPort")?.as_u64()?).ok()?;
            Some((port.get("name")?.as_str()?.to_owned(), number))
        })
        .collect()
}

/// The probe as the proxy is to carry it out; `None`: it needs no rewriting.
fn original(
    probe: &Object,
    ports: &BTreeMap<String, u16>,
    new_path: &str,
) -> Result<Option<Value>, String> {
    let mut prober = Map::new();
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        let Some(Value::Object(action)) = probe.get(kind) else {
            continue;
        };
        if action.get("path").and_then(Value::as_str) == Some(new_path) {
            return Ok(None);
        }
        let host = action.get("host").and_then(Value::as_str);
        if host.is_some_and(|host| !host.is_empty()) {
            return Ok(None);
        }
        let mut action = action.clone();
        action.insert("port".to_owned(), resolve(action.get("port"), ports)?);
        prober.insert(kind.to_owned(), Value::Object(action));
    }
    if prober.is_empty() {
        return Ok(None);
    }
    if let Some(timeout) = probe.get("timeoutSeconds") {
        prober.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    Ok(Some(Value::Object(prober)))
}

fn resolve(port: Option<&Value>, ports: &BTreeMap<String, u16>) -> Result<Value, String> {
    match port {
        Some(Value::Number(number)) => Ok(Value::Number(number.clone())),
        Some(Value::String(name)) => match ports.get(name).copied().or(name.parse().ok()) {
            Some(number) => Ok(json!(number)),
            None => Err(format!("there is no port named {name}")),
        },
        _ => Err("it names no port".to_owned()),
    }
}

#[cfg(test)]
mod tests;
