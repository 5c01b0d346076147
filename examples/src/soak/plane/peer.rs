//! Who speaks to the control plane's stream: the way in, and lawful proxies, which take what they
//! are sent and say so.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use mesh_api::limits::{MAX_MESSAGE_BYTES, MAX_PROXY_MESSAGE_BYTES};
use mesh_api::proto::discovery_client::DiscoveryClient;
use mesh_api::proto::proxy_message::Message;
use mesh_api::proto::{self, ProxyMessage, ServerMessage, server_message};
use mesh_runtime::tls;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use super::cluster::MARKER;

/// The name the control plane's certificate is for.
const SERVER: &str = "istiod.istio-system.svc";
/// How long a step of opening a stream may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Before a lawful proxy comes again.
const AGAIN: Duration = Duration::from_millis(200);

/// The way to the control plane.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) stream: SocketAddr,
    pub(super) webhook: SocketAddr,
    roots: Arc<ClientConfig>,
    webhook_roots: Arc<ClientConfig>,
}

/// An open stream.
pub(super) struct Opened {
    pub(super) say: mpsc::Sender<ProxyMessage>,
    pub(super) answers: Streaming<ServerMessage>,
}

impl Door {
    pub(super) fn new(
        stream: SocketAddr,
        webhook: SocketAddr,
        root: &str,
    ) -> Result<Self, tls::TlsError> {
        Ok(Self {
            stream,
            webhook,
            roots: tls::client_config(root, &[tls::H2])?,
            webhook_roots: tls::client_config(root, &[tls::HTTP_1_1])?,
        })
    }

    /// A connection without a stream, to the port of streams or any other.
    pub(super) async fn tcp(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect(to).await
    }

    /// A connection for streams; with `window`, one that takes no more than so many bytes.
    pub(super) async fn channel(
        &self,
        from: Ipv4Addr,
        window: Option<u32>,
    ) -> Result<Channel, tonic::transport::Error> {
        let (roots, to) = (Arc::clone(&self.roots), self.stream);
        let connector = tower::service_fn(move |_uri| {
            let connector = TlsConnector::from(Arc::clone(&roots));
            async move {
                let stream = Self::tcp(from, to).await?;
                let stream = connector.connect(name()?, stream).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        let endpoint = Endpoint::from_static("http://istiod.istio-system.svc:15012")
            .connect_timeout(LIMIT)
            .initial_stream_window_size(window);
        endpoint.connect_with_connector(connector).await
    }

    /// Opens a stream with this token and says this first.
    pub(super) async fn open(
        channel: Channel,
        token: Option<&str>,
        first: ProxyMessage,
    ) -> Result<Opened, Status> {
        let (say, said) = mpsc::channel(4);
        let full = |_| Status::internal("the stream takes nothing");
        say.try_send(first).map_err(full)?;
        let mut request = Request::new(ReceiverStream::new(said));
        if let Some(token) = token {
            let header = format!("Bearer {token}").parse();
            let header = header.map_err(|_unfit| Status::internal("no token"))?;
            request.metadata_mut().insert("authorization", header);
        }
        let mut client = DiscoveryClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(2 * MAX_PROXY_MESSAGE_BYTES);
        let opening = tokio::time::timeout(LIMIT, client.stream(request)).await;
        let answers = opening.map_err(|_elapsed| Status::deadline_exceeded("no answer"))??;
        let answers = answers.into_inner();
        Ok(Opened { say, answers })
    }

    /// Sends a request to the webhook and reads the answer to its end.
    pub(super) async fn post(&self, from: Ipv4Addr, body: &[u8]) -> io::Result<String> {
        let stream = Self::tcp(from, self.webhook).await?;
        let connector = TlsConnector::from(Arc::clone(&self.webhook_roots));
        let mut stream: TlsStream<TcpStream> = connector.connect(name()?, stream).await?;
        let head = format!(
            "POST /validate HTTP/1.1\r\nhost: {SERVER}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        // What is refused is answered before it has been sent.
        let sent = stream.write_all(body).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        if answer.is_empty() {
            sent?;
            read?;
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn name() -> io::Result<ServerName<'static>> {
    ServerName::try_from(SERVER).map_err(io::Error::other)
}

/// What a proxy says first.
pub(super) fn hello(workload: &str) -> proto::Hello {
    proto::Hello {
        workload: workload.to_owned(),
        role: proto::Role::Sidecar.into(),
        capture_mode: proto::CaptureMode::OriginalDestination.into(),
        proxy_version: "soak".to_owned(),
        protocol_revision: 1,
        subscription: Some(proto::hello::Subscription::AllHosts(proto::AllHosts {})),
        ..proto::Hello::default()
    }
}

pub(super) fn say(message: Message) -> ProxyMessage {
    ProxyMessage {
        message: Some(message),
    }
}

/// A change that has arrived at a proxy.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) proxy: usize,
    pub(super) change: u64,
    pub(super) at: Instant,
}

/// A lawful proxy.
#[derive(Debug, Clone)]
pub(super) struct Lawful {
    pub(super) number: usize,
    pub(super) workload: String,
    pub(super) from: Ipv4Addr,
    pub(super) token: String,
}

impl Lawful {
    /// Takes what it is sent, on one stream after the other, for as long as somebody wants to hear.
    pub(super) async fn run(self, door: Door, heard: mpsc::UnboundedSender<Arrival>) {
        while !heard.is_closed() {
            if let Ok(channel) = door.channel(self.from, None).await {
                let hello = say(Message::Hello(hello(&self.workload)));
                if let Ok(opened) = Door::open(channel, Some(&self.token), hello).await {
                    self.listen(opened, &heard).await;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn listen(&self, mut opened: Opened, heard: &mpsc::UnboundedSender<Arrival>) {
        let mut newest = None;
        while let Ok(Some(message)) = opened.answers.message().await {
            let Some(server_message::Message::Push(push)) = message.message else {
                continue;
            };
            newest = push
                .resources
                .iter()
                .filter_map(change_in)
                .chain(newest)
                .max();
            if !push.complete {
                continue;
            }
            let at = Instant::now();
            let ack = say(Message::Ack(proto::Ack { nonce: push.nonce }));
            if opened.say.send(ack).await.is_err() {
                return;
            }
            if let Some(change) = newest.take() {
                let proxy = self.number;
                // Nobody wants to hear of it any more.
                drop(heard.send(Arrival { proxy, change, at }));
            }
        }
    }
}

/// Which change a resource is of.
fn change_in(resource: &proto::Resource) -> Option<u64> {
    if !resource.name.starts_with("routes/") || !resource.name.contains("plane") {
        return None;
    }
    let body = &resource.body;
    let place = body
        .windows(MARKER.len())
        .position(|part| part == MARKER.as_bytes())?;
    let digits = body.get(place + MARKER.len()..)?.get(..8)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
