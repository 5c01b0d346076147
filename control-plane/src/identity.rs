//! Who this control plane is, whom it lets connect, and how everybody learns whom to trust.
//!
//! | module | what it does |
//! |---|---|
//! | [`root`] | the root of trust, kept in a Secret, and the certificate served under it |
//! | [`publish`] | the roots as a ConfigMap in every namespace |
//! | [`token`] | service-account tokens, checked by the API server |
//!
//! A folder has none of this: there the stream is plaintext and for this machine only.

pub mod publish;
pub mod root;
pub mod token;

use std::sync::Arc;

use kube::Client;
use mesh_kubernetes::authority::{KeptAuthority, OpenError, Trust};
use mesh_runtime::drain::DrainWatch;
use mesh_runtime::tls::SwappableCertificate;
use mesh_runtime::vital::Vital;
use tokio::sync::watch;

use token::TokenReviewer;

/// The control plane's identity on Kubernetes, kept up to date by tasks of its own.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What the stream and the webhook serve with.
    pub certificate: Arc<SwappableCertificate>,
    /// Whom to trust, now and when it changes.
    pub trust: watch::Receiver<Trust>,
    /// Checks who connects.
    pub tokens: Arc<TokenReviewer>,
}

impl Identity {
    /// Loads or makes the root in `namespace`, and begins to keep and publish it.
    ///
    /// Waits while the API server is away. Only while `leader` says so, this process writes the
    /// ConfigMaps.
    pub async fn start(
        client: Client,
        namespace: &str,
        domain: &str,
        leader: watch::Receiver<bool>,
        (vital, drain): (&Vital, DrainWatch),
    ) -> Result<Self, OpenError> {
        let settings = root::settings(namespace, domain);
        let kept = KeptAuthority::open(client.clone(), settings).await?;
        let identity = Self {
            certificate: kept.certificate(),
            trust: kept.trust(),
            tokens: Arc::new(TokenReviewer::new(client.clone())),
        };
        vital.spawn("what keeps the certificates", kept.keep(drain.clone()));
        tokio::spawn(root::publish_expiry(identity.trust.clone()));
        let publishing = publish::run(client, identity.trust.clone(), leader, drain);
        vital.spawn("the publication of the roots", publishing);
        Ok(identity)
    }
}
