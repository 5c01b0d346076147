//! HTTP servers and clients for tests of the request path.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "every test binary has its own copy and uses a part of it"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub fn body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A server that answers HTTP, and how many requests and connections it got.
pub struct Upstream {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Answers both HTTP versions with `answer`; it is given the number of the request, from 1.
    pub async fn serve<F, R>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>, usize) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (requests, connections) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (requested, connected) = (Arc::clone(&requests), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                connected.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let (answer, requested) = (answer.clone(), Arc::clone(&requested));
                tokio::spawn(async move {
                    let mut first = [0; 3];
                    let is_h2 = loop {
                        match stream.peek(&mut first).await {
                            Ok(3) => break &first == b"PRI",
                            Ok(0) | Err(_) => return,
                            Ok(_) => tokio::task::yield_now().await,
                        }
                    };
                    let service = service_fn(move |request| {
                        let number = requested.fetch_add(1, Ordering::SeqCst) + 1;
                        let answer = answer(request, number);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let io = TokioIo::new(stream);
                    if is_h2 {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(server.serve_connection(io, service).await);
                    } else {
                        let server = hyper::server::conn::http1::Builder::new();
                        drop(server.serve_connection(io, service).with_upgrades().await);
                    }
                });
            }
        });
        Self {
            address,
            requests,
            connections,
        }
    }

    /// Answers with its name, and tells in headers what it received.
    pub async fn named(name: &'static str) -> Self {
        Self::serve(move |request, _| async move {
            let mut response = Response::new(body(name));
            let version = format!("{:?}", request.version());
            let headers = response.headers_mut();
            headers.insert("saw-method", request.method().as_str().parse().unwrap());
            let target = request
                .uri()
                .path_and_query()
                .unwrap()
                .as_str()
                .parse()
                .unwrap();
            headers.insert("saw-target", target);
            headers.insert("saw-version", version.parse().unwrap());
            let host = request.headers().get("host").cloned();
            let authority = request
                .uri()
                .authority()
                .map(|name| name.as_str().parse().unwrap());
            headers.insert("saw-host", host.or(authority).unwrap());
            for (name, value) in request.headers() {
                headers.append(
                    http::HeaderName::from_bytes(format!("saw-{name}").as_bytes()).unwrap(),
                    value.clone(),
                );
            }
            let received = request
                .into_body()
                .collect()
                .await
                .map(|all| all.to_bytes().len());
            let received = received.map_or("broken".to_owned(), |length| length.to_string());
            response
                .headers_mut()
                .insert("saw-length", received.parse().unwrap());
            response
        })
        .await
    }

    /// Always answers with a status.
    pub async fn status(status: u16) -> Self {
        Self::serve(move |_, _| async move { plain(status, "") }).await
    }
}

pub fn plain(status: u16, text: &'static str) -> Response<Body> {
    let mut response = Response::new(body(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// An answer as a client sees it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Result<String, String>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        self.body.as_deref().unwrap()
    }
}

/// A client connection that can be used again and again.
pub enum Client {
    Http1(hyper::client::conn::http1::SendRequest<Body>),
    Http2(hyper::client::conn::http2::SendRequest<Body>),
}

impl Client {
    pub async fn http1(address: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self::Http1(sender)
    }

    pub async fn http2(address: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let executor = TokioExecutor::new();
        let (sender, connection) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    pub async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Answer> {
        let response = self.open(request).await?;
        Ok(read(response).await)
    }

    /// The head of the answer; the body is still to come.
    pub async fn open(&mut self, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                let host = request.headers_mut().remove("host").unwrap();
                let path = request.uri().path_and_query().cloned().unwrap();
                let uri = http::Uri::builder()
                    .scheme("http")
                    .authority(host.as_bytes());
                *request.uri_mut() = uri.path_and_query(path).build().unwrap();
                sender.send_request(request).await
            }
        }
    }

    pub async fn send(&mut self, request: Request<Body>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.send(get(host, path)).await
    }
}

pub async fn read(response: Response<Incoming>) -> Answer {
    let (parts, incoming) = response.into_parts();
    let (body, trailers) = match incoming.collect().await {
        Ok(all) => {
            let trailers = all.trailers().cloned();
            (
                Ok(String::from_utf8(all.to_bytes().to_vec()).unwrap()),
                trailers,
            )
        }
        Err(error) => (Err(error.to_string()), None),
    };
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        trailers,
    }
}

pub fn request(method: &str, host: &str, path: &str, content: impl Into<Bytes>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(body(content))
        .unwrap()
}

pub fn get(host: &str, path: &str) -> Request<Body> {
    request("GET", host, path, "")
}

/// One GET over a connection of its own.
pub async fn fetch(address: SocketAddr, host: &str, path: &str) -> Answer {
    Client::http1(address).await.get(host, path).await
}

/// Sends bytes and reads until the server closes or `quiet` passes.
pub async fn raw(address: SocketAddr, bytes: &[u8], quiet: Duration) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count)) = tokio::time::timeout(quiet, stream.read(&mut buffer)).await {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
