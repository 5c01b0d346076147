//! Who gets a stream and who does not, over real sockets.

mod hostile;

use std::future::Future;
use std::net::SocketAddr;
use std::time::SystemTime;

use hyper_util::rt::TokioIo;
use mesh_api::proto::discovery_client::DiscoveryClient;
use mesh_api::proto::{self, server_message};
use mesh_kubernetes::testing::{FakeApi, Seen};
use mesh_runtime::drain::Drain;
use mesh_runtime::pki::{Authority, ROOT_VALID};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::identity::token::TokenReviewer;
use crate::model::{Change, MeshSettings, World};
use crate::push::board::Board;
use crate::push::{PushLoop, Timing};
use crate::source::Batch;
use crate::testing::objects;

const SERVICE: &str = "istiod.istio-system.svc";
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, uid: u-1}
spec: {containers: [{name: app}], serviceAccountName: web}
status: {podIP: 10.0.0.1}
";

/// A token that says of itself what a real one says; the fake API server goes by its header.
fn token(kind: &str) -> String {
    let audience = if kind == "wrong" { "vault" } else { "istio-ca" };
    let expires = if kind == "expired" {
        1_000_000_000_u64
    } else {
        4_000_000_000
    };
    let pod = if kind == "unbound" {
        Value::Null
    } else {
        json!({"name": "web-1", "uid": "u-1"})
    };
    let payload = json!({
        "aud": [audience],
        "exp": expires,
        "iss": "https://issuer.example",
        "sub": "system:serviceaccount:shop:web",
        "kubernetes.io": {"pod": pod},
    });
    let header = json!({"alg": "RS256", "kid": kind});
    format!("{}.{}.c2ln", base64(&header), base64(&payload))
}

fn base64(value: &Value) -> String {
    let bytes = k8s_openapi::ByteString(value.to_string().into_bytes());
    let encoded = serde_json::to_value(bytes).unwrap();
    encoded.as_str().unwrap().trim_end_matches('=').to_owned()
}

/// What kind of token this is, as it says in its first part.
fn kind_of(token: &str) -> Option<String> {
    let (header, _) = token.split_once('.')?;
    ["web", "replaced", "other", "unbound", "deleted", "forged"]
        .into_iter()
        .find(|kind| base64(&json!({"alg": "RS256", "kid": kind})) == header)
        .map(str::to_owned)
}

fn review(seen: &Seen) -> Option<(u16, Value)> {
    let mut answer = seen.body.clone();
    let token = answer["spec"]["token"].as_str()?.to_owned();
    let kind = kind_of(&token)?;
    let pod = |name: &str, uid: &str| {
        json!({
            "authenticated": true,
            "audiences": ["istio-ca"],
            "user": {
                "username": "system:serviceaccount:shop:web",
                "extra": {
                    "authentication.kubernetes.io/pod-name": [name],
                    "authentication.kubernetes.io/pod-uid": [uid],
                },
            },
        })
    };
    answer["status"] = match &*kind {
        "web" => pod("web-1", "u-1"),
        "replaced" => pod("web-1", "u-0"),
        "other" => pod("other", "u-2"),
        "unbound" => json!({
            "authenticated": true, "audiences": ["istio-ca"],
            "user": {"username": "system:serviceaccount:shop:web"},
        }),
        "deleted" => json!({
            "authenticated": false,
            "error": "[invalid bearer token, service account token has been invalidated]",
        }),
        _ => json!({"authenticated": false, "error": "invalid bearer token"}),
    };
    Some((201, answer))
}

struct Server {
    address: SocketAddr,
    root: String,
    registry: Arc<Registry>,
    batches: mpsc::Sender<Batch>,
    drain: Drain,
    api: FakeApi,
    serving: tokio::task::JoinHandle<Result<(), ServeError>>,
}

impl Server {
    async fn start() -> Self {
        let server = Self::that_knows_nothing_yet().await;
        server.pods(&[POD]).await;
        server
    }

    async fn that_knows_nothing_yet() -> Self {
        let api = FakeApi::new();
        api.intercept(review);
        let root = Authority::create("root", ROOT_VALID, SystemTime::now()).unwrap();
        let issued = root
            .issue_server(&[SERVICE], ROOT_VALID, SystemTime::now())
            .unwrap();
        let certificate = SwappableCertificate::new(&issued).unwrap();
        let (commands, inbox) = mpsc::channel(16);
        let (batches, changes) = mpsc::channel(16);
        let push = PushLoop::new(
            World::new(MeshSettings::default()),
            Timing::default(),
            Arc::new(Board::default()),
        );
        tokio::spawn(push.run(changes, inbox, || {}));
        let registry = Arc::new(Registry::default());
        let reviewer = Arc::new(TokenReviewer::new(api.client()));
        let service = Discovery::new(Arc::clone(&registry), commands)
            .authenticated_by(Authenticator::Tokens(reviewer));
        let listener = bind((std::net::Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let drain = Drain::new();
        let serving = serve_tls(listener, service, certificate, drain.watch());
        Self {
            address,
            root: root.certificate_pem().to_owned(),
            registry,
            batches,
            drain,
            api,
            serving: tokio::spawn(serving),
        }
    }

    async fn pods(&self, pods: &[&str]) {
        let pods = objects(&pods.join("\n---\n"));
        let batch = Batch {
            changes: pods.into_iter().map(Change::Applied).collect(),
            initial_complete: true,
            ..Batch::default()
        };
        self.batches.send(batch).await.unwrap();
    }

    async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let config = tls::client_config(&self.root, &[tls::H2]).unwrap();
        let address = self.address;
        let connector = tower::service_fn(move |_| {
            let connector = TlsConnector::from(Arc::clone(&config));
            async move {
                let tcp = TcpStream::connect(address).await?;
                let name = ServerName::try_from(SERVICE).unwrap();
                Ok::<_, io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://istiod.istio-system.svc:15012");
        endpoint.connect_with_connector(connector).await
    }

    /// Opens a stream with this header and says Hello for this workload.
    async fn open(&self, header: Option<&str>, workload: &str) -> Result<Opened, Status> {
        let mut client = DiscoveryClient::new(self.channel().await.unwrap());
        let (say, said) = mpsc::channel(4);
        say.send(hello(workload)).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(said));
        if let Some(header) = header {
            let header = header.parse().unwrap();
            request.metadata_mut().insert("authorization", header);
        }
        let answers = soon(client.stream(request)).await?.into_inner();
        Ok(Opened { say, answers })
    }

    async fn with_token(&self, kind: &str, workload: &str) -> Result<Opened, Status> {
        let header = format!("Bearer {}", token(kind));
        self.open(Some(&header), workload).await
    }
}

struct Opened {
    say: mpsc::Sender<ProxyMessage>,
    answers: Streaming<ServerMessage>,
}

impl Opened {
    async fn hear(&mut self) -> Result<Option<server_message::Message>, Status> {
        let message = soon(self.answers.message()).await?;
        Ok(message.and_then(|message| message.message))
    }
}

fn hello(workload: &str) -> ProxyMessage {
    let hello = proto::Hello {
        workload: workload.to_owned(),
        role: proto::Role::Sidecar.into(),
        capture_mode: proto::CaptureMode::OriginalDestination.into(),
        proxy_version: "test".to_owned(),
        protocol_revision: 1,
        subscription: Some(proto::hello::Subscription::AllHosts(proto::AllHosts {})),
        ..proto::Hello::default()
    };
    ProxyMessage {
        message: Some(proto::proxy_message::Message::Hello(hello)),
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap()
}

/// The status a stream was refused with, at its opening or right after Hello.
async fn refused(opened: Result<Opened, Status>) -> Status {
    match opened {
        Err(status) => status,
        Ok(mut opened) => match opened.hear().await {
            Err(status) => status,
            Ok(message) => panic!("not refused but told {message:?}"),
        },
    }
}

#[tokio::test]
async fn a_pod_gets_its_own_configuration() {
    let server = Server::start().await;
    let mut opened = server.with_token("web", "shop/web-1").await.unwrap();
    let Some(server_message::Message::Push(push)) = opened.hear().await.unwrap() else {
        panic!("a push was expected");
    };
    assert!(push.complete && !push.resources.is_empty());
    let reports = server.registry.report(Instant::now());
    assert_eq!(reports[0].proxy, "shop/web-1");
    assert!(reports[0].address.is_some());
    drop(opened.say);
}

#[tokio::test]
async fn everybody_else_is_told_what_to_do() {
    let server = Server::start().await;
    let cases = [
        (None, "shop/web-1", Code::Unauthenticated, "--token FILE"),
        (
            Some("Bearer"),
            "shop/web-1",
            Code::Unauthenticated,
            "no service-account token",
        ),
        (
            Some("Bearer x"),
            "shop/web-1",
            Code::Unauthenticated,
            "no service-account token",
        ),
    ];
    for (header, workload, code, text) in cases {
        let status = refused(server.open(header, workload).await).await;
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(text), "{status}");
    }
    let cases = [
        (
            "wrong",
            "shop/web-1",
            Code::Unauthenticated,
            "for audience \"vault\"",
        ),
        ("expired", "shop/web-1", Code::Unauthenticated, "expired"),
        (
            "deleted",
            "shop/web-1",
            Code::Unauthenticated,
            "has been deleted",
        ),
        (
            "forged",
            "shop/web-1",
            Code::Unauthenticated,
            "does not accept",
        ),
        (
            "unbound",
            "shop/web-1",
            Code::Unauthenticated,
            "not bound to a pod",
        ),
        ("other", "shop/web-1", Code::PermissionDenied, "shop/other"),
        ("web", "shop/other", Code::PermissionDenied, "shop/web-1"),
        (
            "web",
            "payments/web-1",
            Code::PermissionDenied,
            "payments/web-1",
        ),
        ("replaced", "shop/web-1", Code::PermissionDenied, "UID u-0"),
    ];
    for (kind, workload, code, text) in cases {
        let status = refused(server.with_token(kind, workload).await).await;
        assert_eq!(status.code(), code, "{kind}: {status}");
        assert!(status.message().contains(text), "{kind}: {status}");
        assert!(!status.message().contains(&token(kind)), "{kind}: {status}");
    }
}

#[tokio::test]
async fn plaintext_is_closed_without_a_word() {
    let server = Server::start().await;
    for begin in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut answer = Vec::new();
        // Closed, or reset because of what was not read.
        let read = soon(stream.read_to_end(&mut answer)).await;
        assert!(read.is_err() || answer.is_empty(), "{answer:?}");
    }
    // A peer that says nothing keeps nobody waiting.
    let _silent = TcpStream::connect(server.address).await.unwrap();
    server.with_token("web", "shop/web-1").await.unwrap();
}

#[tokio::test]
async fn while_the_api_server_is_away_nobody_new_comes_in_and_nobody_is_thrown_out() {
    let server = Server::start().await;
    let mut opened = server.with_token("web", "shop/web-1").await.unwrap();
    assert!(opened.hear().await.unwrap().is_some());
    server
        .api
        .intercept(|_| Some((503, mesh_kubernetes::testing::failure(503, "", "away"))));
    let status = refused(server.with_token("other", "shop/other").await).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
    let subscribe = proto::Subscribe {
        names_added: vec!["workload/10.0.0.1".to_owned()],
        ..proto::Subscribe::default()
    };
    for message in [
        proto::proxy_message::Message::Ack(proto::Ack { nonce: 1 }),
        proto::proxy_message::Message::Subscribe(subscribe),
    ] {
        let message = Some(message);
        opened.say.send(ProxyMessage { message }).await.unwrap();
    }
    assert!(
        opened.hear().await.unwrap().is_some(),
        "the open stream goes on"
    );
    // Known from before.
    server.with_token("web", "shop/web-1").await.unwrap();
}

#[tokio::test]
async fn a_pod_that_was_replaced_loses_its_stream() {
    let server = Server::start().await;
    let mut opened = server.with_token("web", "shop/web-1").await.unwrap();
    assert!(opened.hear().await.unwrap().is_some());
    server.pods(&[&POD.replace("u-1", "u-9")]).await;
    let status = loop {
        match opened.hear().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("UID u-9"), "{status}");
}

#[tokio::test]
async fn a_pod_not_known_yet_waits() {
    let server = Server::start().await;
    let mut opened = server.with_token("other", "shop/other").await.unwrap();
    let Some(server_message::Message::Waiting(waiting)) = opened.hear().await.unwrap() else {
        panic!("it was expected to wait");
    };
    assert!(waiting.reason.contains("shop/other"));
    let pod = POD.replace("web-1", "other").replace("u-1", "u-2");
    server.pods(&[&pod.replace("10.0.0.1", "10.0.0.2")]).await;
    let message = opened.hear().await.unwrap();
    assert!(
        matches!(message, Some(server_message::Message::Push(_))),
        "{message:?}"
    );
}

#[tokio::test]
async fn who_comes_before_anything_is_known_gets_what_it_asked_for_all_the_same() {
    let server = Server::that_knows_nothing_yet().await;
    let mut opened = server.with_token("web", "shop/web-1").await.unwrap();
    let subscribe = proto::Subscribe {
        names_added: vec!["workload/10.0.0.1".to_owned()],
        ..proto::Subscribe::default()
    };
    let message = Some(proto::proxy_message::Message::Subscribe(subscribe));
    opened.say.send(ProxyMessage { message }).await.unwrap();
    // Time for what it asked for to be looked for in vain.
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.pods(&[POD]).await;
    let message = opened.hear().await.unwrap();
    let Some(server_message::Message::Push(push)) = message else {
        panic!("it was expected to be told something, not {message:?}");
    };
    let names: Vec<&str> = push.resources.iter().map(|one| one.name.as_str()).collect();
    assert!(names.contains(&"workload/10.0.0.1"), "{names:?}");
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_at_once() {
    let server = Server::start().await;
    let mut opened = server.with_token("web", "shop/web-1").await.unwrap();
    assert!(opened.hear().await.unwrap().is_some());
    server.drain.trigger();
    assert!(opened.hear().await.unwrap().is_none(), "ended in order");
    soon(server.serving).await.unwrap().unwrap();
}
