//! `httpGet`: a request that must be answered with anything from 200 to 399.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Uri;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;

use super::{HttpGet, Verdict, tls};
use crate::net::dial::dial;
use crate::pod::Reach;
use crate::pod::client::{self, Answer, CallError};

/// Redirects to the application itself that are followed, as the kubelet does.
const MOST_REDIRECTS: usize = 10;
/// As much of the body as is of interest.
const ENOUGH: usize = 10 * 1024;

/// Where to ask next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// Asks, and follows redirects that stay with the application.
pub(super) async fn ask(
    get: &HttpGet,
    reach: Reach,
    asked: &HeaderMap,
    patience: Duration,
) -> Verdict {
    let mut place = Place {
        tls: get.tls,
        host: get
            .host
            .clone()
            .unwrap_or_else(|| reach.address.to_string()),
        port: get.port,
        path: get.path.clone(),
    };
    for _ in 0..=MOST_REDIRECTS {
        let answer = match exchange(&place, get, reach, asked, patience).await {
            Ok(answer) => answer,
            Err(error) => return Verdict::bad(format!("{}: {error}", place.shown())),
        };
        let status = answer.status;
        if !status.is_redirection() {
            return verdict(status, &answer.body);
        }
        let location = answer.headers.get(header::LOCATION);
        let next = location
            .and_then(|location| location.to_str().ok())
            .and_then(|location| place.redirected(location));
        match next {
            Some(next) => place = next,
            // Somebody else's page says nothing about this application, which did answer.
            None => return Verdict::good(format!("{status}, and leads elsewhere")),
        }
    }
    Verdict::bad(format!("more than {MOST_REDIRECTS} redirects"))
}

fn verdict(status: StatusCode, body: &[u8]) -> Verdict {
    if status.is_success() {
        return Verdict::good(format!("{status}"));
    }
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default();
    let says = format!("the application answers {status}: {line}");
    // The kubelet's event shows the status it got, so it gets the application's.
    let told = if status.is_client_error() || status.is_server_error() {
        status
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Verdict { status: told, says }
}

async fn exchange(
    place: &Place,
    get: &HttpGet,
    reach: Reach,
    asked: &HeaderMap,
    patience: Duration,
) -> Result<Answer, CallError> {
    let request = request(place, get, asked)?;
    let (to, source) = place.resolve(reach).await.map_err(CallError::Connect)?;
    let stream = dial(to, source, patience)
        .await
        .map_err(CallError::Connect)?;
    if place.tls {
        let stream = tls::connect(&place.host, stream)
            .await
            .map_err(CallError::Tls)?;
        client::http1(stream, request, ENOUGH).await
    } else {
        client::http1(stream, request, ENOUGH).await
    }
}

fn request(
    place: &Place,
    get: &HttpGet,
    asked: &HeaderMap,
) -> Result<Request<Full<Bytes>>, CallError> {
    let mut request = Request::get(&place.path).body(Full::default())?;
    let headers = request.headers_mut();
    headers.insert(
        header::HOST,
        HeaderValue::from_str(&place.authority()).map_err(http::Error::from)?,
    );
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    let agent = asked.get(header::USER_AGENT).cloned();
    let agent = agent.unwrap_or_else(|| HeaderValue::from_static("kube-probe"));
    headers.insert(header::USER_AGENT, agent);
    let mut named: Vec<&HeaderName> = Vec::new();
    for (name, value) in &get.headers {
        // The user's word replaces ours; said twice it is sent twice.
        if named.contains(&name) {
            headers.append(name, value.clone());
        } else {
            named.push(name);
            headers.insert(name, value.clone());
        }
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

impl Place {
    fn shown(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    fn authority(&self) -> String {
        if self.host.contains(':') && !self.host.starts_with('[') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The address to connect to, and where from. The pod's own are called in a way that does
    /// not lead back to the proxy.
    async fn resolve(&self, reach: Reach) -> io::Result<(SocketAddr, Option<IpAddr>)> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            let own = address == reach.address;
            let source = reach.source.filter(|_| own);
            return Ok((SocketAddr::new(address, self.port), source));
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let first = found.into_iter().next();
        let address = first.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok((address, None))
    }

    /// Where a `Location` leads, if that is the same host.
    fn redirected(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            return self.absolute(&location.parse().ok()?);
        }
        if location.starts_with("//") {
            let scheme = if self.tls { "https" } else { "http" };
            return self.absolute(&format!("{scheme}:{location}").parse().ok()?);
        }
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            // Relative to where we are.
            let base = self.path.split('?').next().unwrap_or_default();
            let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{location}")
        };
        let path: http::uri::PathAndQuery = path.parse().ok()?;
        Some(Self {
            path: path.to_string(),
            ..self.clone()
        })
    }

    fn absolute(&self, uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let bare = |host: &str| host.trim_matches(['[', ']']).to_ascii_lowercase();
        if bare(uri.host()?) != bare(&self.host) {
            return None;
        }
        Some(Self {
            tls,
            host: self.host.clone(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri.path_and_query()?.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_only_to_the_application() {
        let place = Place {
            tls: false,
            host: "10.1.0.7".to_owned(),
            port: 8080,
            path: "/a/b?x".to_owned(),
        };
        let cases = [
            ("/login", Some("http://10.1.0.7:8080/login")),
            ("login?y=1", Some("http://10.1.0.7:8080/a/login?y=1")),
            ("login", Some("http://10.1.0.7:8080/a/login")),
            ("//10.1.0.7:8080/y", Some("http://10.1.0.7:8080/y")),
            ("ftp://10.1.0.7/", None),
            ("https://10.1.0.7/z", Some("https://10.1.0.7:443/z")),
            ("http://10.1.0.7:9/", Some("http://10.1.0.7:9/")),
            ("https://shop.example/", None),
            ("//shop.example/x", None),
            ("http://[::1", None),
        ];
        for (location, expected) in cases {
            let next = place.redirected(location).map(|place| place.shown());
            assert_eq!(next.as_deref(), expected, "{location}");
        }
    }
}
