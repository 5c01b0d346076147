//! TLS the way every program of the mesh speaks it: rustls with aws-lc, 1.2 or newer.
//!
//! A server's certificate sits behind one pointer, so that a renewed one is used from the next
//! handshake on and no open connection notices.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::pki::{self, Issued, PkiError};

/// HTTP/2 as it is named in a handshake.
pub const H2: &[u8] = b"h2";
/// HTTP/1.1 as it is named in a handshake.
pub const HTTP_1_1: &[u8] = b"http/1.1";

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// The cryptography all our TLS uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate that cannot be read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A key that cannot be read or does not fit its certificate.
    #[error("the key cannot be used with its certificate: {0}")]
    Key(String),
    /// A bundle of roots without a root.
    #[error("there is no certificate in the bundle of roots")]
    NoRoots,
    /// A root that cannot be one.
    #[error("certificate {number} of the bundle of roots cannot be used: {error}")]
    Root {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// Certificates of clients cannot be checked.
    #[error("certificates of clients cannot be checked: {0}")]
    Clients(String),
    /// The provider and the versions do not go together.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// A server's certificate, which may be exchanged while it serves.
pub struct SwappableCertificate {
    current: ArcSwap<CertifiedKey>,
}

impl fmt::Debug for SwappableCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SwappableCertificate")
    }
}

impl SwappableCertificate {
    /// Begins with this certificate.
    pub fn new(issued: &Issued) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(certified(issued)?),
        }))
    }

    /// Uses this certificate from the next handshake on.
    pub fn replace(&self, issued: &Issued) -> Result<(), TlsError> {
        self.current.store(Arc::new(certified(issued)?));
        Ok(())
    }
}

impl ResolvesServerCert for SwappableCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn certified(issued: &Issued) -> Result<CertifiedKey, TlsError> {
    let chain = pki::certificates(&issued.chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.expose().as_bytes())
        .map_err(|error| TlsError::Key(error.to_string()))?;
    CertifiedKey::from_der(chain, key, &PROVIDER).map_err(|error| TlsError::Key(error.to_string()))
}

/// A server's side, offering `alpn` in this order of preference.
pub fn server_config(
    certificate: Arc<SwappableCertificate>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The same, for clients that prove to have a certificate of one of the roots in this PEM text, and
/// nobody else.
pub fn server_config_for_clients_of(
    roots_pem: &str,
    certificate: Arc<SwappableCertificate>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let roots = Arc::new(root_store(roots_pem)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| TlsError::Clients(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client's side that trusts the roots in this PEM text and nobody else.
pub fn client_config(roots_pem: &str, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(root_store(roots_pem)?)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn root_store(roots_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for (index, root) in pki::certificates(roots_pem)?.into_iter().enumerate() {
        store.add(root).map_err(|error| TlsError::Root {
            number: index + 1,
            error,
        })?;
    }
    if store.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(store)
}

#[cfg(test)]
mod tests;
