//! The configuration as the cluster states it, followed: two ConfigMaps, the cluster's version and
//! the control plane's Service.
//!
//! What cannot be read leaves the last good one in force; what is missing means the defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use mesh_api::mesh_config::MeshConfig;
use mesh_kubernetes::client::within;
use mesh_kubernetes::outage;
use mesh_runtime::Backoff;
use mesh_runtime::drain::DrainWatch;
use mesh_runtime::readiness::Gate;
use mesh_runtime::vital::Vital;
use serde_json::Value;
use tokio::sync::watch as channel;

use super::{Settings, cluster};
use crate::configuration::CONTROL_PLANE_SERVICE;
use crate::options::addresses;
use crate::{ClusterVersion, Configuration, Home, Values};

/// How often the cluster's version is asked for: it changes when nodes are upgraded.
const VERSION_EVERY: Duration = Duration::from_mins(5);
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The ConfigMaps of the configuration.
///
/// Both decide what runs in pods, so nobody whom the injector must not obey may write them. The
/// values are in the injector's own namespace. The mesh's settings are the control plane's, which
/// reads them and may not change them.
#[derive(Debug, Clone)]
pub struct ConfigMaps {
    /// The one with key `mesh`, in the control plane's namespace.
    pub mesh: String,
    /// The one with key `values`, in the injector's namespace.
    pub values: String,
}

/// What is known so far; `None`: not even whether it exists.
#[derive(Default)]
struct Known {
    mesh: Option<MeshConfig>,
    values: Option<Values>,
    cluster: Option<ClusterVersion>,
    /// The addresses of the control plane's Service. Not waited for: few pods need them.
    control_plane_at: Vec<IpAddr>,
}

/// Follows the configuration until the drain begins. Opens the gate once all of it is known.
pub(super) fn follow(
    client: Client,
    settings: &Settings,
    read: Gate,
    (vital, drain): (&Vital, DrainWatch),
) -> channel::Receiver<Arc<Configuration>> {
    let home = settings.home.clone();
    let first = Configuration::new(
        Values::default(),
        MeshConfig::default(),
        ClusterVersion::CURRENT,
        home.clone(),
    );
    let (sender, receiver) = channel::channel(Arc::new(first));
    let following = Following {
        client,
        home,
        maps: settings.config_maps.clone(),
        known: Known::default(),
        sender,
        read,
    };
    vital.spawn("the watch of the settings", async move {
        tokio::select! {
            () = drain.triggered() => {}
            () = following.run() => {}
        }
    });
    receiver
}

struct Following {
    client: Client,
    home: Home,
    maps: ConfigMaps,
    known: Known,
    sender: channel::Sender<Arc<Configuration>>,
    read: Gate,
}

impl Following {
    async fn run(mut self) {
        let api = |namespace: &str| Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let mesh = watcher::watch_object(api(&self.home.control_plane), &self.maps.mesh);
        let values = watcher::watch_object(api(&self.home.injector), &self.maps.values);
        let services = Api::<Service>::namespaced(self.client.clone(), &self.home.control_plane);
        let service = watcher::watch_object(services, CONTROL_PLANE_SERVICE);
        let (mesh, values) = (mesh.default_backoff(), values.default_backoff());
        let (mut mesh, mut values) = (std::pin::pin!(mesh), std::pin::pin!(values));
        let mut service = std::pin::pin!(service.default_backoff());
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut ask_version = tokio::time::Instant::now();
        loop {
            tokio::select! {
                Some(change) = mesh.next() => self.mesh(change),
                Some(change) = values.next() => self.values(change),
                Some(change) = service.next() => self.service(change),
                () = tokio::time::sleep_until(ask_version) => {
                    let delay = self.version(&mut backoff).await;
                    ask_version = tokio::time::Instant::now() + delay;
                }
            }
            self.publish();
        }
    }

    fn mesh(&mut self, change: watcher::Result<Option<ConfigMap>>) {
        let name = format!("ConfigMap {}/{}", self.home.control_plane, self.maps.mesh);
        let Some(text) = changed(&name, "mesh", change) else {
            return;
        };
        match read_mesh(&name, &text) {
            Ok(mesh) => self.known.mesh = Some(mesh),
            Err(error) => {
                tracing::error!("{error:#}; going on with the former settings");
                self.known.mesh.get_or_insert_default();
            }
        }
    }

    fn values(&mut self, change: watcher::Result<Option<ConfigMap>>) {
        let name = format!("ConfigMap {}/{}", self.home.injector, self.maps.values);
        let Some(text) = changed(&name, "values", change) else {
            return;
        };
        match read_values(&name, &text) {
            Ok(values) => self.known.values = Some(values),
            Err(error) => {
                tracing::error!("{error:#}; going on with the former values");
                self.known.values.get_or_insert_default();
            }
        }
    }

    fn service(&mut self, change: watcher::Result<Option<Service>>) {
        match change {
            Ok(service) => self.known.control_plane_at = addresses_of(service.as_ref()),
            Err(error) if outage::told(&error) => {}
            Err(error) => tracing::warn!(
                %error,
                "cannot watch Service {}/{CONTROL_PLANE_SERVICE}; going on with what is known",
                self.home.control_plane
            ),
        }
    }

    /// Asks for the version; says when to ask again.
    async fn version(&mut self, backoff: &mut Backoff) -> Duration {
        match cluster::version(&self.client).await {
            Ok(version) => {
                if self.known.cluster != Some(version) {
                    tracing::info!(
                        native_sidecars = version.has_native_sidecars(),
                        "the cluster is Kubernetes {version}"
                    );
                }
                self.known.cluster = Some(version);
                backoff.reset();
                VERSION_EVERY
            }
            Err(failure) => {
                if !outage::told_of(&failure) {
                    tracing::warn!(error = %failure, "the cluster's version is unknown");
                }
                backoff.next_delay(rand::random())
            }
        }
    }

    fn publish(&self) {
        let Known {
            mesh: Some(mesh),
            values: Some(values),
            cluster: Some(cluster),
            control_plane_at,
        } = &self.known
        else {
            return;
        };
        let home = self.home.clone();
        let mut configuration = Configuration::new(values.clone(), mesh.clone(), *cluster, home);
        configuration.control_plane_at.clone_from(control_plane_at);
        self.sender.send_if_modified(|known| {
            let news = **known != configuration;
            if news {
                tracing::info!(
                    image = configuration.values.proxy_image(),
                    revision = configuration.values.revision,
                    "configuration read"
                );
                *known = Arc::new(configuration);
            }
            news
        });
        self.read.open();
    }
}

fn addresses_of(service: Option<&Service>) -> Vec<IpAddr> {
    let service = service.and_then(|service| serde_json::to_value(service).ok());
    service.map_or_else(Vec::new, |service| addresses(&service))
}

/// The text of a ConfigMap's key after a change; empty if there is none. `None`: nothing changed.
fn changed(name: &str, key: &str, change: watcher::Result<Option<ConfigMap>>) -> Option<String> {
    match change {
        Ok(Some(map)) => Some(text(name, key, map.data)),
        Ok(None) => {
            tracing::warn!("there is no {name}; the defaults hold");
            Some(String::new())
        }
        Err(error) => {
            if !outage::told(&error) {
                tracing::warn!(%error, "cannot watch {name}; going on with what is known");
            }
            None
        }
    }
}

fn text(name: &str, key: &str, data: Option<BTreeMap<String, String>>) -> String {
    let text = data.and_then(|mut data| data.remove(key));
    text.unwrap_or_else(|| {
        tracing::warn!("{name} has no key {key}; the defaults hold");
        String::new()
    })
}

/// Reads MeshConfig as YAML, naming what has no meaning.
fn read_mesh(name: &str, text: &str) -> anyhow::Result<MeshConfig> {
    let document: Value = serde_saphyr::from_str(text)
        .map_err(|error| anyhow::anyhow!("{}", error.without_snippet()))
        .with_context(|| format!("{name}, key mesh"))?;
    let (mesh, problems) =
        MeshConfig::read(document).with_context(|| format!("{name}, key mesh"))?;
    for problem in problems {
        tracing::warn!("{name}, key mesh: {problem}");
    }
    Ok(mesh)
}

fn read_values(name: &str, text: &str) -> anyhow::Result<Values> {
    let (values, unknown) = Values::read(text).with_context(|| format!("{name}, key values"))?;
    for key in unknown {
        tracing::warn!("{name}, key values: {key} is unknown and has no effect");
    }
    Ok(values)
}

/// The configuration from texts, each with the name of where it is from.
pub fn configuration_of(
    (mesh_name, mesh): (&str, &str),
    (values_name, values): (&str, &str),
    cluster: ClusterVersion,
    home: Home,
) -> anyhow::Result<Configuration> {
    let mesh = read_mesh(mesh_name, mesh)?;
    let values = read_values(values_name, values)?;
    Ok(Configuration::new(values, mesh, cluster, home))
}

/// Reads the configuration of a cluster once.
pub async fn load_once(
    client: &Client,
    home: Home,
    maps: &ConfigMaps,
) -> anyhow::Result<Configuration> {
    let cluster = cluster::version(client).await?;
    let read = async |namespace: &str, name: &str, key: &str| {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let what = format!("ConfigMap {namespace}/{name}");
        let map = within(format!("read {what}"), api.get_opt(name)).await?;
        let map = map.with_context(|| {
            format!("there is no {what}; is the mesh installed in namespace {namespace}?")
        })?;
        anyhow::Ok((text(&what, key, map.data), what))
    };
    let (mesh, mesh_name) = read(&home.control_plane, &maps.mesh, "mesh").await?;
    let (values, values_name) = read(&home.injector, &maps.values, "values").await?;
    let services: Api<Service> = Api::namespaced(client.clone(), &home.control_plane);
    let what = format!(
        "read Service {}/{CONTROL_PLANE_SERVICE}",
        home.control_plane
    );
    let service = within(what, services.get_opt(CONTROL_PLANE_SERVICE)).await?;
    let texts = (
        (mesh_name.as_str(), mesh.as_str()),
        (values_name.as_str(), values.as_str()),
    );
    let mut configuration = configuration_of(texts.0, texts.1, cluster, home)?;
    configuration.control_plane_at = addresses_of(service.as_ref());
    Ok(configuration)
}
