//! What a request asks for: a path and a Host header, or a whole URI.

use http::Uri;
use http::header::{self, HeaderMap};

use crate::error::RequestFault;

/// Makes the Host header and the path one URI, of which HTTP/2 makes its pseudo headers (RFC 9113
/// section 8.3.1).
pub(super) fn whole(uri: &mut Uri, headers: &mut HeaderMap) -> Result<(), RequestFault> {
    let host = headers.remove(header::HOST);
    let authority = host.as_ref().and_then(|host| host.to_str().ok());
    let mut whole = Uri::builder().scheme("http");
    if let Some(authority) = authority {
        whole = whole.authority(authority);
    }
    if let Some(path) = uri.path_and_query() {
        whole = whole.path_and_query(path.clone());
    }
    *uri = whole
        .build()
        .map_err(|_cause| RequestFault::AuthorityMalformed)?;
    Ok(())
}
