//! Both ends of a proxy, as strict as they can be in either version of HTTP.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http_support::{self, Body, Client, Upstream, body};
use crate::rules::{Asked, Content};
use crate::strict::{self, Log, Seen};

/// The header by which a request is known again.
const NUMBER: &str = "x-number";
const HELLO: &str = "hello";
/// The connection ended without a word.
const GONE: &str = "closed without an answer";

/// The number of a request, and what it brought or what was wrong with it.
type Received = (usize, Result<Vec<u8>, String>);

/// A backend that speaks one version, and writes down what it gets.
pub struct Backend {
    pub address: SocketAddr,
    http1: Option<Log>,
    http2: Arc<Mutex<Vec<Received>>>,
    _server: Option<Upstream>,
}

impl Backend {
    pub async fn start(http2: bool) -> Self {
        let seen = Arc::<Mutex<Vec<_>>>::default();
        if !http2 {
            let (address, log) = strict::backend(answer).await;
            return Self {
                address,
                http1: Some(log),
                http2: seen,
                _server: None,
            };
        }
        let log = Arc::clone(&seen);
        let server = Upstream::serve(move |request, _| {
            let log = Arc::clone(&log);
            async move {
                let number = request
                    .headers()
                    .get(NUMBER)
                    .and_then(|value| value.to_str().ok());
                let number = number
                    .and_then(|text| text.parse().ok())
                    .unwrap_or_default();
                let (method, kind) = (request.method().clone(), kind(request.uri().path()));
                let declared = request.headers().get("content-length").cloned();
                let received = request.into_body().collect().await;
                let content = match received {
                    Ok(all) => {
                        let content = all.to_bytes().to_vec();
                        let length = content.len().to_string();
                        match declared {
                            Some(declared) if declared != *length => {
                                Err(format!("{declared:?} for {length} bytes"))
                            }
                            Some(_) | None => Ok(content),
                        }
                    }
                    Err(error) => Err(error.to_string()),
                };
                log.lock().push((number, content));
                response(method == http::Method::HEAD, kind)
            }
        })
        .await;
        Self {
            address: server.address,
            http1: None,
            http2: seen,
            _server: Some(server),
        }
    }

    /// What the request with this number brought, each time it came.
    pub fn contents(&self, number: usize) -> Vec<Vec<u8>> {
        let text = number.to_string();
        match &self.http1 {
            Some(log) => log
                .requests()
                .into_iter()
                .filter(|seen| seen.header(NUMBER) == Some(&text))
                .map(|seen| seen.body)
                .collect(),
            None => self
                .http2
                .lock()
                .iter()
                .filter(|(one, _)| *one == number)
                .filter_map(|(_, content)| content.clone().ok())
                .collect(),
        }
    }

    pub fn violations(&self) -> Vec<String> {
        if let Some(log) = &self.http1 {
            return log.violations();
        }
        let seen = self.http2.lock();
        let wrong = seen.iter().filter_map(|(_, content)| content.clone().err());
        wrong.collect()
    }
}

/// The digit in a path, which chooses the answer.
fn kind(path: &str) -> u8 {
    let digit = path.bytes().find(u8::is_ascii_digit);
    digit.map_or(0, |digit| digit - b'0')
}

/// Every way in which HTTP/1.1 says where a response ends.
fn answer(request: &Seen) -> (Vec<u8>, bool) {
    let head = request.method() == "HEAD";
    let (lines, content, last) = match kind(request.target()) {
        1 => (
            "200 OK\r\ntransfer-encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
            false,
        ),
        2 => ("200 OK", HELLO, true),
        3 => ("204 No Content", "", false),
        4 => ("304 Not Modified\r\ncontent-length: 5", "", false),
        5 => (
            "200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
            false,
        ),
        6 => ("200 OK\r\ncontent-length: 0", "", false),
        7 => (
            "500 Internal Server Error\r\ncontent-length: 05",
            HELLO,
            false,
        ),
        8 => (
            "200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum",
            "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
            false,
        ),
        9 => (
            "503 Service Unavailable\r\ncontent-length: 5\r\ncontent-length: 5",
            HELLO,
            false,
        ),
        _ => ("200 OK\r\ncontent-length: 5", HELLO, false),
    };
    let content = if head { "" } else { content };
    (
        format!("HTTP/1.1 {lines}\r\n\r\n{content}").into_bytes(),
        last,
    )
}

/// Every way in which HTTP/2 does.
fn response(head: bool, kind: u8) -> Response<Body> {
    let frames = |trailers: bool| -> Body {
        let mut frames = vec![Ok(Frame::data(Bytes::from(HELLO)))];
        if trailers {
            let mut fields = HeaderMap::new();
            fields.insert("x-sum", HeaderValue::from_static("1"));
            frames.push(Ok(Frame::trailers(fields)));
        }
        StreamBody::new(futures_util::stream::iter(frames)).boxed()
    };
    let (status, content) = match kind {
        _ if head => (200, body("")),
        1 | 2 => (200, frames(false)),
        3 => (204, body("")),
        4 => (304, body("")),
        6 => (200, body("")),
        7 => (500, body(HELLO)),
        8 => (200, frames(true)),
        9 => (503, body(HELLO)),
        _ => (200, body(HELLO)),
    };
    let mut response = Response::new(content);
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    if head || kind == 4 {
        let length = HeaderValue::from_static("5");
        response.headers_mut().insert("content-length", length);
    }
    response
}

/// A client that takes nothing for granted.
pub enum Caller {
    Http1(SocketAddr, Option<TcpStream>),
    Http2(Client),
}

impl Caller {
    pub async fn new(http2: bool, address: SocketAddr) -> Self {
        if http2 {
            Self::Http2(Client::http2(address).await)
        } else {
            Self::Http1(address, None)
        }
    }

    /// Sends a request and reads its response to the end.
    pub async fn call(&mut self, asked: &Asked) -> Result<(), String> {
        match self {
            Self::Http1(address, kept) => {
                let reused = kept.take();
                let may_be_gone = reused.is_some();
                let mut stream = match reused {
                    Some(stream) => stream,
                    None => TcpStream::connect(*address).await.unwrap(),
                };
                let mut called = http1(&mut stream, asked).await;
                if may_be_gone && called == Err(GONE.to_owned()) {
                    // Closed after an answer that did not wait for the whole request before.
                    stream = TcpStream::connect(*address).await.unwrap();
                    called = http1(&mut stream, asked).await;
                }
                if called? {
                    *kept = Some(stream);
                }
                Ok(())
            }
            Self::Http2(client) => {
                let answer = client
                    .try_send(http2(asked))
                    .await
                    .map_err(|error| error.to_string())?;
                let content = answer.body.map_err(|error| format!("content: {error}"))?;
                let bodyless = asked.method == "HEAD" || matches!(answer.status, 204 | 304);
                if bodyless && !content.is_empty() {
                    return Err(format!("{} with content {content:?}", answer.status));
                }
                let declared = answer.headers.get("content-length");
                if !bodyless && declared.is_some_and(|length| *length != *content.len().to_string())
                {
                    return Err(format!("{declared:?} for {} bytes", content.len()));
                }
                Ok(())
            }
        }
    }
}

/// Whether the connection may be used again.
async fn http1(stream: &mut TcpStream, asked: &Asked) -> Result<bool, String> {
    let Asked {
        number,
        method,
        path,
        content,
    } = asked;
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nhost: shop.test\r\n{NUMBER}: {number}\r\n");
    let text = String::from_utf8(content.bytes()).unwrap();
    let rest = match content {
        Content::None => "\r\n".to_owned(),
        Content::Empty => "content-length: 0\r\n\r\n".to_owned(),
        Content::Sized(length) => format!("content-length: {length}\r\n\r\n{text}"),
        Content::Unsized(0) => "transfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        Content::Unsized(length) => {
            format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{text}\r\n0\r\n\r\n")
        }
    };
    bytes.push_str(&rest);
    // An answer that does not wait for the whole request may end the connection while it is sent.
    let _sent = stream.write_all(bytes.as_bytes()).await.is_ok();
    let mut received = Vec::new();
    let mut buffer = [0; 8192];
    let mut closed = false;
    loop {
        if let Some((seen, length)) = strict::response(&received, method, closed)? {
            if length != received.len() {
                let rest = String::from_utf8_lossy(&received[length..]).into_owned();
                return Err(format!("{seen:?} and then {rest:?}"));
            }
            return Ok(!closed && seen.header("connection") != Some("close"));
        }
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let text = || String::from_utf8_lossy(&received).into_owned();
        match read {
            Ok(Ok(0) | Err(_)) if received.is_empty() => return Err(GONE.to_owned()),
            Ok(Ok(0) | Err(_)) if closed => return Err(format!("ends early: {:?}", text())),
            Ok(Ok(0) | Err(_)) => closed = true,
            Ok(Ok(count)) => received.extend_from_slice(&buffer[..count]),
            Err(_late) => return Err(format!("no end: {:?}", text())),
        }
    }
}

fn http2(asked: &Asked) -> Request<Body> {
    let content = Bytes::from(asked.content.bytes());
    let mut request = http_support::request(asked.method, "shop.test", &asked.path, "");
    let number = HeaderValue::from(asked.number);
    request.headers_mut().insert(NUMBER, number);
    *request.body_mut() = match asked.content {
        Content::None => return request,
        Content::Empty => {
            let none = HeaderValue::from_static("0");
            request.headers_mut().insert("content-length", none);
            return request;
        }
        Content::Sized(_) => body(content),
        Content::Unsized(_) => {
            let frame: Result<_, Box<dyn std::error::Error + Send + Sync>> =
                Ok(Frame::data(content));
            StreamBody::new(futures_util::stream::iter([frame])).boxed()
        }
    };
    request
}
