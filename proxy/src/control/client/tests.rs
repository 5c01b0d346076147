//! The client against a scripted control plane on a real socket.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;

use mesh_api::encoded::Encoded;
use mesh_api::error::Rejection;
use mesh_api::name::PolicyName;
use mesh_api::policy::{Policy, PolicyRule};
use mesh_api::proto::discovery_server::{Discovery, DiscoveryServer};
use mesh_api::proto::{self, proxy_message, server_message};
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::resource::Resource;
use mesh_runtime::Readiness;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::control::Identity;

/// Streams as the test sees them: what the proxy says, and a way to answer.
struct Accepted {
    said: Streaming<ProxyMessage>,
    say: mpsc::Sender<Result<ServerMessage, Status>>,
}

struct Scripted(mpsc::Sender<Accepted>);

#[tonic::async_trait]
impl Discovery for Scripted {
    type StreamStream = Pin<Box<ReceiverStream<Result<ServerMessage, Status>>>>;

    async fn stream(
        &self,
        request: Request<Streaming<ProxyMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (say, answers) = mpsc::channel(16);
        let said = request.into_inner();
        self.0
            .send(Accepted { said, say })
            .await
            .map_err(|_closed| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// A control plane that can be killed and started again on its port.
struct ControlPlane {
    address: SocketAddr,
    streams: mpsc::Receiver<Accepted>,
    serving: JoinHandle<()>,
}

impl ControlPlane {
    async fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, streams) = mpsc::channel(4);
        let serving = tokio::spawn(async move {
            let service = DiscoveryServer::new(Scripted(accepted));
            let incoming = TcpListenerStream::new(listener);
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            address,
            streams,
            serving,
        }
    }

    async fn kill(self) -> SocketAddr {
        self.serving.abort();
        let _aborted = self.serving.await;
        self.address
    }

    async fn accept(&mut self) -> (Accepted, proto::Hello) {
        let mut accepted = soon(self.streams.recv()).await.unwrap();
        let proxy_message::Message::Hello(hello) = accepted.hear().await else {
            panic!("a Hello was expected");
        };
        (accepted, hello)
    }
}

impl Accepted {
    async fn hear(&mut self) -> proxy_message::Message {
        let message = soon(self.said.message()).await.unwrap().unwrap();
        message.message.unwrap()
    }

    async fn push(&self, nonce: u64, resources: Vec<proto::Resource>) {
        let push = proto::Push {
            nonce,
            resources,
            complete: true,
            ..proto::Push::default()
        };
        let message = ServerMessage {
            message: Some(server_message::Message::Push(push)),
        };
        self.say.send(Ok(message)).await.unwrap();
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.unwrap()
}

/// Tells the test of every snapshot, and refuses those with a policy `bad`.
struct Recorder(mpsc::UnboundedSender<Arc<Snapshot>>);

impl Apply for Recorder {
    async fn apply(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Vec<Rejection>> {
        let bad = PolicyName("bad".into());
        if snapshot.policy(&bad).is_some() {
            let (_, entry) = snapshot
                .iter()
                .find(|(name, _)| name.to_string() == "policy/bad")
                .unwrap();
            let name = mesh_api::name::ResourceName::from(bad);
            return Err(vec![Rejection::new(name, entry.version, "rule", "no")]);
        }
        self.0.send(snapshot).unwrap();
        Ok(())
    }
}

struct Proxy {
    applied: mpsc::UnboundedReceiver<Arc<Snapshot>>,
    status: ControlStatus,
    readiness: Readiness,
    want: mpsc::Sender<IpAddr>,
    running: JoinHandle<()>,
}

impl Proxy {
    fn start(address: SocketAddr, directory: &TempDir) -> Self {
        let (recorder, applied) = mpsc::unbounded_channel();
        let (want, wanted) = mpsc::channel(8);
        let status = ControlStatus::default();
        let readiness = Readiness::new();
        let gate = readiness.gate("config");
        let settings = ClientSettings {
            address: Ipv4Addr::LOCALHOST.into(),
            control_plane: crate::control::ControlPlane::new(
                &format!("http://{address}"),
                None,
                None,
            )
            .unwrap(),
            identity: Identity {
                workload: "shop/backend".parse().unwrap(),
                role: ProxyRole::Sidecar,
                capture_mode: CaptureMode::Explicit,
                software: "test",
            },
            data_dir: Some(directory.path().to_owned()),
        };
        let shared = status.clone();
        let running = tokio::spawn(async move {
            match run(settings, Recorder(recorder), wanted, shared, gate).await {}
        });
        Self {
            applied,
            status,
            readiness,
            want,
            running,
        }
    }

    async fn applied(&mut self) -> Vec<String> {
        let snapshot = soon(self.applied.recv()).await.unwrap();
        snapshot.iter().map(|(name, _)| name.to_string()).collect()
    }

    async fn stop(self) {
        self.running.abort();
        let _aborted = self.running.await;
    }
}

fn policy(name: &str) -> proto::Resource {
    Encoded::new(&Resource::from(Policy::uniform(
        PolicyName(name.into()),
        PolicyRule::Allow,
    )))
    .to_wire()
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

#[tokio::test]
async fn configuration_arrives_is_acknowledged_and_survives_everything() {
    let directory = TempDir::new().unwrap();
    let mut server = ControlPlane::start(any_port()).await;
    let mut proxy = Proxy::start(server.address, &directory);
    let (mut stream, hello) = server.accept().await;
    assert_eq!(hello.workload, "shop/backend");
    assert!(hello.held.is_empty());
    assert!(!proxy.readiness.is_ready());
    stream.push(1, vec![policy("a")]).await;
    assert_eq!(proxy.applied().await, ["policy/a"]);
    let ack = proxy_message::Message::Ack(proto::Ack { nonce: 1 });
    assert_eq!(stream.hear().await, ack);
    soon(proxy.readiness.ready()).await;

    // Refused, whole: what is in force stays.
    stream.push(2, vec![policy("b"), policy("bad")]).await;
    let proxy_message::Message::Nack(nack) = stream.hear().await else {
        panic!("a refusal was expected");
    };
    assert_eq!((nack.nonce, &*nack.rejections[0].name), (2, "policy/bad"));
    let report = proxy.status.report();
    assert_eq!((report.applied, report.nacked), (1, 1));

    // A question on the open stream.
    proxy.want.send(IpAddr::from([127, 0, 0, 9])).await.unwrap();
    let proxy_message::Message::Subscribe(subscribe) = stream.hear().await else {
        panic!("a question was expected");
    };
    assert_eq!(subscribe.names_added, ["workload/127.0.0.9"]);

    // The control plane dies and comes back: nothing is applied again.
    drop(stream);
    let address = server.kill().await;
    let mut server = ControlPlane::start(address).await;
    let (stream, hello) = server.accept().await;
    assert_eq!(hello.held.len(), 1);
    assert_eq!(hello.names, ["workload/127.0.0.1", "workload/127.0.0.9"]);
    assert!(proxy.applied.try_recv().is_err());
    stream.push(1, vec![policy("c")]).await;
    assert_eq!(proxy.applied().await, ["policy/a", "policy/c"]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_that_starts_alone_serves_what_it_had() {
    let directory = TempDir::new().unwrap();
    let mut server = ControlPlane::start(any_port()).await;
    let mut proxy = Proxy::start(server.address, &directory);
    let (mut stream, _) = server.accept().await;
    stream.push(1, vec![policy("a"), policy("b")]).await;
    assert_eq!(proxy.applied().await.len(), 2);
    stream.hear().await;
    let kept = directory.path().join("last-good-config");
    soon(async {
        while !kept.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    proxy.stop().await;
    drop(stream);
    let address = server.kill().await;

    let mut proxy = Proxy::start(address, &directory);
    assert_eq!(proxy.applied().await, ["policy/a", "policy/b"]);
    soon(proxy.readiness.ready()).await;
    assert!(!proxy.status.report().connected);
    let mut server = ControlPlane::start(address).await;
    let (_stream, hello) = server.accept().await;
    assert_eq!(hello.held.len(), 2);
    assert!(proxy.applied.try_recv().is_err());
    proxy.stop().await;
}

#[tokio::test]
async fn a_control_plane_that_only_waits_is_not_waited_for() {
    let directory = TempDir::new().unwrap();
    let address = any_port();
    let mut server = ControlPlane::start(address).await;
    let mut proxy = Proxy::start(server.address, &directory);
    let (stream, _) = server.accept().await;
    stream.push(1, vec![policy("a")]).await;
    proxy.applied().await;
    let kept = directory.path().join("last-good-config");
    soon(async {
        while !kept.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    proxy.stop().await;

    let mut proxy = Proxy::start(server.address, &directory);
    let (first, hello) = server.accept().await;
    assert!(hello.held.is_empty());
    assert_eq!(proxy.applied().await, ["policy/a"]);
    // The stream is opened anew, to say what is held now.
    let (_second, hello) = server.accept().await;
    assert_eq!(hello.held.len(), 1);
    drop(first);
    proxy.stop().await;
}
