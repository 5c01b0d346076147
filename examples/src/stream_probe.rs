//! Knocks at a control plane's configuration stream as anybody might, and says what comes back:
//! for the tests that show who is let in and who is not.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use mesh_api::proto::discovery_client::DiscoveryClient;
use mesh_api::proto::{self, ProxyMessage, server_message};
use mesh_runtime::tls;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// How long each step may take.
const LIMIT: Duration = Duration::from_secs(15);

/// One knock.
#[derive(Clone, Debug)]
pub struct Probe<'a> {
    /// Where the stream is, a port-forward for example.
    pub address: SocketAddr,
    /// The name its certificate has to be for.
    pub server_name: &'a str,
    /// The roots to trust: `root-cert.pem` of ConfigMap `istio-ca-root-cert`.
    pub roots_pem: &'a str,
    /// The token to send, if any.
    pub token: Option<&'a str>,
    /// The workload Hello names, `NAMESPACE/NAME`.
    pub workload: &'a str,
}

/// What came back first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Configuration.
    Configuration {
        /// How many resources.
        resources: usize,
    },
    /// The workload is not known yet, and why.
    Waiting(String),
    /// A refusal.
    Refused {
        /// The gRPC code.
        code: tonic::Code,
        /// What the operator is told.
        message: String,
    },
    /// The connection or the stream was closed without a word.
    Closed,
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration { resources } => write!(formatter, "{resources} resources"),
            Self::Waiting(reason) => write!(formatter, "waiting: {reason}"),
            Self::Refused { code, message } => write!(formatter, "{code:?}: {message}"),
            Self::Closed => formatter.write_str("closed without an answer"),
        }
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Self::Refused {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

/// Opens a stream over TLS, says Hello, and returns what comes first. An error is a connection
/// that could not be made.
pub async fn probe(probe: &Probe<'_>) -> anyhow::Result<Answer> {
    let channel = timeout(LIMIT, connect(probe))
        .await
        .context("connecting")??;
    let (say, said) = mpsc::channel(1);
    say.send(hello(probe.workload)).await?;
    let mut request = Request::new(ReceiverStream::new(said));
    if let Some(token) = probe.token {
        let header = format!("Bearer {token}").parse().context("the token")?;
        request.metadata_mut().insert("authorization", header);
    }
    let mut client = DiscoveryClient::new(channel);
    let opened = timeout(LIMIT, client.stream(request)).await;
    let mut answers = match opened.context("opening the stream")? {
        Ok(opened) => opened.into_inner(),
        Err(status) => return Ok(status.into()),
    };
    let first = timeout(LIMIT, answers.message()).await;
    Ok(match first.context("the first message")? {
        Err(status) => status.into(),
        Ok(None) => Answer::Closed,
        Ok(Some(message)) => match message.message {
            Some(server_message::Message::Push(push)) => Answer::Configuration {
                resources: push.resources.len(),
            },
            Some(server_message::Message::Waiting(waiting)) => Answer::Waiting(waiting.reason),
            None => anyhow::bail!("a message without content"),
        },
    })
}

/// Speaks HTTP/2 without TLS, as a gRPC client without encryption does; the bytes that come back.
pub async fn plaintext(address: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let mut stream = timeout(LIMIT, TcpStream::connect(address)).await??;
    // With an empty SETTINGS frame, and at once: a server that has seen enough resets the rest.
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await?;
    let mut answer = Vec::new();
    let read = timeout(LIMIT, stream.read_to_end(&mut answer)).await;
    match read.context("it was neither answered nor closed")? {
        Ok(_) => Ok(answer),
        // Closed with bytes unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(answer),
        Err(error) => Err(error.into()),
    }
}

async fn connect(probe: &Probe<'_>) -> anyhow::Result<Channel> {
    let config = tls::client_config(probe.roots_pem, &[tls::H2])?;
    let name = ServerName::try_from(probe.server_name.to_owned())?;
    let address = probe.address;
    let connector = tower::service_fn(move |_uri| {
        let (connector, name) = (TlsConnector::from(Arc::clone(&config)), name.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            let stream = connector.connect(name, stream).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{}:15012", probe.server_name))?;
    Ok(endpoint.connect_with_connector(connector).await?)
}

fn hello(workload: &str) -> ProxyMessage {
    let hello = proto::Hello {
        workload: workload.to_owned(),
        role: proto::Role::Sidecar.into(),
        capture_mode: proto::CaptureMode::OriginalDestination.into(),
        proxy_version: "probe".to_owned(),
        protocol_revision: 1,
        subscription: Some(proto::hello::Subscription::AllHosts(proto::AllHosts {})),
        ..proto::Hello::default()
    };
    ProxyMessage {
        message: Some(proto::proxy_message::Message::Hello(hello)),
    }
}
