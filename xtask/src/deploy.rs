//! `cargo xtask deploy`: one command from the source to a mesh that carries traffic in a cluster.

mod foreign;
mod guard;
pub(crate) mod installed;
mod keep;
pub(crate) mod kubectl;
pub(crate) mod manifests;
#[cfg(test)]
mod reach;
mod rollout;
mod settings;
pub(crate) mod target;
mod values;
mod verify;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use crate::cluster::progress::{Step, step};
use crate::image::{self, Built, Name};
use kubectl::{Kubectl, items, name_of, text_at};
use manifests::{INJECTOR_NAMESPACE, NAMESPACE, NAMESPACES, Phase, kind_of};
use target::{ClusterArgs, ImageArgs, Target};

/// Who applied a field, for the API server.
const FIELD_MANAGER: &str = "mesh-deploy";
const APPLY: Duration = Duration::from_mins(2);
/// Where an injector that ran in the control plane's namespace kept its authority.
const FORMER_KEY: &str = "istio-sidecar-injector-ca";

/// Install the mesh into a Kubernetes cluster, microk8s by default
///
/// Builds the images, gives them to the cluster, applies `deploy/`, waits until everything runs,
/// and proves it by a request through two injected pods. Running it again changes only what
/// differs. Refuses to run over another mesh.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    settings: SettingArgs,
    /// How many seconds each part may take to become ready
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Leave out the request through two injected pods at the end
    #[arg(long)]
    skip_verify: bool,
    /// Print the manifests as JSON, with images and settings, and apply nothing
    #[arg(long)]
    print: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Settings")]
struct SettingArgs {
    /// What is installed
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Two replicas of everything
    #[arg(long, conflicts_with = "autoscaling")]
    high_availability: bool,
    /// Two to five replicas of istiod and the ingress gateway, by CPU; needs the metrics server
    #[arg(long)]
    autoscaling: bool,
    /// Close all ports of the mesh's own pods but those others need (NetworkPolicies)
    #[arg(long)]
    network_policies: bool,
    /// The type of the gateways' Services
    #[arg(long, value_enum)]
    service_type: Option<ServiceType>,
    /// One setting; may be given several times, the keys are below
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Profile {
    /// Control plane and injector
    Minimal,
    /// And an ingress gateway
    #[default]
    Default,
    /// And an egress gateway and an access log of every request
    Demo,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ServiceType {
    /// A port of every node
    #[value(name = "NodePort", alias = "nodeport")]
    NodePort,
    /// An address of the cloud's, or of MetalLB
    #[value(name = "LoadBalancer", alias = "loadbalancer")]
    LoadBalancer,
    /// Inside the cluster only
    #[value(name = "ClusterIP", alias = "clusterip")]
    ClusterIp,
}

fn help() -> String {
    format!(
        "{}\n\n\
         Examples:\n  \
         cargo xtask deploy                                        to microk8s\n  \
         cargo xtask deploy --context kind-dev --import 'kind load image-archive {{}} --name dev'\n  \
         cargo xtask deploy --kubeconfig prod.yaml --registry registry.example.com/mesh \\\n      \
         --high-availability --service-type LoadBalancer\n  \
         cargo xtask deploy --profile demo --set mesh.accessLogEncoding=JSON",
        values::KEYS
    )
}

fn spelled(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Installs, or brings what is installed up to date.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let target = Target::of(&args.cluster)?;
    let kubectl = &target.kubectl;
    // Everything that can be refused is refused before anything is built.
    let mut objects = render(kubectl, &args.settings)?;
    settings::check(&objects, &args.settings.set)?;
    if !args.print {
        let note = step("the cluster answers and has no other mesh", |_| {
            let status = target.wait_ready()?;
            target.check_images(&args.images)?;
            let note = guard::leave_out_unknown(kubectl, &mut objects)?;
            foreign::refuse(kubectl, &objects, status.as_deref())?;
            Ok(note)
        })?;
        if let Some(note) = note {
            println!("{note}");
        }
    }
    let images = images(&args.images)?;
    if args.print {
        let names = images
            .iter()
            .map(|image| (image.name.clone(), image.reference.clone()));
        manifests::set_images(&mut objects, &names.collect())?;
        println!("{}", serde_json::to_string_pretty(&objects_list(&objects))?);
        return Ok(ExitCode::SUCCESS);
    }
    let names = step("images are given to the cluster", |step| {
        let mut names = BTreeMap::new();
        for image in &images {
            step.doing(&image.name);
            names.insert(image.name.clone(), target.give(image, &args.images)?);
        }
        Ok(names)
    })?;
    manifests::set_images(&mut objects, &names)?;
    let limit = Duration::from_secs(args.timeout);
    install(kubectl, &mut objects, limit)?;
    if !args.skip_verify {
        let shop = names
            .get(&Name::Shop.image())
            .context("no image of the shop")?;
        step("a request passes two injected pods", |step| {
            verify::verify(kubectl, shop, limit, step)
        })?;
    }
    report(kubectl)?;
    Ok(ExitCode::SUCCESS)
}

fn objects_list(objects: &[Value]) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects})
}

/// The manifests of the profile with everything that was set.
fn render(kubectl: &Kubectl, args: &SettingArgs) -> Result<Vec<Value>> {
    let components: Vec<&str> = [
        (args.high_availability, "high-availability"),
        (args.autoscaling, "autoscaling"),
        (values::injects_by_default(&args.set), "inject-by-default"),
        (args.network_policies, "network-policies"),
    ]
    .into_iter()
    .filter_map(|(chosen, name)| chosen.then_some(name))
    .collect();
    let profile = spelled(&args.profile);
    let folder = target::manifests();
    let mut objects = manifests::render(kubectl, &folder, &profile, &components)?;
    if args.autoscaling {
        drop_orphans(&mut objects);
    }
    if let Some(kind) = &args.service_type {
        values::set_service_type(&mut objects, &spelled(kind));
    }
    for setting in &args.set {
        let (key, value) = values::parse(setting)?;
        values::set(&mut objects, &key, &value)?;
    }
    Ok(objects)
}

/// Leaves out autoscalers of what the profile does not have.
fn drop_orphans(objects: &mut Vec<Value>) {
    let deployments: Vec<String> = objects
        .iter()
        .filter(|object| kind_of(object) == "Deployment")
        .map(|object| name_of(object).to_owned())
        .collect();
    objects.retain(|object| {
        kind_of(object) != "HorizontalPodAutoscaler"
            || deployments.iter().any(|name| name == name_of(object))
    });
}

/// The images to install: those of a folder, or freshly built.
fn images(args: &ImageArgs) -> Result<Vec<Built>> {
    let names = Name::value_variants();
    let Some(folder) = &args.images else {
        return image::build(args.image_profile, &image::default_folder()?, names);
    };
    let images = image::list(folder)?;
    for name in names {
        if !images.iter().any(|image| image.name == name.image()) {
            bail!(
                "{} lacks {}: `cargo xtask image --out {0}` makes all",
                folder.display(),
                name.image()
            );
        }
    }
    Ok(images)
}

/// Applies everything in the order in which parts need each other.
fn install(kubectl: &Kubectl, objects: &mut Vec<Value>, limit: Duration) -> Result<()> {
    let live = foreign::live(kubectl, objects)?;
    keep::secrets(objects, &live);
    step("definitions are applied", |_| {
        apply(kubectl, objects, Phase::Definitions)?;
        let wait = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "customresourcedefinitions",
            "-l",
            manifests::OWNER_SELECTOR,
        ];
        kubectl.succeed(&wait, None, APPLY)
    })?;
    step("control plane and injector are applied", |_| {
        apply(kubectl, objects, Phase::Core)
    })?;
    step("control plane and injector are ready", |step| {
        ready(kubectl, objects, Phase::Core, limit, step)
    })?;
    if objects
        .iter()
        .any(|one| manifests::phase(one) == Phase::Gateways)
    {
        step("gateways are ready", |step| {
            apply(kubectl, objects, Phase::Gateways)?;
            ready(kubectl, objects, Phase::Gateways, limit, step)
        })?;
    }
    remove_outgrown(kubectl, objects)
}

/// Removes what an earlier installation left and this one does not want.
fn remove_outgrown(kubectl: &Kubectl, objects: &[Value]) -> Result<()> {
    let installed = installed::objects(kubectl)?;
    let old = installed::superfluous(&installed, objects);
    if !old.is_empty() {
        let names: Vec<String> = old
            .iter()
            .map(|object| manifests::spelled(object))
            .collect();
        step(
            &format!("no longer wanted, removed: {}", names.join(", ")),
            |_| installed::delete(kubectl, &old),
        )?;
    }
    // The key of an injector that ran beside the control plane; it has no label.
    let key = [
        "delete",
        "secret",
        FORMER_KEY,
        "-n",
        NAMESPACE,
        "--ignore-not-found",
    ];
    kubectl.succeed(&key, None, APPLY)?;
    Ok(())
}

/// Waits until the Deployments of a phase run.
fn ready(
    kubectl: &Kubectl,
    objects: &[Value],
    phase: Phase,
    limit: Duration,
    step: &mut Step,
) -> Result<()> {
    for namespace in NAMESPACES {
        let deployments = objects.iter().filter(|object| {
            kind_of(object) == "Deployment"
                && manifests::phase(object) == phase
                && text_at(object, "/metadata/namespace") == Some(namespace)
        });
        let names: Vec<&str> = deployments.map(name_of).collect();
        if !names.is_empty() {
            rollout::wait(kubectl, namespace, &names, limit, step)?;
        }
    }
    Ok(())
}

fn apply(kubectl: &Kubectl, objects: &[Value], phase: Phase) -> Result<()> {
    let chosen = objects
        .iter()
        .filter(|object| manifests::phase(object) == phase);
    let list = manifests::list(chosen)?;
    let manager = format!("--field-manager={FIELD_MANAGER}");
    // Only objects of ours get here, and what others wrote into fields we state is overwritten
    // on purpose: the manifests are what is true. Fields we do not state (the trust of webhooks)
    // stay theirs.
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        &manager,
        "-f",
        "-",
    ];
    kubectl.succeed(&apply, Some(&list), APPLY)?;
    Ok(())
}

/// Says where the mesh is and what to do next.
fn report(kubectl: &Kubectl) -> Result<()> {
    println!(
        "\nThe mesh is installed in namespace {NAMESPACE}, its injector in {INJECTOR_NAMESPACE}."
    );
    let nodes = kubectl.json(&["get", "nodes", "-o", "json"])?;
    let services = kubectl.json(&["get", "services", "-n", NAMESPACE, "-o", "json"])?;
    for line in items(&services).filter_map(|service| entrance(service, &nodes)) {
        println!("{line}");
    }
    let kubectl = kubectl.spelled();
    println!(
        "Next:\n  \
         {kubectl} create namespace shop\n  \
         {kubectl} label namespace shop istio-injection=enabled\n  \
         {kubectl} apply -k examples/shop/kubernetes\n\
         Pods that run already get a proxy when they are restarted: {kubectl} rollout restart \
         deployment -n NAMESPACE"
    );
    Ok(())
}

/// How a gateway is reached from outside.
fn entrance(service: &Value, nodes: &Value) -> Option<String> {
    let name = name_of(service);
    if !name.ends_with("gateway") {
        return None;
    }
    let ports = service.pointer("/spec/ports").and_then(Value::as_array)?;
    let http = ports
        .iter()
        .find(|port| text_at(port, "/name") == Some("http2"))?;
    let balancer = ["ip", "hostname"]
        .iter()
        .find_map(|key| text_at(service, &format!("/status/loadBalancer/ingress/0/{key}")));
    let node = items(nodes).find_map(|node| {
        let addresses = node
            .pointer("/status/addresses")
            .and_then(Value::as_array)?;
        let own = addresses
            .iter()
            .find(|one| text_at(one, "/type") == Some("InternalIP"))?;
        text_at(own, "/address")
    });
    let port = http.pointer("/nodePort").and_then(Value::as_u64);
    match (balancer, node, port) {
        (Some(address), ..) => Some(format!("{name}: http://{address}")),
        (None, Some(node), Some(port)) => Some(format!("{name}: http://{node}:{port}")),
        (None, ..) => None,
    }
}

#[cfg(test)]
mod tests;
