//! How a tier calls the next one: through its sidecar's outbound listener, as an
//! application would that was told to use an HTTP proxy address but knows nothing of a mesh.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header, request::Parts,
};
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long the next tier may take before the caller gives up.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// Connections kept for the next call.
const IDLE_CONNECTIONS: usize = 64;

type Sender = http1::SendRequest<Empty<Bytes>>;

/// The next tier and the connections to it.
#[derive(Debug)]
pub(crate) struct NextTier {
    /// What goes into the Host header: the name the mesh routes by.
    authority: String,
    host: HeaderValue,
    /// Where the connection really goes.
    connect_to: String,
    idle: Mutex<Vec<Sender>>,
}

/// What the next tier said.
#[derive(Debug)]
pub(crate) struct NextAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl NextTier {
    pub(crate) fn new(url: &str, proxy: Option<&str>) -> anyhow::Result<Self> {
        let authority = authority_of(url)?;
        let connect_to = match proxy {
            Some(proxy) => authority_of(proxy)?,
            None if authority.contains(':') => authority.clone(),
            None => format!("{authority}:80"),
        };
        let host = HeaderValue::from_str(&authority)
            .with_context(|| format!("{authority:?} cannot be a Host header"))?;
        Ok(Self {
            authority,
            host,
            connect_to,
            idle: Mutex::default(),
        })
    }

    /// Calls the next tier with the same method and path, no body, and the headers that
    /// belong to the whole chain.
    pub(crate) async fn call(&self, received: &Parts) -> Result<NextAnswer, String> {
        let call = self.exchange(received);
        match tokio::time::timeout(CALL_DEADLINE, call).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(format!(
                "{}: no answer in {CALL_DEADLINE:?}",
                self.authority
            )),
        }
    }

    async fn exchange(&self, received: &Parts) -> Result<NextAnswer, String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            format!(
                "{} by way of {}: {what}: {error}",
                self.authority, self.connect_to
            )
        };
        let mut request = self.request(received)?;
        let (mut sender, response) = loop {
            let (mut sender, reused) = match self.take_idle() {
                Some(sender) => (sender, true),
                None => (
                    self.connect().await.map_err(|e| failed("connect", &e))?,
                    false,
                ),
            };
            if sender.ready().await.is_err() && reused {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => break (sender, response),
                // Not a retry: the connection had ended and hyper says that nothing was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(failed("send", error.error())),
                },
            }
        };
        let (parts, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|e| failed("read", &e))?
            .to_bytes();
        if sender.ready().await.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_CONNECTIONS {
                idle.push(sender);
            }
        }
        Ok(NextAnswer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    fn request(&self, received: &Parts) -> Result<Request<Empty<Bytes>>, String> {
        let mut request = Request::new(Empty::new());
        let path = received
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str());
        *request.uri_mut() = path
            .parse::<Uri>()
            .map_err(|error| format!("{path:?}: {error}"))?;
        *request.method_mut() = received.method.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        for (name, value) in received
            .headers
            .iter()
            .filter(|(name, _)| belongs_to_chain(name))
        {
            headers.append(name.clone(), value.clone());
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<Sender, std::io::Error> {
        let stream = TcpStream::connect(&self.connect_to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the next tier ended");
            }
        });
        Ok(sender)
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }
}

/// Which request headers an application has to pass on for traces and routing to work
/// across tiers.
fn belongs_to_chain(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "x-request-id" | "traceparent" | "tracestate" | "b3" | "x-user"
    ) || name.starts_with("x-b3-")
        || name.starts_with("x-shop-")
        || (name.starts_with("x-") && name.ends_with("-user"))
}

fn authority_of(url: &str) -> anyhow::Result<String> {
    let uri: Uri = url
        .parse()
        .with_context(|| format!("{url:?} is not a URL"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) => Ok(authority.as_str().to_owned()),
        _ => anyhow::bail!("{url:?} is not of the form http://host:port"),
    }
}
