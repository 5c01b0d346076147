//! The labels of all namespaces, followed; and one read anew where that is not enough.

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use mesh_kubernetes::client::within;
use mesh_kubernetes::outage;
use mesh_runtime::drain::DrainWatch;
use mesh_runtime::readiness::Gate;
use mesh_runtime::vital::Vital;

use crate::Labels;
use crate::review::Namespaces;

/// The labels of all namespaces.
#[derive(Clone)]
pub(super) struct Followed {
    client: Client,
    store: Store<Namespace>,
}

/// Follows them until the drain begins. Opens the gate once all are known.
pub(super) fn follow(client: Client, read: Gate, (vital, drain): (&Vital, DrainWatch)) -> Followed {
    let (store, writer) = reflector::store();
    let api: Api<Namespace> = Api::all(client.clone());
    let changes = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|namespace| {
            namespace.metadata.managed_fields = None;
            namespace.metadata.annotations = None;
            namespace.status = None;
        });
    let changes = reflector::reflector(writer, changes);
    let followed = Followed { client, store };
    let known = followed.store.clone();
    vital.spawn("the watch of namespaces", async move {
        let following = async {
            let mut changes = std::pin::pin!(changes);
            while let Some(change) = changes.next().await {
                if let Err(error) = change
                    && !outage::told(&error)
                {
                    tracing::warn!(%error, "cannot watch namespaces; going on with what is known");
                }
            }
        };
        let opening = async {
            if known.wait_until_ready().await.is_ok() {
                read.open();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = drain.triggered() => {}
            () = following => {}
            () = opening => {}
        }
    });
    followed
}

impl Followed {
    /// All of them.
    pub(super) fn all(&self) -> Vec<crate::Namespace> {
        let namespaces = self.store.state().into_iter();
        namespaces
            .map(|namespace| crate::Namespace {
                name: namespace.name_any(),
                labels: namespace.labels().clone(),
            })
            .collect()
    }
}

impl Namespaces for Followed {
    fn known(&self, name: &str) -> Option<Labels> {
        let namespace = self.store.get(&ObjectRef::new(name))?;
        Some(namespace.labels().clone())
    }

    async fn read(&self, name: &str) -> Result<Option<Labels>, String> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let reading = within(format!("read namespace {name}"), api.get_opt(name)).await;
        let namespace = reading.map_err(|failure| failure.to_string())?;
        Ok(namespace.map(|namespace| namespace.labels().clone()))
    }
}
