//! What can be set about an installation beyond its profile, one `--set KEY=VALUE` at a time.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::kubectl::name_of;
use super::manifests::{INJECTOR_VALUES, edit_mesh, edit_values, kind_of};

/// The parts that can be set, and the Deployments they are.
const PARTS: &[(&str, &str)] = &[
    ("istiod", "istiod"),
    ("injector", "istio-sidecar-injector"),
    ("ingressgateway", "istio-ingressgateway"),
    ("egressgateway", "istio-egressgateway"),
];

/// What can be set, for help and errors.
pub(crate) const KEYS: &str = "\
Keys of --set:
  PART.replicas=N               PART is istiod, injector, ingressgateway or egressgateway
  PART.cpu=QUANTITY             requests
  PART.memory=QUANTITY          requests
  PART.cpuLimit=QUANTITY        limit; there is none unless this is set
  PART.memoryLimit=QUANTITY     limit; `none` for no limit
  PART.minReplicas=N, PART.maxReplicas=N
                                of istiod and ingressgateway, with --autoscaling
  PART.serviceType=TYPE         of gateways: NodePort, LoadBalancer or ClusterIP
  PART.statusPort=true          of gateways: publishes readiness at port 15021 of the Service
  PART.nodePort.PORT=N          of gateways: fixes the node port of http2, https or status-port
  sidecar.cpu, sidecar.memory, sidecar.cpuLimit, sidecar.memoryLimit, sidecar.logLevel
                                of the proxies that are injected
  mesh.KEY=VALUE                a key of MeshConfig, as mesh.accessLogFile=/dev/stdout
  injection.KEY=VALUE           a key of sidecarInjectorWebhook, as
                                injection.enableNamespacesByDefault=true";

/// Reads `KEY=VALUE`.
pub(crate) fn parse(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("`{text}` is not KEY=VALUE"),
    }
}

/// Whether the settings ask for sidecars in namespaces that say nothing. That takes a webhook of
/// its own beside the value.
pub(crate) fn injects_by_default(settings: &[String]) -> bool {
    let mut values = settings
        .iter()
        .filter_map(|setting| setting.strip_prefix("injection.enableNamespacesByDefault="));
    values.next_back() == Some("true")
}

/// Puts a value where its key says.
pub(crate) fn set(objects: &mut [Value], key: &str, value: &str) -> Result<()> {
    let (part, rest) = key
        .split_once('.')
        .with_context(|| format!("there is no key `{key}`.\n{KEYS}"))?;
    let done = match part {
        "mesh" => edit_mesh(find(objects, "ConfigMap", "istio")?, |mesh| {
            put(mesh, rest, plain(value));
        }),
        "injection" => each_values(objects, |values| {
            put(
                values,
                &format!("sidecarInjectorWebhook.{rest}"),
                plain(value),
            );
            Ok(())
        }),
        "sidecar" => each_values(objects, |values| sidecar(values, rest, value)),
        _ => match PARTS.iter().find(|(name, _)| *name == part) {
            Some((_, deployment)) => of_part(objects, deployment, rest, value),
            None => bail!("there is no `{part}` to set.\n{KEYS}"),
        },
    };
    done.with_context(|| format!("--set {key}={value}"))
}

/// Changes the injector's values, and the copy of them for tools.
fn each_values(objects: &mut [Value], edit: impl Fn(&mut Value) -> Result<()>) -> Result<()> {
    let maps = objects
        .iter_mut()
        .filter(|object| kind_of(object) == "ConfigMap" && name_of(object) == INJECTOR_VALUES);
    for map in maps {
        edit_values(map, &edit)?;
    }
    Ok(())
}

/// Sets the type of every gateway's Service.
pub(crate) fn set_service_type(objects: &mut [Value], kind: &str) {
    let services = objects
        .iter_mut()
        .filter(|object| kind_of(object) == "Service" && name_of(object).ends_with("gateway"));
    for service in services {
        put(service, "spec.type", kind.into());
    }
}

fn of_part(objects: &mut [Value], name: &str, key: &str, value: &str) -> Result<()> {
    match key {
        "replicas" => {
            let count = number(value)?;
            let scaler = objects.iter().any(|object| {
                kind_of(object) == "HorizontalPodAutoscaler" && name_of(object) == name
            });
            if scaler {
                bail!("with --autoscaling the autoscaler decides; set minReplicas instead");
            }
            put(
                find(objects, "Deployment", name)?,
                "spec.replicas",
                count.into(),
            );
        }
        "minReplicas" | "maxReplicas" => {
            let scaler = find(objects, "HorizontalPodAutoscaler", name)
                .context("only with --autoscaling")?;
            put(scaler, &format!("spec.{key}"), number(value)?.into());
        }
        "cpu" | "memory" | "cpuLimit" | "memoryLimit" => {
            let deployment = find(objects, "Deployment", name)?;
            let container = deployment
                .pointer_mut("/spec/template/spec/containers/0")
                .context("the Deployment has no container")?;
            resource(container, key, value)?;
        }
        "serviceType" if name.ends_with("gateway") => {
            if !["NodePort", "LoadBalancer", "ClusterIP"].contains(&value) {
                bail!("expected NodePort, LoadBalancer or ClusterIP");
            }
            put(find(objects, "Service", name)?, "spec.type", value.into());
        }
        "statusPort" if name.ends_with("gateway") => match value {
            "true" => publish_status(objects, name)?,
            "false" => {}
            _ => bail!("expected true or false"),
        },
        _ => match key.strip_prefix("nodePort.") {
            Some(port) if name.ends_with("gateway") => node_port(objects, name, port, value)?,
            _ => bail!("there is no such key.\n{KEYS}"),
        },
    }
    Ok(())
}

/// Publishes the readiness of a gateway, as the component `gateway-status-port` does for all.
fn publish_status(objects: &mut [Value], name: &str) -> Result<()> {
    const PORT: u16 = 15021;
    let ports = find(objects, "Service", name)?.pointer_mut("/spec/ports");
    let ports = ports.and_then(Value::as_array_mut).context("no ports")?;
    if !ports
        .iter()
        .any(|port| port.get("port") == Some(&PORT.into()))
    {
        ports.push(json!({"name": "status-port", "port": PORT, "targetPort": PORT}));
    }
    if let Ok(policy) = find(objects, "NetworkPolicy", "istio-gateways")
        && let Some(rules) = policy
            .pointer_mut("/spec/ingress")
            .and_then(Value::as_array_mut)
    {
        rules.push(json!({"ports": [{"port": PORT}]}));
    }
    Ok(())
}

fn node_port(objects: &mut [Value], name: &str, port: &str, value: &str) -> Result<()> {
    let ports = find(objects, "Service", name)?.pointer_mut("/spec/ports");
    let ports = ports.and_then(Value::as_array_mut).into_iter().flatten();
    let mut named = ports.filter(|one| one.get("name").and_then(Value::as_str) == Some(port));
    let found = named
        .next()
        .with_context(|| format!("the Service has no port `{port}`"))?;
    put(found, "nodePort", number(value)?.into());
    Ok(())
}

fn sidecar(values: &mut Value, key: &str, value: &str) -> Result<()> {
    let proxy = values
        .pointer_mut("/global/proxy")
        .context("no global.proxy")?;
    match key {
        "logLevel" => put(proxy, "logLevel", value.into()),
        "cpu" | "memory" | "cpuLimit" | "memoryLimit" => resource(proxy, key, value)?,
        _ => bail!("there is no such key.\n{KEYS}"),
    }
    Ok(())
}

/// Sets a request or limit of what has `resources`.
fn resource(owner: &mut Value, key: &str, value: &str) -> Result<()> {
    let (section, resource) = match key {
        "cpu" => ("requests", "cpu"),
        "memory" => ("requests", "memory"),
        "cpuLimit" => ("limits", "cpu"),
        _ => ("limits", "memory"),
    };
    if value == "none" && section == "limits" {
        if let Some(limits) = owner
            .pointer_mut("/resources/limits")
            .and_then(Value::as_object_mut)
        {
            limits.remove(resource);
        }
        return Ok(());
    }
    let path = format!("resources.{section}.{resource}");
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = value.strip_prefix(digits).unwrap_or_default();
    let known = ["", "m", "k", "M", "G", "Ki", "Mi", "Gi"].contains(&unit);
    if digits.parse::<f64>().is_err() || !known {
        bail!("expected a quantity, as 100m, 0.5, 64Mi or 1Gi");
    }
    put(owner, &path, value.into());
    Ok(())
}

fn number(text: &str) -> Result<u32> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .context("expected a number above 0")
}

/// What a value means: a number or a truth value if it looks like one, else text.
fn plain(text: &str) -> Value {
    match text {
        "true" => true.into(),
        "false" => false.into(),
        _ => text
            .parse::<i64>()
            .map_or_else(|_| text.into(), Value::from),
    }
}

/// Sets a value at a path of keys with dots between, making what is missing on the way.
fn put(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for key in path.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        let Some(map) = place.as_object_mut() else {
            return;
        };
        place = map.entry(key).or_insert(Value::Null);
    }
    *place = value;
}

fn find<'v>(objects: &'v mut [Value], kind: &str, name: &str) -> Result<&'v mut Value> {
    objects
        .iter_mut()
        .find(|object| kind_of(object) == kind && name_of(object) == name)
        .with_context(|| format!("this profile has no {kind} `{name}`; choose another --profile"))
}

#[cfg(test)]
mod tests;
