//! The authority as a Secret holds it: which keys, what they must contain, and what is said when
//! they do not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use mesh_runtime::pki::{self, Authority, PkiError, PrivateKeyPem};

use serde_json::{Value, json};

use super::{Settings, Trust};

/// Says on a Secret who made what is in it; only then is it renewed here.
const MADE_BY: &str = "mesh.istio.io/made-by";
/// The names of the values: as Istio calls them, and as cert-manager does.
const OWN_KEYS: Keys = Keys {
    certificate: "ca-cert.pem",
    key: "ca-key.pem",
    chain: Some("cert-chain.pem"),
    roots: "root-cert.pem",
};
const CERT_MANAGER_KEYS: Keys = Keys {
    certificate: "tls.crt",
    key: "tls.key",
    chain: None,
    roots: "ca.crt",
};

struct Keys {
    certificate: &'static str,
    key: &'static str,
    chain: Option<&'static str>,
    roots: &'static str,
}

/// A Secret that is there but cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{place} cannot be used as certificate authority: {reason}. It is left as it is, because \
     replacing it would end all trust in it. Put the right keys back (ca-cert.pem and ca-key.pem, \
     or tls.crt and tls.key), or empty the Secret and restart, and a new root is made"
)]
pub struct Unusable {
    place: String,
    reason: String,
}

/// What a Secret holds.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing at all, as the manifests have it; the version it was read as.
    Nothing(Option<String>),
    /// An authority that can be used.
    Authority(Kept),
}

impl Found {
    /// Reads it. A Secret that holds anything but an authority is an error.
    pub(super) fn read(secret: &Secret, settings: &Settings) -> Result<Self, Unusable> {
        if secret.data.as_ref().is_none_or(BTreeMap::is_empty) {
            return Ok(Self::Nothing(secret.resource_version()));
        }
        Kept::read(secret, settings).map(Self::Authority)
    }
}

/// An authority as it is in the Secret.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) authority: Arc<Authority>,
    /// The roots to trust, this authority's own among them.
    pub(super) roots_pem: String,
    /// Whether it was made here, and so is renewed here.
    pub(super) ours: bool,
    resource_version: Option<String>,
}

impl Kept {
    /// A root made just now.
    pub(super) fn from_root(authority: Authority) -> Self {
        Self {
            roots_pem: authority.certificate_pem().to_owned(),
            authority: Arc::new(authority),
            ours: true,
            resource_version: None,
        }
    }

    /// The next root, which will be trusted beside those trusted so far.
    pub(super) fn followed_by(&self, root: Authority) -> Result<Self, PkiError> {
        let now = SystemTime::now();
        let roots_pem = pki::merge_bundles(&[root.certificate_pem(), &self.roots_pem], now)?;
        Ok(Self {
            authority: Arc::new(root),
            roots_pem,
            ours: true,
            resource_version: self.resource_version.clone(),
        })
    }

    /// The same, as it was written with this version.
    pub(super) fn at(self, resource_version: Option<String>) -> Self {
        Self {
            resource_version,
            ..self
        }
    }

    /// Whether the other has the same authority and trusts the same roots.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.authority.certificate_pem() == other.authority.certificate_pem()
            && self.roots_pem == other.roots_pem
    }

    fn read(secret: &Secret, settings: &Settings) -> Result<Self, Unusable> {
        let unusable = |reason: String| Unusable {
            place: settings.place(),
            reason,
        };
        let values = Values(secret.data.as_ref());
        let keys = if values.has(CERT_MANAGER_KEYS.certificate) && !values.has(OWN_KEYS.certificate)
        {
            CERT_MANAGER_KEYS
        } else {
            OWN_KEYS
        };
        let mut certificate = values.required(keys.certificate).map_err(unusable)?;
        let key = values.required(keys.key).map_err(unusable)?;
        if let Some(chain) = keys.chain {
            let chain = values.text(chain).map_err(unusable)?;
            certificate = join(&certificate, &chain.unwrap_or_default());
        }
        let authority = Authority::from_pem(&certificate, PrivateKeyPem::new(key))
            .map_err(|error| unusable(error.to_string()))?;
        if authority.not_after() <= SystemTime::now() {
            return Err(unusable(
                "the authority's certificate has expired".to_owned(),
            ));
        }
        let roots = values.text(keys.roots).map_err(unusable)?;
        let roots_pem = match roots.filter(|roots| !roots.trim().is_empty()) {
            Some(roots) => with_own_root(&authority, &roots),
            None if authority.is_root() => Ok(authority.certificate_pem().to_owned()),
            None => {
                return Err(unusable(format!(
                    "it is an intermediate authority, and \"{}\" does not say which root it \
                     belongs to",
                    keys.roots
                )));
            }
        };
        Ok(Self {
            roots_pem: roots_pem
                .map_err(|error| unusable(format!("\"{}\": {error}", keys.roots)))?,
            authority: Arc::new(authority),
            ours: secret.annotations().get(MADE_BY) == Some(&settings.manager),
            resource_version: secret.resource_version(),
        })
    }

    /// The change that puts it into the Secret at the version it was read as.
    pub(super) fn patch(&self, settings: &Settings) -> Value {
        let values = [
            (OWN_KEYS.certificate, self.authority.certificate_pem()),
            (OWN_KEYS.key, self.authority.key_pem().expose()),
            (OWN_KEYS.roots, &self.roots_pem),
            // Empty for a root, and expected to be there by whoever reads Istio's Secret.
            ("cert-chain.pem", ""),
        ];
        let data: BTreeMap<_, _> = values
            .into_iter()
            .map(|(key, value)| (key, ByteString(value.as_bytes().to_vec())))
            .collect();
        let made_by = self.ours.then_some(&settings.manager);
        json!({
            "metadata": {
                "resourceVersion": self.resource_version,
                "annotations": { MADE_BY: made_by },
            },
            "data": data,
        })
    }

    /// Whom to trust at this moment: expired roots are left out.
    pub(super) fn trust(&self) -> Result<Trust, PkiError> {
        let bundle = pki::merge_bundles(&[&self.roots_pem], SystemTime::now())?;
        Ok(Trust {
            authority: Arc::clone(&self.authority),
            bundle_pem: bundle.into(),
        })
    }
}

/// The roots given, and the authority itself where it is one.
fn with_own_root(authority: &Authority, roots: &str) -> Result<String, PkiError> {
    let own = if authority.is_root() {
        authority.certificate_pem()
    } else {
        ""
    };
    pki::merge_bundles(&[own, roots], SystemTime::now())
}

fn join(certificate: &str, chain: &str) -> String {
    format!("{}\n{}", certificate.trim_end(), chain)
}

/// The values of a Secret, as text.
struct Values<'a>(Option<&'a BTreeMap<String, ByteString>>);

impl Values<'_> {
    fn has(&self, key: &str) -> bool {
        self.0.is_some_and(|data| data.contains_key(key))
    }

    fn text(&self, key: &str) -> Result<Option<String>, String> {
        let Some(value) = self.0.and_then(|data| data.get(key)) else {
            return Ok(None);
        };
        String::from_utf8(value.0.clone())
            .map(Some)
            .map_err(|_not_text| format!("\"{key}\" is not text"))
    }

    fn required(&self, key: &str) -> Result<String, String> {
        self.text(key)?
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(|| format!("\"{key}\" is missing or empty"))
    }
}
