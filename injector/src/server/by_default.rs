//! Whether the API server asks about pods that say nothing, where the settings promise them
//! sidecars. The settings cannot do that alone: which pods the injector is asked about stands in
//! its webhook configuration, and that is for whoever installs the mesh to write.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, ListParams};
use mesh_kubernetes::client::within;
use mesh_runtime::drain::DrainWatch;
use tokio::sync::watch as channel;

use crate::Configuration;

/// The webhook that asks about them.
const AUTO: &str = "auto.sidecar-injector.istio.io";

/// Whoever installs the mesh writes one after the other; that is given time to arrive.
const SETTLE: Duration = Duration::from_secs(10);
/// How often it is looked at without a change of the settings.
const LOOK_EVERY: Duration = Duration::from_mins(10);

/// Compares the two when the settings change and every now and then, until the drain begins, and
/// warns where one promises what the other does not keep.
pub(super) async fn compare(
    client: Client,
    name: String,
    mut configuration: channel::Receiver<Arc<Configuration>>,
    drain: DrainWatch,
) {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client);
    let comparing = async {
        // The first value is a default; what the cluster says comes as a change.
        let mut known = configuration.changed().await;
        while known.is_ok() {
            tokio::time::sleep(SETTLE).await;
            let wanted = configuration
                .borrow_and_update()
                .settings
                .enable_namespaces_by_default;
            tell(&api, &name, wanted).await;
            let change = tokio::time::timeout(LOOK_EVERY, configuration.changed()).await;
            known = change.unwrap_or(Ok(()));
        }
    };
    tokio::select! {
        () = drain.triggered() => {}
        () = comparing => {}
    }
}

async fn tell(api: &Api<MutatingWebhookConfiguration>, name: &str, wanted: bool) {
    // Only this one may be listed.
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    match within("list the webhook configuration", api.list(&only)).await {
        Ok(found) => {
            if let Some(advice) = difference(wanted, name, &found.items) {
                tracing::warn!("{advice}");
            }
        }
        Err(failure) => tracing::warn!(
            error = %failure,
            "not known whether enableNamespacesByDefault has an effect"
        ),
    }
}

/// What to do about a difference, if there is one.
fn difference(wanted: bool, name: &str, found: &[MutatingWebhookConfiguration]) -> Option<String> {
    let asked = found
        .iter()
        .flat_map(|one| one.webhooks.iter().flatten())
        .any(|webhook| webhook.name == AUTO);
    match (wanted, asked) {
        (true, false) => Some(format!(
            "enableNamespacesByDefault is true, but MutatingWebhookConfiguration {name} has no \
             webhook {AUTO}: pods in namespaces without a label get no sidecar. Add \
             deploy/components/inject-by-default, or deploy with \
             --set injection.enableNamespacesByDefault=true"
        )),
        (false, true) => Some(format!(
            "MutatingWebhookConfiguration {name} has webhook {AUTO}, but \
             enableNamespacesByDefault is false: pods in namespaces without a label wait for this \
             injector and get no sidecar. Set it in ConfigMap istio-sidecar-injector, or take the \
             webhook away"
        )),
        (true, true) | (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(webhooks: &[&str]) -> Vec<MutatingWebhookConfiguration> {
        let webhooks: Vec<_> = webhooks
            .iter()
            .map(|name| {
                serde_json::json!({
                    "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
                    "clientConfig": {},
                })
            })
            .collect();
        let object = serde_json::json!({"metadata": {"name": "own"}, "webhooks": webhooks});
        vec![serde_json::from_value(object).unwrap()]
    }

    #[test]
    fn what_is_promised_and_not_kept_is_told_with_a_way_out() {
        let usual = with(&["namespace.sidecar-injector.istio.io"]);
        let every = with(&["namespace.sidecar-injector.istio.io", AUTO]);
        assert_eq!(difference(false, "own", &usual), None);
        assert_eq!(difference(true, "own", &every), None);
        for found in [&usual[..], &[]] {
            let advice = difference(true, "own", found).unwrap();
            assert!(advice.contains("inject-by-default"), "{advice}");
        }
        let advice = difference(false, "own", &every).unwrap();
        assert!(
            advice.contains("ConfigMap istio-sidecar-injector"),
            "{advice}"
        );
    }
}
