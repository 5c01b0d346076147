//! One HTTP request for an admin page or a control endpoint, with a deadline.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);
const LARGEST_PAGE: usize = 64 * 1024 * 1024;

/// An answer read whole.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: String,
}

impl Fetched {
    /// An error with the body's start unless the status is 200.
    pub fn expect_ok(&self) -> anyhow::Result<()> {
        if self.status != 200 {
            bail!(
                "status {}: {}",
                self.status,
                self.body.chars().take(300).collect::<String>()
            );
        }
        Ok(())
    }

    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {}", self.body))
    }
}

/// GETs a page.
pub async fn fetch(address: SocketAddr, path: &str) -> anyhow::Result<Fetched> {
    let request = Request::get(path).header(header::HOST, address.to_string());
    exchange(address, request.body(Full::default())?).await
}

/// POSTs a text.
pub async fn post(address: SocketAddr, path: &str, body: &str) -> anyhow::Result<Fetched> {
    let request = Request::post(path).header(header::HOST, address.to_string());
    exchange(address, request.body(Full::from(body.to_owned()))?).await
}

/// Sends a request as it is, Host header and all.
pub async fn send(address: SocketAddr, request: Request<String>) -> anyhow::Result<Fetched> {
    exchange(address, request.map(Full::from)).await
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Fetched> {
    let whole = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its error reaches whoever waits for the answer on it.
        tokio::spawn(async move { drop(connection.await) });
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST_PAGE).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
        anyhow::Ok(Fetched {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    tokio::time::timeout(DEADLINE, whole)
        .await
        .with_context(|| format!("{address} did not answer in {DEADLINE:?}"))?
        .with_context(|| format!("no answer from {address}"))
}
