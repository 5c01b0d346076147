//! The application's own metrics, joined to the proxy's on one page, so that Prometheus needs
//! one address per pod and the annotations people already have keep working.
//!
//! A scrape never fails because the application's metrics do: what is missing is counted in
//! `istio_agent_scrape_failures_total`.

mod page;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use mesh_api::reserved::is_proxy_port;
use serde::Deserialize;
use serde_json::Value;

use super::client::{self, CallError};
use super::{Reach, as_text};
use crate::net::dial::dial;

pub(crate) use page::merge;

/// More than this is not taken over.
const MOST: usize = 10 << 20;
/// What Prometheus waits by default.
const PATIENCE: Duration = Duration::from_secs(10);
/// Kept from the scraper's patience for ourselves.
const MARGIN: Duration = Duration::from_millis(500);
const SHORTEST: Duration = Duration::from_millis(500);
const CONNECT: Duration = Duration::from_secs(1);
const TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// What the scraper says that concerns the application.
const PASSED_ON: [HeaderName; 3] = [header::ACCEPT, header::USER_AGENT, TIMEOUT];

/// Where the application's metrics are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppMetrics(Vec<Target>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    port: u16,
    path: String,
}

/// What an application said.
#[derive(Clone, Debug)]
pub(crate) struct Scraped {
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: String,
}

/// The annotations as the injector hands them on.
#[derive(Deserialize)]
struct Annotations {
    scrape: Option<Value>,
    path: Option<String>,
    port: Option<Value>,
    #[serde(default)]
    targets: Vec<TargetText>,
}

#[derive(Deserialize)]
struct TargetText {
    path: Option<String>,
    port: Option<Value>,
}

impl AppMetrics {
    /// Reads what the injector hands on; says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let annotations: Annotations =
            serde_json::from_str(text).map_err(|error| format!("not as expected: {error}"))?;
        let scrape = annotations.scrape.as_ref().map(as_text);
        match scrape.as_deref() {
            Some("true") | None => {}
            Some("false") => return Ok(Self::default()),
            Some(other) => return Err(format!("scrape: expected true or false, not {other:?}")),
        }
        let mut wanted = annotations.targets;
        if wanted.is_empty() {
            wanted.push(TargetText {
                path: annotations.path,
                port: annotations.port,
            });
        }
        let targets: Result<Vec<Target>, String> = wanted.into_iter().map(Target::read).collect();
        Ok(Self(targets?))
    }

    /// Whether the application has metrics of its own.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks for all of them; what does not come is counted and left out.
    pub(crate) async fn fetch(&self, reach: Reach, asked: &HeaderMap) -> Vec<Scraped> {
        let patience = patience(asked);
        let fetches = self.0.iter().map(|target| async move {
            ::metrics::counter!("istio_agent_scrapes_total").increment(1);
            let fetched = tokio::time::timeout(patience, target.fetch(reach, asked)).await;
            let why = match fetched {
                Ok(Ok(scraped)) => return Some(scraped),
                Ok(Err(error)) => error,
                Err(_elapsed) => format!("no answer within {patience:?}"),
            };
            ::metrics::counter!("istio_agent_scrape_failures_total", "type" => "application")
                .increment(1);
            tracing::debug!(
                port = target.port,
                path = target.path,
                "application metrics: {why}"
            );
            None
        });
        join_all(fetches).await.into_iter().flatten().collect()
    }
}

impl Target {
    fn read(text: TargetText) -> Result<Self, String> {
        let port = text.port.map_or(Ok(80), |value| number(&as_text(&value)))?;
        if is_proxy_port(port) {
            return Err(format!(
                "port {port}: that is the proxy's own; name the application's"
            ));
        }
        let path = text.path.filter(|path| !path.is_empty());
        let path = path.unwrap_or_else(|| "/metrics".to_owned());
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        if path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(format!("path {path:?}: expected a path such as /metrics"));
        }
        Ok(Self { port, path })
    }

    async fn fetch(&self, reach: Reach, asked: &HeaderMap) -> Result<Scraped, String> {
        let at = SocketAddr::new(reach.address, self.port);
        let mut stream = dial(at, reach.source, CONNECT).await;
        if stream.is_err() {
            // Metrics are often kept to the pod itself.
            let loopback = match reach.address {
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            stream = dial(SocketAddr::new(loopback, self.port), None, CONNECT).await;
        }
        let stream = stream.map_err(|error| CallError::Connect(error).to_string())?;
        let mut request = Request::get(&self.path)
            .header(header::HOST, at.to_string())
            .header(header::CONNECTION, "close");
        for name in PASSED_ON {
            if let Some(value) = asked.get(&name) {
                request = request.header(name, value);
            }
        }
        let request = request
            .body(Full::<Bytes>::default())
            .map_err(|error| CallError::from(error).to_string())?;
        let answer = client::http1(stream, request, MOST)
            .await
            .map_err(|error| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("status {}", answer.status));
        }
        if !answer.complete {
            return Err(format!("more than {MOST} bytes"));
        }
        if answer.headers.contains_key(header::CONTENT_ENCODING) {
            return Err("compressed, though nobody asked for that".to_owned());
        }
        let body =
            String::from_utf8(answer.body.into()).map_err(|error| format!("not text: {error}"))?;
        let content_type = answer.headers.get(header::CONTENT_TYPE).cloned();
        Ok(Scraped { content_type, body })
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("port {text:?}: expected a number from 1 to 65535"))
}

/// How long the application may take, given how long the scraper waits.
fn patience(asked: &HeaderMap) -> Duration {
    asked
        .get(TIMEOUT)
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(PATIENCE)
        .min(Duration::from_mins(5))
        .saturating_sub(MARGIN)
        .max(SHORTEST)
}

#[cfg(test)]
mod tests;
