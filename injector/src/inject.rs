//! A pod goes in, the same pod with its sidecar comes out: the one function that the webhook and
//! the command line share. It is pure, and injecting an injected pod changes nothing.

use serde_json::{Value, json};

use crate::configuration::Configuration;
use crate::draft::{self, Draft};
use crate::names::{INIT_CONTAINER, PROXY_CONTAINER, STATUS};
use crate::options::{self, Options, Template};
use crate::refusal::Refusal;
use crate::sidecar::{self, Application};
use crate::warnings::warnings;
use crate::{
    Decision, Namespace, Pod, SkipReason, bypass, custom, decide, identity, probes, redirect,
    scrape,
};

/// What came of looking at one pod.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whether it gets a sidecar, and why.
    pub decision: Decision,
    /// What its author should know.
    pub warnings: Vec<String>,
    /// The pod as it shall be; the same as before if it gets none.
    pub pod: Value,
}

/// What makes pods.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'w> {
    /// Its kind.
    pub kind: &'w str,
    /// Its name.
    pub name: &'w str,
}

/// Looks at one pod and puts a sidecar into it if it gets one. `workload` is what makes the pod,
/// where the pod itself does not say so yet: in files, not in the webhook.
pub fn inject(
    configuration: &Configuration,
    namespace: &Namespace,
    workload: Option<Workload<'_>>,
    pod: &Value,
) -> Result<Outcome, Refusal> {
    let mut draft = Draft::of(pod)?;
    let seen = Pod::of(pod);
    let decision = decide::decide(&configuration.settings, namespace, &seen);
    let mut said: Vec<String> = Vec::new();
    match &decision {
        Decision::Inject { .. } => {}
        Decision::Skip {
            reason: SkipReason::AlreadyInjected,
        } => return Ok(again(decision, draft, pod)),
        Decision::Skip { reason } => {
            if seen.asks() {
                said.push(format!(
                    "no sidecar although the pod asks for one: {reason}"
                ));
            }
            said.extend(warnings(namespace, &seen).iter().map(ToString::to_string));
            return Ok(Outcome {
                decision,
                warnings: said,
                pod: pod.clone(),
            });
        }
    }
    said.extend(warnings(namespace, &seen).iter().map(ToString::to_string));
    let controller = identity::controller(&draft.metadata).map(|(kind, _)| kind);
    let kind = workload.map(|workload| workload.kind);
    let job = matches!(kind.or(controller.as_deref()), Some("Job" | "CronJob"));
    let (options, noted) = options::read(configuration, &draft, job)?;
    said.extend(noted);
    said.extend(pod_security(namespace, &options));
    add(configuration, &options, &mut draft, &mut said)?;
    identity::label(&mut draft, workload.map(|workload| workload.name));
    Ok(Outcome {
        decision,
        warnings: said,
        pod: draft.finish(),
    })
}

/// The pod has its sidecar. Another webhook may have added a container since, whose probes need
/// the same care.
fn again(decision: Decision, mut draft: Draft, pod: &Value) -> Outcome {
    let mut rewritten = probes::rewrite(&mut draft);
    let unchanged = |warnings| Outcome {
        decision: decision.clone(),
        warnings,
        pod: pod.clone(),
    };
    if rewritten.probers.is_empty() {
        return unchanged(Vec::new());
    }
    let lists = [&mut draft.init_containers, &mut draft.containers];
    let variable = lists
        .into_iter()
        .flatten()
        .filter(|container| draft::name(container) == PROXY_CONTAINER)
        .filter_map(|container| container.get_mut("env")?.as_array_mut())
        .flatten()
        .find(|variable| draft::name(variable) == sidecar::PROBERS);
    let known = variable.as_deref().and_then(|variable| {
        let text = sidecar::unescaped(draft::text(variable, "value"));
        serde_json::from_str::<std::collections::BTreeMap<String, Value>>(&text).ok()
    });
    // Without that variable the sidecar was told not to rewrite probes.
    let (Some(variable), Some(known)) = (variable, known) else {
        return unchanged(Vec::new());
    };
    for (path, prober) in known {
        rewritten.probers.entry(path).or_insert(prober);
    }
    if let (Some(value), Some(text)) = (variable.get_mut("value"), rewritten.json()) {
        *value = Value::String(sidecar::escaped(&text));
    }
    Outcome {
        decision,
        warnings: rewritten.warnings,
        pod: draft.finish(),
    }
}

fn add(
    configuration: &Configuration,
    options: &Options,
    draft: &mut Draft,
    said: &mut Vec<String>,
) -> Result<(), Refusal> {
    let own_proxy = custom::take(draft, PROXY_CONTAINER)?;
    let own_init = custom::take(draft, INIT_CONTAINER)?;
    check(options, draft, own_proxy.is_some())?;
    if options.capture.is_some() {
        said.extend(bypass::warnings(draft));
    }
    let mut application = Application::default();
    if options.template == Template::Sidecar && options.rewrite_probes {
        let rewritten = probes::rewrite(draft);
        application.probers = rewritten.json();
        said.extend(rewritten.warnings);
    }
    if options.merge_metrics {
        application.metrics = scrape::merge(draft, said)?;
    }
    if let Some(seconds) = options
        .stop_delay
        .filter(|_| options.template == Template::Sidecar)
    {
        delay_stop(draft, seconds);
    }
    if let Some(first) = draft.containers.first().map(draft::name) {
        let first = first.to_owned();
        draft.annotate_if_absent(DEFAULT_CONTAINER, first);
    }
    let pull_policy = &configuration.values.global.image_pull_policy;
    let proxy = sidecar::container(options, application, pull_policy);
    let proxy = custom::merge(proxy, own_proxy)?;
    let init = match &options.capture {
        Some(capture) => {
            let image = configuration.values.proxy_image();
            let init = redirect::container(options, &image, capture, pull_policy);
            Some(custom::merge(init, own_init)?)
        }
        None if own_init.is_some() => {
            return Err(Refusal::new(format!(
                "the mesh adds no {INIT_CONTAINER} to this pod, and the name is the mesh's; remove \
                 the container, or rename it"
            )));
        }
        None => None,
    };
    place(options, draft, proxy, init);
    let volumes = add_volumes(options, draft)?;
    finish(configuration, options, draft, &volumes);
    Ok(())
}

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Puts the containers where they belong.
///
/// A native sidecar runs before the user's init containers, so that they have the network. The
/// other form runs after them, and the network is redirected last, so that they have it too.
fn place(options: &Options, draft: &mut Draft, proxy: Value, init: Option<Value>) {
    if options.template == Template::Gateway {
        draft.containers.insert(0, proxy);
        draft.annotate_if_absent(DEFAULT_CONTAINER, PROXY_CONTAINER);
        return;
    }
    if options.native {
        draft.init_containers.insert(0, proxy);
        if let Some(init) = init {
            draft.init_containers.insert(0, init);
        }
        return;
    }
    draft.init_containers.extend(init);
    if options.hold {
        // Containers start in order, and the next one waits for the hook of this one.
        draft.containers.insert(0, proxy);
    } else {
        draft.containers.push(proxy);
    }
}

fn add_volumes(options: &Options, draft: &mut Draft) -> Result<Vec<String>, Refusal> {
    let taken: Vec<&str> = draft.volumes.iter().map(draft::name).collect();
    if let Some(name) = sidecar::VOLUMES.iter().find(|name| taken.contains(name)) {
        return Err(Refusal::new(format!(
            "the pod has a volume named {name}, which is the name of one of the mesh's; rename it"
        )));
    }
    let theirs: Vec<Value> = options
        .volumes
        .iter()
        // A volume the pod has already may be mounted as well.
        .filter(|volume| !taken.contains(&draft::name(volume)))
        .cloned()
        .collect();
    let added: Vec<Value> = sidecar::volumes().into_iter().chain(theirs).collect();
    let names = added
        .iter()
        .map(|one| draft::name(one).to_owned())
        .collect();
    draft.volumes.extend(added);
    Ok(names)
}

/// What is written about the injection, and what goes with it.
fn finish(configuration: &Configuration, options: &Options, draft: &mut Draft, volumes: &[String]) {
    let values = &configuration.values;
    let secrets = &values.global.image_pull_secrets;
    for name in secrets {
        if !draft
            .image_pull_secrets
            .iter()
            .any(|one| draft::name(one) == name)
        {
            draft.image_pull_secrets.push(json!({ "name": name }));
        }
    }
    if options.template == Template::Gateway {
        allow_low_ports(draft);
    }
    draft.name_hosts(options.control_plane.aliases());
    for (name, value) in &values.sidecar_injector_webhook.injected_annotations {
        draft.annotate_if_absent(name, value);
    }
    if !values.global.network.is_empty() {
        draft.label_if_absent("topology.istio.io/network", &values.global.network);
    }
    draft.annotate("istio.io/rev", &values.revision);
    let init = options.capture.is_some().then_some(INIT_CONTAINER);
    let native = options.native.then_some(PROXY_CONTAINER);
    let plain = (!options.native).then_some(PROXY_CONTAINER);
    let status = json!({
        "initContainers": init.into_iter().chain(native).collect::<Vec<_>>(),
        "containers": plain.into_iter().collect::<Vec<_>>(),
        "volumes": volumes,
        "imagePullSecrets": (!secrets.is_empty()).then_some(secrets),
        "revision": values.revision,
    });
    draft.annotate(STATUS, status.to_string());
    // The label security.istio.io/tlsMode=istio tells clients that this pod takes mutual TLS.
    // Proxies have no workload certificates yet, so it would be a lie: it is not written.
}

/// A gateway serves the ports its users ask for, below 1024 too, without a capability for it.
fn allow_low_ports(draft: &mut Draft) {
    let context = draft
        .spec
        .entry("securityContext")
        .or_insert_with(|| json!({}));
    if context.is_null() {
        *context = json!({});
    }
    if let Value::Object(context) = context {
        context.entry("sysctls").or_insert_with(
            || json!([{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }]),
        );
    }
}

/// Gives application containers that do not say how they end a moment before they are told to.
fn delay_stop(draft: &mut Draft, seconds: u32) {
    for container in &mut draft.containers {
        let Value::Object(container) = container else {
            continue;
        };
        let lifecycle = container.entry("lifecycle").or_insert_with(|| json!({}));
        if lifecycle.is_null() {
            *lifecycle = json!({});
        }
        if let Value::Object(lifecycle) = lifecycle
            && lifecycle.get("preStop").is_none_or(Value::is_null)
        {
            lifecycle.insert(
                "preStop".to_owned(),
                json!({ "sleep": { "seconds": seconds } }),
            );
        }
    }
}

/// What makes a pod one that cannot have a sidecar.
fn check(options: &Options, draft: &Draft, own_proxy: bool) -> Result<(), Refusal> {
    bypass::refuse_ports(draft)?;
    if options.template == Template::Gateway {
        if own_proxy {
            return Ok(());
        }
        return Err(Refusal::new(format!(
            "a gateway (inject.istio.io/templates: gateway) needs a container named \
             {PROXY_CONTAINER} with image: auto"
        )));
    }
    if draft.containers.is_empty() {
        return Err(Refusal::new(format!(
            "the pod has no container but {PROXY_CONTAINER}; for a gateway annotate \
             inject.istio.io/templates: gateway"
        )));
    }
    bypass::refuse(draft)
}

fn pod_security(namespace: &Namespace, options: &Options) -> Option<String> {
    let level = namespace.labels.get("pod-security.kubernetes.io/enforce")?;
    let refuses = matches!(level.as_str(), "baseline" | "restricted") && options.capture.is_some();
    refuses.then(|| {
        format!(
            "the namespace enforces the Pod Security level {level}, which refuses the capability \
             NET_ADMIN of init container {INIT_CONTAINER}; label it \
             pod-security.kubernetes.io/enforce=privileged"
        )
    })
}

#[cfg(test)]
mod tests;
