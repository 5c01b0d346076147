//! The Secrets gateways name: which they are, and whether they hold what a gateway needs.
//!
//! Nothing of a Secret is kept but the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::keep::{Cut, Data};
use super::objects::Objects;
use crate::crd::gateway::{GatewaySpec, ServerTlsMode};
use crate::crd::object::Resource;
use crate::crd::problem::{Problem, Severity};
use crate::crd::{Kind, Object};
use crate::meta::ObjectKey;

/// Namespace and name of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SecretName {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Where a Secret is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    /// By which Gateway.
    pub(super) gateway: ObjectKey,
    /// In which field.
    pub(super) field: String,
}

/// What is wrong with a Secret; nothing if it can be used.
pub(super) type Verdict = Result<(), String>;

/// The Secrets that are named, and by whom.
pub(super) fn named(objects: &Objects) -> BTreeMap<SecretName, Vec<Use>> {
    let mut named: BTreeMap<SecretName, Vec<Use>> = BTreeMap::new();
    for object in objects.of_kind(Kind::Gateway) {
        let Object::Gateway(gateway) = object else {
            continue;
        };
        let wanted = names_of(gateway);
        if wanted.is_empty() {
            continue;
        }
        for namespace in namespaces_of(gateway, objects) {
            for (field, name) in &wanted {
                let secret = SecretName {
                    namespace: namespace.to_owned(),
                    name: (*name).to_owned(),
                };
                named.entry(secret).or_default().push(Use {
                    gateway: gateway.key.clone(),
                    field: field.clone(),
                });
            }
        }
    }
    named
}

fn names_of(gateway: &Resource<GatewaySpec>) -> Vec<(String, &str)> {
    let mut names = Vec::new();
    for (index, server) in gateway.spec.servers.iter().enumerate() {
        let Some(tls) = &server.tls else {
            continue;
        };
        match tls.mode {
            ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {}
            ServerTlsMode::Passthrough
            | ServerTlsMode::IstioMutual
            | ServerTlsMode::AutoPassthrough => continue,
        }
        let at = |field: &str| format!("spec.servers[{index}].tls.{field}");
        if let Some(name) = &tls.credential_name {
            names.push((at("credentialName"), name.as_str()));
        }
        for (place, name) in tls.credential_names.iter().enumerate() {
            names.push((at(&format!("credentialNames[{place}]")), name.as_str()));
        }
    }
    names
}

/// The namespaces of the workloads a Gateway selects.
fn namespaces_of<'a>(gateway: &Resource<GatewaySpec>, objects: &'a Objects) -> BTreeSet<&'a str> {
    let selector = &gateway.spec.selector;
    objects
        .of_kind(Kind::Pod)
        .filter(|pod| {
            let labels = &pod.meta().labels;
            selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        })
        .map(|pod| pod.key().namespace.as_str())
        .collect()
}

/// Looks at a Secret.
pub(super) fn examine(secret: &Cut<Data>) -> Verdict {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let entry = |names: [&str; 2]| {
        let data = secret.value.get("data")?;
        let value = names.iter().find_map(|name| data.get(name))?;
        serde_json::from_value::<ByteString>(value.clone()).ok()
    };
    let certificate = entry(["tls.crt", "cert"]).ok_or("has no tls.crt")?;
    let key = entry(["tls.key", "key"]).ok_or("has no tls.key")?;
    check(
        &certificate.0,
        &key.0,
        i64::try_from(now).unwrap_or(i64::MAX),
    )
}

/// Whether a certificate and a key can serve.
fn check(certificate: &[u8], key: &[u8], now: i64) -> Verdict {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("tls.crt is not PEM: {error}"))?;
    let first = chain.first().ok_or("tls.crt holds no certificate")?;
    let (_, read) = X509Certificate::from_der(first)
        .map_err(|error| format!("the certificate in tls.crt cannot be read: {error}"))?;
    let validity = read.validity();
    if validity.not_after.timestamp() < now {
        return Err(format!("its certificate expired on {}", validity.not_after));
    }
    if validity.not_before.timestamp() > now {
        return Err(format!(
            "its certificate is valid from {} on",
            validity.not_before
        ));
    }
    // The error might quote what it could not read.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_quoted| "tls.key holds no private key in PEM")?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain.clone(), key, &provider) {
        Ok(_usable) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("tls.key does not belong to the certificate in tls.crt".to_owned())
        }
        Err(_reason) => Err("tls.key cannot be used with the certificate in tls.crt".to_owned()),
    }
}

/// What to tell about a Secret.
pub(super) fn problem(secret: &SecretName, what: &str) -> Problem {
    let SecretName { namespace, name } = secret;
    Problem::new(Severity::Error, format!("Secret {namespace}/{name} {what}")).hint(format!(
        "it has to be in {namespace}, where the gateway runs, and hold tls.crt and tls.key \
         (kubectl create secret tls)"
    ))
}

/// The place reports about a Gateway's Secrets are filed under.
pub(super) fn place(gateway: &ObjectKey) -> Arc<str> {
    format!(
        "kubernetes/credentials/{}/{}",
        gateway.namespace, gateway.name
    )
    .into()
}

#[cfg(test)]
mod tests;
