//! A certificate authority that lives in a Secret, and the serving certificate it issues to this
//! process.
//!
//! The Secret is part of the manifests and empty at first; nothing here creates one. Whoever may
//! create a Secret and read it can have Kubernetes put the token of any service account of the
//! namespace into it, and RBAC cannot limit a creation by name.
//!
//! Several replicas share one Secret and agree through it: whoever fills it first, by its resource
//! version, has made the root, the others take it. A Secret that holds something which cannot be
//! used is never overwritten, since with it all trust would be lost.

mod secret;
mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use mesh_runtime::Backoff;
use mesh_runtime::drain::DrainWatch;
use mesh_runtime::pki::{self, Authority, Issued, PkiError};
use mesh_runtime::tls::{SwappableCertificate, TlsError};
use tokio::sync::watch as channel;

use crate::client::{ApiFailure, within};
pub use secret::Unusable;
use secret::{Found, Kept};

/// The first and the longest step between two attempts to reach the API server.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What the authority is, and where it is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the Secret is.
    pub namespace: String,
    /// Its name.
    pub secret: String,
    /// Who writes it, as `managedFields` and an annotation will say.
    pub manager: String,
    /// The common name of a root made here.
    pub common_name: String,
    /// The names this process serves under.
    pub names: Vec<String>,
    /// How long a root made here is good for.
    pub root_valid: Duration,
    /// How long a serving certificate is good for.
    pub serving_valid: Duration,
    /// How long clients may take to learn of a new root, before certificates of it are served.
    pub roll_out: Duration,
}

impl Settings {
    /// The usual lives: ten years, ninety days, and ten minutes to learn of a new root.
    pub fn new(namespace: &str, secret: &str, manager: &str, names: &[String]) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            manager: manager.to_owned(),
            common_name: format!("{manager} root"),
            names: names.to_vec(),
            root_valid: pki::ROOT_VALID,
            serving_valid: pki::SERVING_VALID,
            roll_out: Duration::from_mins(10),
        }
    }

    fn place(&self) -> String {
        format!("Secret {}/{}", self.namespace, self.secret)
    }

    fn create_root(&self) -> Result<Authority, PkiError> {
        Authority::create(&self.common_name, self.root_valid, SystemTime::now())
    }

    fn issue(&self, authority: &Authority) -> Result<Issued, PkiError> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        authority.issue_server(&names, self.serving_valid, SystemTime::now())
    }
}

/// Whom to trust.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Signs new certificates.
    pub authority: Arc<Authority>,
    /// All roots a client should trust now, in PEM.
    pub bundle_pem: Arc<str>,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The Secret is there, but not as it should be.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// No root or no certificate could be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A certificate could be made but not served.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An authority in a Secret, with the serving certificate it issued to this process.
#[derive(Debug)]
pub struct KeptAuthority {
    api: SecretApi,
    kept: Kept,
    trust: channel::Sender<Trust>,
    certificate: Arc<SwappableCertificate>,
    issued: Issued,
    /// The authority that issued it, and the roots whoever verifies it may know it by.
    issuer: Issuer,
    state: State,
}

/// How the Secret is, as far as this process has seen.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// It holds an authority.
    Filled,
    /// It is empty; its resource version. Somebody deleted it, and the manifests were applied.
    Empty(Option<String>),
    /// There is none.
    Gone,
}

/// Why there is no authority yet.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error(transparent)]
    Api(#[from] ApiFailure),
    #[error(
        "there is no {0}; it is part of the manifests, empty, and filled in here: apply them again \
         (cargo xtask deploy)"
    )]
    Missing(String),
    #[error("somebody else has just filled {0}")]
    Overtaken(String),
}

#[derive(Debug)]
struct Issuer {
    certificate_pem: String,
    roots_pem: String,
}

impl Issuer {
    fn of(kept: &Kept) -> Self {
        let authority = &kept.authority;
        let certificate_pem = authority.certificate_pem().to_owned();
        let roots_pem = if authority.is_root() {
            certificate_pem.clone()
        } else {
            kept.roots_pem.clone()
        };
        Self {
            certificate_pem,
            roots_pem,
        }
    }
}

/// The one Secret, and how it is written.
#[derive(Clone)]
struct SecretApi {
    api: Api<Secret>,
    settings: Settings,
}

impl std::fmt::Debug for SecretApi {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.settings.place())
    }
}

impl KeptAuthority {
    /// Loads the authority from its Secret, or makes one where that is empty.
    ///
    /// Waits for as long as the API server is away or refuses or has no such Secret, and says so.
    /// An error is something that waiting does not heal.
    pub async fn open(client: Client, settings: Settings) -> Result<Self, OpenError> {
        let api = SecretApi {
            api: Api::namespaced(client, &settings.namespace),
            settings,
        };
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let kept = loop {
            let not_yet = match api.load_or_fill().await? {
                Ok(kept) => break kept,
                Err(not_yet) => not_yet,
            };
            let delay = backoff.next_delay(rand::random());
            tracing::warn!(error = %not_yet, retry_in = ?delay,
                "the certificate authority is not available yet");
            tokio::time::sleep(delay).await;
        };
        let issued = api.settings.issue(&kept.authority)?;
        let (trust, _) = channel::channel(kept.trust()?);
        Ok(Self {
            certificate: SwappableCertificate::new(&issued)?,
            issuer: Issuer::of(&kept),
            issued,
            state: State::Filled,
            trust,
            kept,
            api,
        })
    }

    /// What this process serves with; exchanged while it serves.
    pub fn certificate(&self) -> Arc<SwappableCertificate> {
        Arc::clone(&self.certificate)
    }

    /// Whom to trust, now and when it changes.
    pub fn trust(&self) -> channel::Receiver<Trust> {
        self.trust.subscribe()
    }

    /// Follows the Secret and renews what gets old, until the drain begins.
    pub async fn keep(self, drain: DrainWatch) {
        tokio::select! {
            () = drain.triggered() => {}
            () = self.follow() => {}
        }
    }
}

impl SecretApi {
    /// The outer error is final; the inner one may be gone the next time.
    async fn load_or_fill(&self) -> Result<Result<Kept, NotYet>, OpenError> {
        let secret = match self.load().await {
            Ok(Some(secret)) => secret,
            Ok(None) => return Ok(Err(NotYet::Missing(self.settings.place()))),
            Err(failure) => return Ok(Err(failure.into())),
        };
        let version = match Found::read(&secret, &self.settings)? {
            Found::Authority(kept) => return Ok(Ok(kept)),
            Found::Nothing(version) => version,
        };
        let kept = Kept::from_root(self.settings.create_root()?).at(version);
        Ok(match self.write(&kept).await {
            Ok(version) => {
                tracing::info!(secret = %self.settings.place(),
                    "wrote the certificate authority's root");
                Ok(kept.at(version))
            }
            // Another replica was first; the next attempt takes its root.
            Err(failure) if failure.is_conflict() => Err(NotYet::Overtaken(self.settings.place())),
            Err(failure) => Err(failure.into()),
        })
    }

    async fn load(&self) -> Result<Option<Secret>, ApiFailure> {
        let what = format!("read {}", self.settings.place());
        within(what, self.api.get_opt(&self.settings.secret)).await
    }

    /// Writes `kept` over the version it was read as; somebody else's change is not lost. Returns
    /// the new version.
    async fn write(&self, kept: &Kept) -> Result<Option<String>, ApiFailure> {
        let what = format!("patch {}", self.settings.place());
        let parameters = PatchParams {
            field_manager: Some(self.settings.manager.clone()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(kept.patch(&self.settings));
        let patching = self.api.patch(&self.settings.secret, &parameters, &patch);
        Ok(within(what, patching).await?.resource_version())
    }
}

#[cfg(test)]
mod tests;
