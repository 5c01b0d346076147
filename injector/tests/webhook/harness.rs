//! A cluster in memory with the server on it, and the API server's side of the conversation.

use std::net::SocketAddr;
use std::time::Duration;

use injector::Home;
use injector::server::{self, ConfigMaps};
use k8s_openapi::ByteString;
use mesh_kubernetes::testing::{FakeApi, Seen};
use mesh_runtime::StopReason;
use mesh_runtime::tls::client_config;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

pub(crate) const NAME: &str = "istio-sidecar-injector.istio-injector.svc";
pub(crate) const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/\
                             istio-sidecar-injector";
pub(crate) const SECRET: &str =
    "/api/v1/namespaces/istio-injector/secrets/istio-sidecar-injector-ca";
pub(crate) const VALUES: &str =
    "/api/v1/namespaces/istio-injector/configmaps/istio-sidecar-injector";

/// A cluster with two namespaces and all the injector's objects, its Secret still empty.
pub(crate) fn cluster() -> FakeApi {
    let api = FakeApi::new();
    api.intercept(version);
    for (name, labels) in [
        ("shop", json!({ "istio-injection": "enabled" })),
        ("other", json!({})),
    ] {
        let metadata = json!({ "name": name, "labels": labels });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        api.put(&format!("/api/v1/namespaces/{name}"), namespace);
    }
    api.put(VALUES, values("one"));
    api.put(SECRET, json!({ "apiVersion": "v1", "kind": "Secret" }));
    let webhook = json!({ "name": "w", "clientConfig": { "service": { "name": "s" } } });
    api.put(
        CONFIGURATION,
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": "istio-sidecar-injector" },
            "webhooks": [webhook],
        }),
    );
    api
}

pub(crate) fn version(seen: &Seen) -> Option<(u16, Value)> {
    let info = json!({
        "major": "1", "minor": "33+", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    });
    (seen.path == "/version").then_some((200, info))
}

pub(crate) fn values(tag: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "istio-sidecar-injector", "namespace": "istio-injector" },
        "data": { "values": json!({ "global": { "tag": tag } }).to_string() },
    })
}

pub(crate) struct Running {
    pub(crate) api: FakeApi,
    pub(crate) webhook: SocketAddr,
    pub(crate) monitoring: SocketAddr,
    pub(crate) stop: mpsc::Sender<StopReason>,
    pub(crate) task: JoinHandle<anyhow::Result<()>>,
}

pub(crate) fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

pub(crate) fn start(api: FakeApi, change: impl FnOnce(&mut server::Settings)) -> Running {
    let (webhook, monitoring) = (free_port(), free_port());
    let mut settings = server::Settings {
        home: Home::default(),
        webhook,
        client_roots: None,
        monitoring,
        service: "istio-sidecar-injector".to_owned(),
        webhook_configuration: "istio-sidecar-injector".to_owned(),
        ca_secret: "istio-sidecar-injector-ca".to_owned(),
        serving_valid: Duration::from_hours(1),
        roll_out: Duration::from_secs(1),
        config_maps: ConfigMaps {
            mesh: "istio".to_owned(),
            values: "istio-sidecar-injector".to_owned(),
        },
        look_every: Duration::from_millis(100),
        stop_delay: Duration::from_millis(200),
    };
    change(&mut settings);
    let (stop, stopped) = mpsc::channel(1);
    let task = tokio::spawn(server::run(api.client(), settings, stopped));
    Running {
        api,
        webhook,
        monitoring,
        stop,
        task,
    }
}

impl Running {
    pub(crate) async fn get(&self, path: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(self.monitoring).await else {
            return String::new();
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(crate) async fn until(&self, path: &str, word: &str) -> String {
        let mut answer = String::new();
        for _ in 0..1000 {
            answer = self.get(path).await;
            if answer.contains(word) {
                return answer;
            }
            assert!(!self.task.is_finished(), "it ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path} never said {word}: {answer}");
    }

    pub(crate) async fn ready(&self) {
        self.until("/ready", "200 OK").await;
    }

    /// What the API server trusts now.
    pub(crate) fn bundle(&self) -> String {
        let object = self.api.object(CONFIGURATION).unwrap();
        let bundle = object["webhooks"][0]["clientConfig"]["caBundle"].clone();
        let bundle: ByteString = serde_json::from_value(bundle).unwrap();
        String::from_utf8(bundle.0).unwrap()
    }

    /// Status line and body, and the certificate it came with.
    pub(crate) async fn post(
        &self,
        content_type: &str,
        body: &[u8],
    ) -> std::io::Result<(String, Vec<u8>)> {
        let config = client_config(&self.bundle(), &[]).unwrap();
        let stream = TcpStream::connect(self.webhook).await?;
        let name = ServerName::try_from(NAME).unwrap();
        let mut stream = TlsConnector::from(config).connect(name, stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let head = format!(
            "POST /inject?timeout=10s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        // What is too large is refused before it is read.
        let written = stream.write_all(body).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        if answer.is_empty() {
            written?;
            read?;
        }
        Ok((String::from_utf8_lossy(&answer).into_owned(), certificate))
    }

    pub(crate) async fn review(&self, namespace: &str) -> Value {
        let (answer, _) = self
            .post("application/json", &review(namespace))
            .await
            .unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str::<Value>(body).unwrap()["response"].clone()
    }

    pub(crate) async fn patched(&self, namespace: &str) -> String {
        let response = self.review(namespace).await;
        assert_eq!(response["allowed"], true, "{response}");
        let patch: Option<ByteString> = serde_json::from_value(response["patch"].clone()).unwrap();
        patch
            .map(|patch| String::from_utf8(patch.0).unwrap())
            .unwrap_or_default()
    }
}

pub(crate) fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "namespace": "shop", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "web", "image": "w" }] },
        "status": { "phase": "Running" },
    })
}

pub(crate) fn review(namespace: &str) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "namespace": namespace,
            "kind": { "group": "", "version": "v1", "kind": "Pod" }, "object": pod(),
        },
    });
    serde_json::to_vec(&review).unwrap()
}
