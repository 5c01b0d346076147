//! A cluster for a control plane alone: an API server in memory behind a real socket, pods, services
//! with routes, and tokens of which it knows whose they are.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_kubernetes::testing::{FakeApi, Seen};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// What a proxy's token is for.
const AUDIENCE: &str = "istio-ca";
/// Beyond any run.
const NEVER: u64 = 4_000_000_000;

/// Pods by their token: namespace, name and UID.
type Tokens = Arc<Mutex<HashMap<String, (String, String, String)>>>;

/// The cluster; ends with this value.
#[derive(Debug)]
pub(super) struct Cluster {
    api: FakeApi,
    address: SocketAddr,
    tokens: Tokens,
    serving: AbortHandle,
}

impl Cluster {
    /// One with namespaces, `services` services with a route each, and the one that changes.
    pub(super) async fn start(services: usize) -> anyhow::Result<Self> {
        let api = FakeApi::new();
        let tokens = Tokens::default();
        let known = Arc::clone(&tokens);
        api.intercept(move |seen| review(&known, seen));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let cluster = Self {
            address: listener.local_addr()?,
            serving: tokio::spawn(serve(listener, api.clone())).abort_handle(),
            api,
            tokens,
        };
        for namespace in ["istio-system", "shop", "evil"] {
            let place = format!("/api/v1/namespaces/{namespace}");
            let object = json!({"apiVersion": "v1", "kind": "Namespace"});
            cluster.api.put(&place, object);
        }
        // What the manifests of an installation have, for the control plane to fill in.
        for (place, kind) in [
            ("secrets/istio-ca-secret", "Secret"),
            ("configmaps/istio-kept-configuration", "ConfigMap"),
        ] {
            let place = format!("/api/v1/namespaces/istio-system/{place}");
            let object = json!({"apiVersion": "v1", "kind": kind});
            cluster.api.put(&place, object);
        }
        cluster.service("plane", Ipv4Addr::new(10, 96, 0, 1));
        cluster.change(0);
        for number in 0..services {
            let name = format!("service-{number}");
            let [high, low] = u16::try_from(number)?.to_be_bytes();
            cluster.service(&name, Ipv4Addr::new(10, 97, high, low));
            cluster.route("shop", &name, &json!([
                {"match": [{"uri": {"prefix": "/v2/"}}, {"headers": {"x-user": {"regex": "test-.*"}}}],
                 "route": [{"destination": {"host": name}}], "timeout": "5s"},
                {"route": [{"destination": {"host": name}}]},
            ]));
        }
        Ok(cluster)
    }

    /// How a client reaches it, as a file.
    pub(super) fn write_kubeconfig(&self, file: &Path) -> anyhow::Result<()> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "soak",
            "clusters": [{"name": "soak", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "soak", "context": {"cluster": "soak", "user": "soak"}}],
            "users": [{"name": "soak", "user": {}}],
        });
        std::fs::write(file, config.to_string()).context("the kubeconfig")
    }

    /// Makes a pod, and the token its proxy shows.
    pub(super) fn pod(&self, namespace: &str, name: &str, address: Ipv4Addr) -> String {
        let uid = format!("uid-of-{name}");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"uid": uid, "labels": {"app": name}},
            "spec": {"serviceAccountName": "default", "containers": [{"name": "app"}]},
            "status": {
                "podIP": address, "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        let place = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        self.api.put(&place, pod);
        let token = token(namespace, name, AUDIENCE, NEVER);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let whose = (namespace.to_owned(), name.to_owned(), uid);
        tokens.insert(token.clone(), whose);
        token
    }

    fn service(&self, name: &str, address: Ipv4Addr) {
        let place = format!("/api/v1/namespaces/shop/services/{name}");
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": name},
                     "clusterIP": address},
        });
        self.api.put(&place, service);
    }

    /// Makes or changes the virtual service of this name, for the host of this name.
    pub(super) fn route(&self, namespace: &str, name: &str, http: &Value) {
        let place =
            format!("/apis/networking.istio.io/v1/namespaces/{namespace}/virtualservices/{name}");
        self.api.put(&place, route(name, http));
    }

    /// Changes the route every lawful proxy waits for.
    pub(super) fn change(&self, number: u64) {
        let change = marker(number);
        self.route(
            "shop",
            "plane",
            &json!([{
                "headers": {"response": {"set": {"x-change": change}}},
                "route": [{"destination": {"host": "plane"}}],
            }]),
        );
    }

    /// The root that the control plane publishes, once it does.
    pub(super) fn root(&self) -> Option<String> {
        let place = "/api/v1/namespaces/shop/configmaps/istio-ca-root-cert";
        let published = self.api.object(place)?;
        let root = published.get("data")?.get("root-cert.pem")?;
        root.as_str().map(str::to_owned)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A virtual service as it is stored.
pub(super) fn route(name: &str, http: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"hosts": [format!("{name}.shop.svc.cluster.local")], "http": http},
    })
}

/// How a change is found in what a proxy is sent.
pub(super) const MARKER: &str = "plane-change-";

fn marker(number: u64) -> String {
    format!("{MARKER}{number:08}")
}

async fn serve(listener: TcpListener, api: FakeApi) {
    while let Ok((stream, _peer)) = listener.accept().await {
        let api = api.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let api = api.clone();
                async move { Ok::<_, Infallible>(api.respond(request).await) }
            });
            // A client that leaves takes its watches with it.
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

/// Answers questions about tokens.
fn review(tokens: &Tokens, seen: &Seen) -> Option<(u16, Value)> {
    if !seen.path.ends_with("/tokenreviews") {
        return None;
    }
    let token = seen.body.get("spec")?.get("token")?.as_str()?;
    let tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
    let status = match tokens.get(token) {
        Some((namespace, pod, uid)) => json!({
            "authenticated": true, "audiences": [AUDIENCE],
            "user": {
                "username": format!("system:serviceaccount:{namespace}:default"),
                "extra": {
                    "authentication.kubernetes.io/pod-name": [pod],
                    "authentication.kubernetes.io/pod-uid": [uid],
                },
            },
        }),
        None => json!({"authenticated": false, "error": "invalid bearer token"}),
    };
    let mut answer = seen.body.clone();
    answer.as_object_mut()?.insert("status".to_owned(), status);
    Some((201, answer))
}

/// A token that says of itself what one of a pod says.
pub(super) fn token(namespace: &str, pod: &str, audience: &str, expires: u64) -> String {
    let payload = json!({
        "aud": [audience], "exp": expires, "iss": "https://kubernetes.default.svc",
        "sub": format!("system:serviceaccount:{namespace}:default"),
        "kubernetes.io": {"namespace": namespace, "pod": {"name": pod, "uid": format!("uid-of-{pod}")}},
    });
    let header = json!({"alg": "RS256", "kid": "soak"});
    let [header, payload] = [header, payload].map(|part| base64url(part.to_string().as_bytes()));
    format!("{header}.{payload}.c2ln")
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    let digit = |six: u32| match u8::try_from(six & 63).unwrap_or(0) {
        small @ 0..26 => char::from(b'A' + small),
        small @ 26..52 => char::from(b'a' + small - 26),
        small @ 52..62 => char::from(b'0' + small - 52),
        62 => '-',
        _ => '_',
    };
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut all = [0; 4];
        for (place, byte) in all.iter_mut().skip(1).zip(three) {
            *place = *byte;
        }
        let bits = u32::from_be_bytes(all);
        let digits = [18, 12, 6, 0].into_iter().take(three.len() + 1);
        text.extend(digits.map(|shift| digit(bits >> shift)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_in_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }
}
