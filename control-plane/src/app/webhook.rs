//! The validating webhook: its socket, and the trust and failure policy of its configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use kube::Client;
use mesh_kubernetes::authority::Trust;
use mesh_kubernetes::webhooks::{self, FailurePolicy, Wanted};
use mesh_runtime::admin::Router;
use mesh_runtime::drain::DrainWatch;
use mesh_runtime::https::{HttpsLimits, HttpsServer};
use mesh_runtime::readiness::Readiness;
use mesh_runtime::vital::Vital;
use tokio::sync::watch;

use crate::admission::{self, Reviewer};
use crate::identity::Identity;

/// Who writes the configuration, as `managedFields` will say.
const MANAGER: &str = "istiod";

/// The webhook that checks the settings of the mesh. Where those keep the control plane from
/// becoming ready, it must be possible to repair them.
const LENIENT: &str = "settings.validation.istio.io";

/// What the webhook is started with.
pub(super) struct Webhook<'a> {
    pub(super) address: SocketAddr,
    /// The roots, in PEM, of the certificates whoever asks must have; none: anybody may ask.
    pub(super) client_roots: Option<String>,
    pub(super) configuration: &'a str,
    pub(super) identity: &'a Identity,
    pub(super) reviewer: Reviewer,
    pub(super) readiness: &'a Readiness,
}

impl Webhook<'_> {
    /// Serves, and keeps the configuration right, until the drain begins.
    pub(super) async fn start(
        self,
        client: Client,
        vital: &Vital,
        drain: &DrainWatch,
    ) -> anyhow::Result<()> {
        let certificate = Arc::clone(&self.identity.certificate);
        let limits = HttpsLimits::default();
        let server = HttpsServer::bind(self.address, certificate, limits)
            .await
            .context("--webhook")?;
        let server = match &self.client_roots {
            Some(roots) => server
                .only_clients_of(roots)
                .context("--webhook-client-ca")?,
            None => server,
        };
        let routes = admission::mount(Router::new("control-plane"), self.reviewer);
        vital.spawn("the webhook", server.serve(routes, drain.clone()));
        let settings = webhooks::Settings {
            kind: webhooks::Kind::Validating,
            name: self.configuration.to_owned(),
            manager: MANAGER.to_owned(),
            lenient: Some(LENIENT.to_owned()),
        };
        let trust = self.identity.trust.clone();
        let (wanted, following) = follow(trust, self.readiness.clone(), drain.clone());
        vital.spawn("the trust of the webhook", following);
        // Nothing waits for it: the mesh works where somebody else keeps the configuration.
        let placed = Readiness::new().gate("webhook");
        let keeping = webhooks::keep(client, settings, wanted, placed, drain.clone());
        vital.spawn("what keeps the webhook's configuration", keeping);
        Ok(())
    }
}

/// How the configuration should be: closed, as the manifest has it. Somebody may have opened it in
/// an emergency, and that is left alone until this process was ready once.
fn follow(
    mut trust: watch::Receiver<Trust>,
    readiness: Readiness,
    drain: DrainWatch,
) -> (watch::Receiver<Wanted>, impl Future<Output = ()> + Send) {
    let wanted = |trust: &Trust, policy| Wanted {
        bundle_pem: Arc::clone(&trust.bundle_pem),
        failure_policy: policy,
    };
    let (sender, receiver) = watch::channel(wanted(&trust.borrow(), None));
    let following = async move {
        readiness.ready().await;
        loop {
            let news = wanted(&trust.borrow_and_update(), Some(FailurePolicy::Fail));
            sender.send_replace(news);
            if trust.changed().await.is_err() {
                // The authority is not kept any more; its last word holds.
                std::future::pending::<()>().await;
            }
        }
    };
    let following = async move {
        tokio::select! {
            () = drain.triggered() => {}
            () = following => {}
        }
    };
    (receiver, following)
}
