//! The application's probes, asked on the kubelet's behalf.
//!
//! The kubelet's connections would be redirected to the proxy like everybody's, so the injector
//! points its probes here and hands the real ones to the proxy. They are asked as the kubelet
//! would ask them: at the pod's address, with its notion of success.

mod grpc;
mod http;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mesh_runtime::admin::AdminResponse;
use serde::Deserialize;
use serde_json::Value;

use super::{Reach, as_text};
use crate::net::dial::dial;

/// What the kubelet waits if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(1);

/// Probes by the path they are asked for at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppProbes(BTreeMap<String, Probe>);

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    what: What,
    patience: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Http(HttpGet),
    /// A connection that opens is enough.
    Tcp(u16),
    Grpc {
        port: u16,
        service: String,
    },
}

/// A request that must succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HttpGet {
    tls: bool,
    host: Option<String>,
    port: u16,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// How a probe went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    status: StatusCode,
    says: String,
}

impl Verdict {
    fn good(says: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            says: says.into(),
        }
    }

    fn bad(says: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            says: says.into(),
        }
    }

    /// The answer to the kubelet, which looks at the status alone.
    pub(crate) fn response(self) -> AdminResponse {
        AdminResponse::text(format!("{}\n", self.says)).with_status(self.status)
    }
}

impl Probe {
    /// Asks the application; `asked` are the headers of the kubelet's own request.
    pub(crate) async fn ask(&self, reach: Reach, asked: &HeaderMap) -> Verdict {
        let asking = async {
            match &self.what {
                What::Http(get) => http::ask(get, reach, asked, self.patience).await,
                What::Tcp(port) => {
                    let to = SocketAddr::new(reach.address, *port);
                    match dial(to, reach.source, self.patience).await {
                        Ok(_connection) => Verdict::good(format!("{to} accepts connections")),
                        Err(error) => Verdict::bad(format!("{to}: {error}")),
                    }
                }
                What::Grpc { port, service } => {
                    let to = SocketAddr::new(reach.address, *port);
                    grpc::ask(to, service, reach.source, self.patience).await
                }
            }
        };
        match tokio::time::timeout(self.patience, asking).await {
            Ok(verdict) => verdict,
            Err(_elapsed) => Verdict::bad(format!(
                "the application did not answer within {:?}",
                self.patience
            )),
        }
    }
}

/// A probe as Kubernetes writes it; what concerns only the kubelet's timing is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProbeText {
    http_get: Option<HttpGetText>,
    tcp_socket: Option<PortText>,
    grpc: Option<GrpcText>,
    timeout_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGetText {
    port: Value,
    path: Option<String>,
    host: Option<String>,
    scheme: Option<String>,
    #[serde(default)]
    http_headers: Vec<HeaderText>,
}

#[derive(Deserialize)]
struct HeaderText {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct PortText {
    port: Value,
}

#[derive(Deserialize)]
struct GrpcText {
    port: Value,
    service: Option<String>,
}

impl AppProbes {
    /// Reads what the injector hands on, `{"/app-health/CONTAINER/readyz": PROBE, …}`; says
    /// which probe is wrong, and what with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let texts: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("not as expected: {error}"))?;
        let mut probes = BTreeMap::new();
        for (path, value) in texts {
            if !(path.starts_with("/app-health/") || path.starts_with("/app-lifecycle/")) {
                return Err(format!(
                    "{path}: expected /app-health/CONTAINER/ and livez, readyz or startupz"
                ));
            }
            let probe = read(value).map_err(|error| format!("{path}: {error}"))?;
            probes.insert(path, probe);
        }
        Ok(Self(probes))
    }

    /// The probe asked for at a path.
    pub(crate) fn find(&self, path: &str) -> Option<&Probe> {
        self.0.get(path)
    }
}

fn read(value: Value) -> Result<Probe, String> {
    let text: ProbeText = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let what = match (text.http_get, text.tcp_socket, text.grpc) {
        (Some(get), None, None) => What::Http(http_get(get)?),
        (None, Some(tcp), None) => What::Tcp(port(&tcp.port)?),
        (None, None, Some(grpc)) => What::Grpc {
            port: port(&grpc.port)?,
            service: grpc.service.unwrap_or_default(),
        },
        _ => return Err("expected one of httpGet, tcpSocket and grpc".to_owned()),
    };
    let patience = match text.timeout_seconds {
        // Zero is what an unset number looks like.
        None | Some(0) => PATIENCE,
        Some(seconds) => Duration::from_secs(seconds.into()),
    };
    Ok(Probe { what, patience })
}

fn http_get(text: HttpGetText) -> Result<HttpGet, String> {
    let tls = match text.scheme.as_deref() {
        None | Some("") => false,
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
        Some(other) => return Err(format!("scheme {other:?}: expected HTTP or HTTPS")),
    };
    let path = text.path.filter(|path| !path.is_empty());
    let path = path.unwrap_or_else(|| "/".to_owned());
    let path = if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    };
    if path.parse::<::http::uri::PathAndQuery>().is_err() {
        return Err(format!("path {path:?}: not a path of HTTP"));
    }
    let mut headers = Vec::new();
    for HeaderText { name, value } in text.http_headers {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .zip(HeaderValue::from_str(&value).ok());
        headers.push(parsed.ok_or_else(|| format!("httpHeaders {name:?}: not a header of HTTP"))?);
    }
    Ok(HttpGet {
        tls,
        host: text.host.filter(|host| !host.is_empty()),
        port: port(&text.port)?,
        path,
        headers,
    })
}

fn port(value: &Value) -> Result<u16, String> {
    let text = as_text(value);
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        format!(
            "port {text}: expected a number from 1 to 65535; names are resolved by the injector"
        )
    })
}

#[cfg(test)]
mod tests;
