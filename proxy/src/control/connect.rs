//! The way to the control plane: plaintext on one machine, TLS with a token anywhere else.
//!
//! Roots and token are read again at every connection. Both are files somebody else keeps up to
//! date: the roots follow a ConfigMap, the token is renewed long before it expires.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mesh_runtime::tls::{self, TlsError};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error as RustlsError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};

use super::token::{self, TokenError};

/// How long opening a connection may take, from the name to the end of the handshake.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A silent connection is asked this often whether it is alive, and has as long to answer: one
/// that died without a word is noticed in twice that.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A file of roots larger than this is none.
const LARGEST_BUNDLE: u64 = 4 << 20;

/// Where the control plane is, and how both sides prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    url: String,
    host: String,
    port: u16,
    security: Security,
    token: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Security {
    Plaintext,
    Tls {
        name: ServerName<'static>,
        roots: PathBuf,
    },
}

/// Whether what goes there never leaves this machine, whatever a name server says.
fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Why a control plane cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{option} {value}: {problem}")]
pub struct InvalidControlPlane {
    /// The option at fault.
    pub option: &'static str,
    /// What was given.
    pub value: String,
    /// What is wrong with it, and the way out.
    pub problem: String,
}

impl ControlPlane {
    /// The control plane at `url`; with https its certificate is checked against the roots in the
    /// file `roots`. The token in the file `token` says who we are.
    pub fn new(
        url: &str,
        roots: Option<PathBuf>,
        token: Option<PathBuf>,
    ) -> Result<Self, InvalidControlPlane> {
        let invalid = |option, value: &str, problem: &str| InvalidControlPlane {
            option,
            value: value.to_owned(),
            problem: problem.to_owned(),
        };
        let expected = "expected http://HOST:PORT or https://HOST:PORT";
        let wrong = || invalid("control-plane", url, expected);
        let uri: http::Uri = url.parse().map_err(|_not_a_url| wrong())?;
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?;
        let port = uri.port_u16().filter(|port| *port != 0).ok_or_else(wrong)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong());
        }
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let security = match (uri.scheme_str(), roots) {
            (Some("http"), None) if is_this_machine(&host) => Security::Plaintext,
            (Some("http"), None) => {
                let what = "what it says would travel in plaintext, for anybody to read and to \
                            forge; use https, or http on the loopback of this machine";
                return Err(invalid("control-plane", url, what));
            }
            (Some("http"), Some(roots)) => {
                let what = "there is nothing to check with http; use https or leave it out";
                return Err(invalid(
                    "control-plane-root",
                    &roots.to_string_lossy(),
                    what,
                ));
            }
            (Some("https"), Some(roots)) => Security::Tls {
                name: ServerName::try_from(host.clone()).map_err(|_not_a_name| wrong())?,
                roots,
            },
            (Some("https"), None) => {
                let what = "https needs --control-plane-root FILE, the roots to trust in PEM";
                return Err(invalid("control-plane", url, what));
            }
            (_, _) => return Err(wrong()),
        };
        if let (Security::Plaintext, Some(token)) = (&security, &token) {
            let what = "a token must not travel in plaintext; use an https control plane";
            return Err(invalid("token", &token.to_string_lossy(), what));
        }
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            host,
            port,
            security,
            token,
        })
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What to send as `authorization`, read now.
    pub(super) async fn authorization(&self) -> Result<Option<AsciiMetadataValue>, TokenError> {
        match &self.token {
            Some(file) => token::read(file).await.map(Some),
            None => Ok(None),
        }
    }

    /// Opens a connection. The name is looked up anew, since a restarted control plane may have
    /// another address.
    pub(super) async fn connect(&self) -> Result<Channel, ConnectError> {
        match tokio::time::timeout(CONNECT_LIMIT, self.open()).await {
            Ok(channel) => channel,
            Err(_elapsed) => Err(ConnectError::Slow),
        }
    }

    async fn open(&self) -> Result<Channel, ConnectError> {
        let unusable = |error: tonic::transport::Error| ConnectError::Connect(causes(&error));
        let plain = self.url.replacen("https://", "http://", 1);
        let endpoint = Endpoint::from_shared(plain)
            .map_err(unusable)?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        match &self.security {
            Security::Plaintext => endpoint.connect().await.map_err(unusable),
            Security::Tls { name, roots } => {
                let config = client_config(roots).await?;
                let stream = self.handshake(config, name.clone(), roots).await?;
                // One connection, made already: nothing is left to connect to.
                let mut stream = Some(TokioIo::new(stream));
                let connector = tower::service_fn(move |_uri| {
                    let stream = stream.take();
                    async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
                });
                let origin = self.url.parse().map_err(|_checked_before| {
                    ConnectError::Connect(format!("{} is not a URL", self.url))
                })?;
                let endpoint = endpoint.origin(origin);
                endpoint
                    .connect_with_connector(connector)
                    .await
                    .map_err(unusable)
            }
        }
    }

    async fn handshake(
        &self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        roots: &Path,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        // By name: whether it is known depends on the DNS of the pod.
        let connect = |error: io::Error| {
            ConnectError::Connect(format!("{}:{}: {error}", self.host, self.port))
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let handshake = TlsConnector::from(config).connect(name, stream).await;
        handshake.map_err(|error| self.explain(&error, roots))
    }

    fn explain(&self, error: &io::Error, roots: &Path) -> ConnectError {
        let roots = roots.to_owned();
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            // A root of the same name with another key gives a bad signature.
            Some(RustlsError::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => ConnectError::Untrusted { roots },
            Some(RustlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => ConnectError::WrongName {
                host: self.host.clone(),
            },
            Some(RustlsError::InvalidCertificate(why)) => ConnectError::Invalid {
                why: why.to_string(),
                roots,
            },
            Some(RustlsError::InvalidMessage(_)) => ConnectError::NoTls,
            Some(_) | None => ConnectError::Handshake(error.to_string()),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("cannot connect: no answer within {CONNECT_LIMIT:?}")]
    Slow,
    #[error(
        "cannot read the roots to trust, {}: {error}; mount ConfigMap istio-ca-root-cert there \
         (the control plane puts it into every namespace) or correct --control-plane-root",
        file.display()
    )]
    Roots { file: PathBuf, error: String },
    #[error(
        "the control plane's certificate is not signed by any root in {}; after a change of roots \
         that file follows within a minute or two, else check that --control-plane leads to this \
         mesh's control plane and that the file is this mesh's ConfigMap istio-ca-root-cert",
        roots.display()
    )]
    Untrusted { roots: PathBuf },
    #[error(
        "the control plane's certificate is not for the name {host}; use a name it has in \
         --control-plane, such as istiod.istio-system.svc"
    )]
    WrongName { host: String },
    #[error(
        "the control plane's certificate cannot be accepted ({why}; roots from {}); check this \
         machine's clock and the control plane's certificate",
        roots.display()
    )]
    Invalid { why: String, roots: PathBuf },
    #[error("the control plane speaks no TLS on this port; is it the one for --control-plane?")]
    NoTls,
    #[error("the TLS handshake with the control plane failed: {0}")]
    Handshake(String),
}

async fn client_config(roots: &Path) -> Result<Arc<ClientConfig>, ConnectError> {
    let unreadable = |error: String| ConnectError::Roots {
        file: roots.to_owned(),
        error,
    };
    let bundle = read_text(roots, LARGEST_BUNDLE).await;
    let bundle = bundle.map_err(|error| unreadable(error.to_string()))?;
    let config: Result<_, TlsError> = tls::client_config(&bundle, &[tls::H2]);
    config.map_err(|error| unreadable(error.to_string()))
}

/// The text of a file that is not larger than it may be.
pub(super) async fn read_text(file: &Path, largest: u64) -> io::Result<String> {
    if tokio::fs::metadata(file).await?.len() > largest {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    tokio::fs::read_to_string(file).await
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
