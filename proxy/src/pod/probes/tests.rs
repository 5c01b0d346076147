//! What the injector hands on is read or refused by name; applications are asked as the kubelet
//! would.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;

use super::*;

const REACH: Reach = Reach {
    address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    source: Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6))),
};

fn one(probe: &str) -> Result<Probe, String> {
    let text = format!(r#"{{"/app-health/web/readyz": {probe}}}"#);
    let probes = AppProbes::parse(&text)?;
    Ok(probes.find("/app-health/web/readyz").unwrap().clone())
}

async fn ask(probe: &str) -> Verdict {
    let mut asked = HeaderMap::new();
    asked.insert("user-agent", HeaderValue::from_static("kube-probe/1.33"));
    one(probe).unwrap().ask(REACH, &asked).await
}

#[test]
fn mistakes_name_the_probe_and_the_field() {
    for (text, expected) in [
        ("[]", "not as expected"),
        (r#"{"/healthz": {}}"#, "/healthz: expected /app-health/"),
        (
            r#"{"/app-health/web/livez": {}}"#,
            "/app-health/web/livez: expected one of httpGet",
        ),
        (
            r#"{"/app-health/web/livez": {"httpGet":{"port":"http"}}}"#,
            "port http",
        ),
        (
            r#"{"/app-health/web/livez": {"tcpSocket":{"port":0}}}"#,
            "port 0",
        ),
        (
            r#"{"/app-health/web/livez": {"httpGet":{"port":1,"scheme":"FTP"}}}"#,
            "scheme \"FTP\"",
        ),
        (
            r#"{"/app-health/web/livez": {"httpGet":{"port":1,"httpHeaders":[{"name":"a b","value":""}]}}}"#,
            "httpHeaders \"a b\"",
        ),
        (
            r#"{"/app-health/web/livez": {"httpGet":{"port":1,"path":"/ x"}}}"#,
            "path \"/ x\"",
        ),
    ] {
        let error = AppProbes::parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let probe = one(r#"{"httpGet":{"port":"8080"},"periodSeconds":3,"timeoutSeconds":7}"#).unwrap();
    assert_eq!(probe.patience, Duration::from_secs(7));
}

/// An application over HTTP/1: what it answers depends on the path.
async fn application() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let service = service_fn(
                move |request: ::http::Request<hyper::body::Incoming>| async move {
                    let answer = ::http::Response::builder();
                    let header = |name| {
                        request
                            .headers()
                            .get(name)
                            .map_or("-", |value| value.to_str().unwrap())
                    };
                    let answer = match request.uri().path() {
                        "/well" => answer.status(204),
                        "/ill" => answer.status(418),
                        "/moved" => answer.status(302).header("location", "/well"),
                        "/circle" => answer.status(302).header("location", "/circle"),
                        "/away" => answer.status(302).header("location", "http://203.0.113.1/"),
                        "/named" if header("host") == "shop.example" => answer.status(200),
                        "/key" if header("x-key") == "k" => answer.status(200),
                        "/kubelet" if header("user-agent") == "kube-probe/1.33" => {
                            answer.status(200)
                        }
                        "/source" if peer.ip().to_string() == "127.0.0.6" => answer.status(200),
                        "/slow" => {
                            tokio::time::sleep(Duration::from_secs(30)).await;
                            answer.status(200)
                        }
                        _ => answer.status(500),
                    };
                    answer.body(Full::new(Bytes::from_static(b"tea\n")))
                },
            );
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    port
}

#[tokio::test]
async fn http_probes_succeed_as_the_kubelets_do() {
    let port = application().await;
    let get = |rest: &str| format!(r#"{{"httpGet":{{"port":{port},{rest}}}}}"#);
    for (what, status) in [
        (r#""path":"/well""#, 200),
        (r#""path":"/ill""#, 418),
        (r#""path":"/moved""#, 200),
        (r#""path":"/circle""#, 503),
        (r#""path":"/away""#, 200),
        (r#""path":"/named""#, 500),
        (
            r#""path":"/named","httpHeaders":[{"name":"Host","value":"shop.example"}]"#,
            200,
        ),
        (
            r#""path":"/key","httpHeaders":[{"name":"X-Key","value":"k"}]"#,
            200,
        ),
        (r#""path":"/kubelet""#, 200),
        (r#""path":"/source""#, 200),
        (r#""path":"/slow""#, 503),
    ] {
        let verdict = ask(&get(what)).await;
        assert_eq!(verdict.status.as_u16(), status, "{what}: {verdict:?}");
    }
    let says = ask(&get(r#""path":"/ill""#)).await.says;
    assert!(says.contains("418") && says.contains("tea"), "{says}");
}

#[tokio::test]
async fn a_closed_port_is_ill_and_an_open_one_well() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = format!(r#"{{"tcpSocket":{{"port":{port}}}}}"#);
    assert_eq!(ask(&tcp).await.status, StatusCode::OK);
    drop(listener);
    for probe in [
        tcp,
        format!(r#"{{"httpGet":{{"port":{port}}}}}"#),
        format!(r#"{{"grpc":{{"port":{port}}}}}"#),
    ] {
        let verdict = ask(&probe).await;
        assert_eq!(verdict.status, StatusCode::SERVICE_UNAVAILABLE, "{probe}");
        assert!(verdict.says.contains("refused"), "{}", verdict.says);
    }
}

#[tokio::test]
async fn the_certificate_of_an_https_probe_does_not_matter() {
    let issued = rcgen::generate_simple_self_signed(["somebody.else".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let service = service_fn(|_request| async {
                ::http::Response::builder().body(Full::new(Bytes::from_static(b"ok")))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let secure = format!(r#"{{"httpGet":{{"port":{port},"scheme":"HTTPS"}},"timeoutSeconds":5}}"#);
    assert_eq!(ask(&secure).await, Verdict::good("200 OK"));
    let plain = format!(r#"{{"httpGet":{{"port":{port}}},"timeoutSeconds":5}}"#);
    assert_eq!(ask(&plain).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// A gRPC health service that knows "up", "down" and no other.
async fn health() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(
                |request: ::http::Request<hyper::body::Incoming>| async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let asked = String::from_utf8_lossy(&body[5..]).into_owned();
                    let (message, status): (&[u8], _) = if asked.ends_with("up") {
                        (b"\0\0\0\0\x02\x08\x01", "0")
                    } else if asked.ends_with("down") {
                        (b"\0\0\0\0\x02\x08\x02", "0")
                    } else {
                        (b"", "5")
                    };
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static(status));
                    let frames = [
                        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(message))),
                        Ok(Frame::trailers(trailers)),
                    ];
                    ::http::Response::builder()
                        .header("content-type", "application/grpc")
                        .body(StreamBody::new(tokio_stream::iter(frames)))
                },
            );
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    port
}

#[tokio::test]
async fn grpc_health_is_what_the_service_says() {
    let port = health().await;
    for (service, status, says) in [
        ("up", 200, "SERVING"),
        ("down", 503, "not serving (2)"),
        ("other", 503, "knows no service \"other\""),
    ] {
        let probe = format!(r#"{{"grpc":{{"port":{port},"service":"{service}"}}}}"#);
        let verdict = ask(&probe).await;
        assert_eq!(verdict.status.as_u16(), status, "{service}: {verdict:?}");
        assert!(verdict.says.contains(says), "{verdict:?}");
    }
    let other = application().await;
    let verdict = ask(&format!(r#"{{"grpc":{{"port":{other}}}}}"#)).await;
    assert_eq!(verdict.status, StatusCode::SERVICE_UNAVAILABLE);
}
