//! What a request must look like before anything is done with it: one host, one length, one
//! path. Whatever two readers could understand differently is refused here.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use mesh_api::header::is_added_by_proxies;
use mesh_api::route::NormalForm;
use mesh_api::route::host::split_authority;

use super::headers::{Scan, strip_request};
use super::{framing, path, translate};
use crate::bootstrap::Http10;
use crate::error::{MAX_HEADERS, RequestFault};

/// A request that may be routed.
#[derive(Debug)]
pub struct Intake {
    /// The authority as the client sent it.
    pub authority: HeaderValue,
}

/// What of the settings decides how requests are taken in.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Whether HTTP/1.0 is served.
    pub http10: Http10,
    /// The form of paths that is matched and forwarded.
    pub paths: NormalForm,
}

/// Checks a request and brings it into the form in which it is routed and forwarded: path and
/// query as target, one Host header, one length, one line of cookies, no header of this hop. Also says whether the
/// client asks for a WebSocket.
pub fn admit(parts: &mut Parts, scan: Scan, terms: Terms) -> Result<(Intake, bool), RequestFault> {
    check_count(&parts.headers)?;
    check_method(parts, terms.http10)?;
    framing::check_request(&mut parts.headers, scan)?;
    let authority = single_authority(parts, scan)?;
    if authority.to_str().ok().and_then(split_authority).is_none() {
        return Err(RequestFault::AuthorityMalformed);
    }
    path::normalize_target(&mut parts.uri, parts.method == Method::OPTIONS, terms.paths)?;
    if scan.cookies > 1 {
        // So that routes decide on what is forwarded.
        translate::join_cookies(&mut parts.headers);
    }
    let content = framing::announces_content(&parts.headers, scan);
    let websocket = strip_request(&mut parts.headers, scan)
        && parts.version == Version::HTTP_11
        && parts.method == Method::GET
        // What would follow the head is neither the request's nor the WebSocket's.
        && !content;
    Ok((Intake { authority }, websocket))
}

/// One limit for both protocols and for every hop: what proxies in front of this one added does not
/// count.
fn check_count(headers: &HeaderMap) -> Result<(), RequestFault> {
    if headers.len() <= MAX_HEADERS {
        return Ok(());
    }
    let own = headers
        .iter()
        .filter(|(name, _)| is_added_by_proxies(name.as_str()))
        .count();
    // Nobody adds as many as a client may send.
    if headers.len() - own <= MAX_HEADERS && own <= MAX_HEADERS {
        return Ok(());
    }
    Err(RequestFault::TooManyHeaders)
}

fn check_method(parts: &Parts, http10: Http10) -> Result<(), RequestFault> {
    let oldest = match http10 {
        Http10::Refused => Version::HTTP_11,
        Http10::Accepted => Version::HTTP_10,
    };
    if parts.version < oldest {
        return Err(RequestFault::VersionTooOld);
    }
    if parts.method == Method::CONNECT {
        return Err(RequestFault::ConnectRefused);
    }
    if parts.method == Method::TRACE {
        return Err(RequestFault::MethodRefused);
    }
    Ok(())
}

/// The one authority of a request; the Host header says the same afterwards.
fn single_authority(parts: &mut Parts, scan: Scan) -> Result<HeaderValue, RequestFault> {
    if scan.hosts > 1 {
        return Err(RequestFault::HostRepeated);
    }
    let Some(authority) = parts.uri.authority() else {
        let host = parts.headers.get(header::HOST);
        return host
            .filter(|host| !host.is_empty())
            .cloned()
            .ok_or(RequestFault::HostMissing);
    };
    if parts.version == Version::HTTP_2
        && let Some(host) = parts.headers.get(header::HOST)
        && !host
            .as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return Err(RequestFault::HostConflict);
    }
    // An absolute target wins over Host (RFC 9112 section 3.2.2).
    let value = HeaderValue::from_str(authority.as_str())
        .map_err(|_cause| RequestFault::AuthorityMalformed)?;
    parts.headers.insert(header::HOST, value.clone());
    Ok(value)
}

impl Intake {
    /// The authority as text.
    pub fn authority(&self) -> &str {
        // Checked when it was let in.
        self.authority.to_str().unwrap_or_default()
    }

    /// Host and port as virtual hosts are looked up: lower case, no trailing dot.
    pub fn host(&self) -> (Cow<'_, str>, Option<u16>) {
        let (host, port) = split_authority(self.authority()).unwrap_or_default();
        let host = host.strip_suffix('.').unwrap_or(host);
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        (host, port)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn admitted(request: Request<()>) -> Result<(Parts, Intake), RequestFault> {
        let (mut parts, ()) = request.into_parts();
        let scan = Scan::of(&parts.headers);
        let (intake, _websocket) = admit(&mut parts, scan, terms(Http10::Refused))?;
        Ok((parts, intake))
    }

    fn terms(http10: Http10) -> Terms {
        Terms {
            http10,
            paths: NormalForm::Base,
        }
    }

    fn get(uri: &str) -> http::request::Builder {
        Request::builder().uri(uri)
    }

    #[test]
    fn an_absolute_target_wins_over_host() {
        let request = get("http://Shop.Example.:8080/a/../b?q")
            .header("host", "other")
            .body(());
        let (parts, intake) = admitted(request.unwrap()).unwrap();
        assert_eq!(parts.headers["host"], "Shop.Example.:8080");
        assert_eq!(parts.uri, "/b?q");
        assert_eq!(intake.host(), ("shop.example".into(), Some(8080)));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let two = get("/").header("host", "a").header("host", "a").body(());
        assert_eq!(
            admitted(two.unwrap()).unwrap_err(),
            RequestFault::HostRepeated
        );
        let none = get("/").body(());
        assert_eq!(
            admitted(none.unwrap()).unwrap_err(),
            RequestFault::HostMissing
        );
        let user = get("/").header("host", "u@a").body(());
        assert_eq!(
            admitted(user.unwrap()).unwrap_err(),
            RequestFault::AuthorityMalformed
        );
        let both = get("/")
            .header("host", "a")
            .header("transfer-encoding", "chunked")
            .header("content-length", "3")
            .body(());
        assert_eq!(
            admitted(both.unwrap()).unwrap_err(),
            RequestFault::FramingAmbiguous
        );
        let gzip = get("/")
            .header("host", "a")
            .header("transfer-encoding", "gzip, chunked")
            .body(());
        assert_eq!(
            admitted(gzip.unwrap()).unwrap_err(),
            RequestFault::FramingAmbiguous
        );
        let mixed = get("http://a/")
            .version(Version::HTTP_2)
            .header("host", "b")
            .body(());
        assert_eq!(
            admitted(mixed.unwrap()).unwrap_err(),
            RequestFault::HostConflict
        );
        let old = get("/")
            .version(Version::HTTP_10)
            .header("host", "a")
            .body(());
        assert_eq!(
            admitted(old.unwrap()).unwrap_err(),
            RequestFault::VersionTooOld
        );
        // Whoever meets it is told what to change.
        let told = RequestFault::VersionTooOld.to_string();
        assert!(told.contains("--http10") && told.contains("ISTIO_META_HTTP10"));
    }

    #[test]
    fn old_versions_are_served_where_that_is_wanted() {
        let admit_old = |version, upgrade: &str| {
            let request = get("/").version(version).header("host", "a");
            let request = request.header("connection", "upgrade");
            let (mut parts, ()) = request
                .header("upgrade", upgrade)
                .body(())
                .unwrap()
                .into_parts();
            let scan = Scan::of(&parts.headers);
            admit(&mut parts, scan, terms(Http10::Accepted)).map(|(_, websocket)| websocket)
        };
        // It never had upgrades.
        assert_eq!(admit_old(Version::HTTP_10, "websocket"), Ok(false));
        assert_eq!(admit_old(Version::HTTP_11, "websocket"), Ok(true));
        let older = admit_old(Version::HTTP_09, "websocket");
        assert_eq!(older, Err(RequestFault::VersionTooOld));
    }
}
