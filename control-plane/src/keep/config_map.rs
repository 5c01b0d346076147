//! The ConfigMap of the root namespace that holds what is kept in a cluster. The manifests create
//! it, so that the control plane needs no right to create any.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::Place;

/// The name of the ConfigMap.
pub const NAME: &str = "istio-kept-configuration";
/// The key that holds what is kept.
pub const KEY: &str = "kept";
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ConfigMap.
#[derive(Clone, Debug)]
pub struct KeptConfigMap {
    api: Api<ConfigMap>,
    namespace: String,
}

impl KeptConfigMap {
    /// The one of a mesh whose root namespace this is.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }
}

impl Place for KeptConfigMap {
    async fn write(&self, text: String) -> Result<(), String> {
        let patch = Patch::Merge(json!({"data": {KEY: text}}));
        let parameters = PatchParams::default();
        let written = self.api.patch(NAME, &parameters, &patch);
        let name = format!("ConfigMap {}/{NAME}", self.namespace);
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(format!(
                "{name} does not exist; apply the manifests of this version, which create it"
            )),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(format!(
                "{name} may not be patched: {}; apply the roles of this version",
                status.message
            )),
            Ok(Err(error)) => Err(format!("{name}: {error}")),
            Err(_elapsed) => Err(format!("{name}: no answer in time")),
        }
    }
}
