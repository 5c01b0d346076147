//! What each command does with its arguments.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use injector::documents::inject_documents;
use injector::server::{self, ConfigMaps, configuration_of, load_once, missing, restart};
use injector::{Configuration, Home, Namespace};
use k8s_openapi::api::core::v1::Namespace as ClusterNamespace;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use mesh_kubernetes::client::{connect, within};
use mesh_runtime::logging::{Level, Levels};
use mesh_runtime::{LogFormat, Shutdown, StopReason, logging};
use tokio::sync::mpsc;

use crate::args::{Cluster, ConfigMapNames, Inject, RestartMissing, Serve};

/// Runs the server.
pub(crate) async fn serve(args: Serve) -> anyhow::Result<()> {
    logging::init(args.log_format, &args.log_level)?;
    logging::log_panics();
    let stop = stop(Shutdown::listen(args.exit_on_stdin_close)?);
    let client = client(&args.cluster).await?;
    let client_roots = args.webhook_client_ca.as_deref().map(read).transpose();
    let settings = server::Settings {
        home: Home {
            control_plane: args.istio_namespace,
            injector: args.namespace,
        },
        webhook: args.webhook,
        client_roots: client_roots.context("--webhook-client-ca")?,
        monitoring: args.monitoring,
        service: args.service,
        webhook_configuration: args.webhook_configuration,
        ca_secret: args.ca_secret,
        serving_valid: args.certificate_valid,
        roll_out: args.root_roll_out,
        config_maps: maps(args.maps),
        look_every: args.look_every,
        stop_delay: args.stop_delay,
    };
    server::run(client, settings, stop).await
}

/// Every reason to stop, as it comes.
fn stop(mut shutdown: Shutdown) -> mpsc::Receiver<StopReason> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let reason = shutdown.recv().await;
            if sender.send(reason).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Injects into a file.
pub(crate) async fn inject(args: Inject) -> anyhow::Result<()> {
    logging::init(LogFormat::Text, &Levels::all(Level::Warning))?;
    let text = read(&args.filename)?;
    let configuration = configuration(&args).await?;
    let injected = inject_documents(&configuration, &args.namespace, &text)
        .with_context(|| args.filename.display().to_string())?;
    for note in &injected.notes {
        tracing::warn!("{note}");
    }
    match &args.output {
        Some(path) => std::fs::write(path, &injected.text)
            .with_context(|| format!("cannot write {}", path.display()))?,
        None => print(&injected.text)?,
    }
    if injected.workloads == 0 {
        tracing::warn!("no workload in it got a sidecar");
    }
    Ok(())
}

async fn configuration(args: &Inject) -> anyhow::Result<Configuration> {
    let mut configuration = if args.from_cluster {
        let client = client(&args.cluster).await?;
        let maps = ConfigMaps {
            mesh: args.maps.mesh_config_map.clone(),
            values: args.maps.values_config_map.clone(),
        };
        load_once(&client, args.places.home(), &maps).await?
    } else {
        let file = |path: &Option<std::path::PathBuf>| match path {
            Some(path) => anyhow::Ok((path.display().to_string(), read(path)?)),
            None => Ok((String::new(), String::new())),
        };
        let (mesh_name, mesh) = file(&args.mesh_config)?;
        let (values_name, values) = file(&args.values)?;
        configuration_of(
            (&mesh_name, &mesh),
            (&values_name, &values),
            args.kubernetes_version,
            args.places.home(),
        )?
    };
    if let Some(image) = &args.proxy_image {
        configuration.values.set_proxy_image(image);
    }
    Ok(configuration)
}

/// Restarts workloads whose pods were missed.
pub(crate) async fn restart_missing(args: RestartMissing) -> anyhow::Result<()> {
    logging::init(LogFormat::Text, &Levels::default())?;
    let client = client(&args.cluster).await?;
    let maps = maps(args.maps);
    let configuration = load_once(&client, args.places.home(), &maps).await?;
    let namespaces = namespaces(&client, args.namespace.as_deref()).await?;
    let report = missing::look(&client, &configuration, &namespaces).await?;
    let mut found = report.missing;
    if args.outdated {
        found.extend(report.outdated);
    }
    let plan = restart::plan(&client, &found).await?;
    for left in &plan.left {
        tracing::warn!("{left}");
    }
    for (target, pods) in &plan.restart {
        let verb = if args.dry_run {
            "would restart"
        } else {
            "restarting"
        };
        tracing::info!("{verb} {target} ({pods} pods)");
    }
    if plan.restart.is_empty() {
        tracing::info!("nothing to restart");
    }
    if args.dry_run {
        return Ok(());
    }
    let failures = restart::restart_all(&client, &plan, args.pause).await;
    for failure in &failures {
        tracing::error!("{failure}");
    }
    anyhow::ensure!(
        failures.is_empty(),
        "{} of {} workloads could not be restarted",
        failures.len(),
        plan.restart.len()
    );
    Ok(())
}

async fn namespaces(client: &Client, only: Option<&str>) -> anyhow::Result<Vec<Namespace>> {
    let api: Api<ClusterNamespace> = Api::all(client.clone());
    let found = match only {
        Some(name) => {
            let found = within(format!("read namespace {name}"), api.get_opt(name)).await?;
            vec![found.with_context(|| format!("there is no namespace {name}"))?]
        }
        None => {
            within("list namespaces", api.list(&ListParams::default()))
                .await?
                .items
        }
    };
    let of = |namespace: ClusterNamespace| Namespace {
        name: namespace.name_any(),
        labels: namespace.labels().clone(),
    };
    Ok(found.into_iter().map(of).collect())
}

async fn client(cluster: &Cluster) -> anyhow::Result<Client> {
    let (file, context) = (cluster.kubeconfig.as_deref(), cluster.context.as_deref());
    Ok(connect(file, context, "mesh-injector").await?)
}

fn maps(names: ConfigMapNames) -> ConfigMaps {
    ConfigMaps {
        mesh: names.mesh_config_map,
        values: names.values_config_map,
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let reading = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    reading.with_context(|| format!("cannot read {}", path.display()))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}
