//! Header operations, with `%…%` operators in values.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use mesh_api::header::{EditableHeader, NotEditable, Reserved};
use mesh_api::route::filter::HeaderEdit;
use mesh_api::route::host::split_authority;
use mesh_api::route::{HeaderEdits, HeaderOps, HeaderText, Operator, TextPart};

use super::rule::RouteAt;
use crate::compile::context::Context;
use crate::compile::diagnostics::codes;
use crate::crd::virtual_service::{HeaderOperations, Headers};

/// Header edits, and the Host header they ask for.
#[derive(Debug, Default)]
pub(super) struct Edits {
    pub(super) edits: HeaderEdits,
    pub(super) authority: Option<Arc<str>>,
}

/// The edits of one `headers` block; what cannot be used is left out and reported.
pub(super) fn edits(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    written: Option<&Headers>,
    field: &str,
) -> Edits {
    let Some(written) = written else {
        return Edits::default();
    };
    let mut edits = Edits::default();
    if let Some(request) = &written.request {
        let field = format!("{field}.request");
        edits.edits.request = operations(cx, at, request, &field);
        edits.authority = [("set", &request.set), ("add", &request.add)]
            .into_iter()
            .find_map(|(name, map)| {
                let (written, value) = map.iter().find(|(name, _)| is_host(name))?;
                authority(cx, at, value, &format!("{field}.{name}[{written:?}]"))
            });
    }
    if let Some(response) = &written.response {
        let field = format!("{field}.response");
        edits.edits.response = operations(cx, at, response, &field);
    }
    edits
}

/// The Host that upstreams see instead of the client's: a host, with a port or without. Anything
/// else is left out and reported.
pub(super) fn authority(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    value: &str,
    field: &str,
) -> Option<Arc<str>> {
    if split_authority(value).is_some() {
        return Some(Arc::from(value));
    }
    at.report(
        cx,
        codes::BAD_VALUE,
        field,
        format!("{value:?} is not a host with an optional port; the Host stays as it is"),
    );
    None
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

fn operations(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    written: &HeaderOperations,
    field: &str,
) -> HeaderOps {
    let mut remove = Vec::new();
    for name in &written.remove {
        if let Some(name) = header_name(cx, at, name, &format!("{field}.remove")) {
            remove.push(name);
        }
    }
    remove.sort_by(|a: &EditableHeader, b| a.as_str().cmp(b.as_str()));
    remove.dedup();
    HeaderOps {
        remove,
        set: values(cx, at, &written.set, &format!("{field}.set")),
        add: values(cx, at, &written.add, &format!("{field}.add")),
    }
}

fn values(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    written: &BTreeMap<String, String>,
    field: &str,
) -> Vec<HeaderEdit> {
    let mut edits: Vec<HeaderEdit> = Vec::new();
    for (name, value) in written {
        let Some(header) = header_name(cx, at, name, field) else {
            continue;
        };
        match text(value) {
            Ok(value) => edits.push(HeaderEdit {
                name: header,
                value,
            }),
            Err(message) => at.report(
                cx,
                codes::BAD_VALUE,
                &format!("{field}[{name:?}]"),
                format!("{message}; the header is left out"),
            ),
        }
    }
    edits.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    edits
}

/// A header that may be edited. What frames a message or concerns one hop is left out and reported,
/// so that nobody but the proxy writes it; hosts and pseudo-headers are dealt with elsewhere, or
/// ignored as validation says.
fn header_name(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    name: &str,
    field: &str,
) -> Option<EditableHeader> {
    match EditableHeader::parse(name) {
        Ok(header) => Some(header),
        Err(NotEditable::Reserved(Reserved::Host | Reserved::Pseudo)) => None,
        Err(why) => {
            let message = format!("{name:?} cannot be edited and is left out: {why}");
            at.report(cx, codes::BAD_VALUE, field, message);
            None
        }
    }
}

/// A header value: fixed text, or a template.
fn text(value: &str) -> Result<HeaderText, String> {
    let mut parts: Vec<TextPart> = Vec::new();
    let mut literal = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let Some((operator, after)) = after.split_once('%') else {
            return Err(format!(
                "{value:?} has a single %; write %% for the character itself"
            ));
        };
        if !literal.is_empty() {
            parts.push(TextPart::Literal(Arc::from(literal.as_str())));
            literal.clear();
        }
        parts.push(TextPart::Operator(operator_of(operator)?));
        rest = after;
    }
    literal.push_str(rest);
    let check = |text: &str| {
        HeaderValue::from_str(text).map_err(|_invalid| format!("{text:?} is not a header value"))
    };
    let value = check(&literal)?;
    if parts.is_empty() {
        return Ok(HeaderText::Literal(value));
    }
    for part in &parts {
        if let TextPart::Literal(text) = part {
            check(text)?;
        }
    }
    if !literal.is_empty() {
        parts.push(TextPart::Literal(Arc::from(literal)));
    }
    Ok(HeaderText::Template(parts))
}

fn operator_of(text: &str) -> Result<Operator, String> {
    if let Some(header) = text
        .strip_prefix("REQ(")
        .and_then(|rest| rest.strip_suffix(')'))
        .filter(|header| !header.is_empty() && !header.contains('?'))
    {
        return Ok(Operator::RequestHeader(Arc::from(
            header.to_ascii_lowercase(),
        )));
    }
    Ok(match text {
        "DOWNSTREAM_REMOTE_ADDRESS" => Operator::DownstreamRemoteAddress,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Operator::DownstreamRemoteIp,
        "DOWNSTREAM_LOCAL_ADDRESS" => Operator::DownstreamLocalAddress,
        "PROTOCOL" => Operator::Protocol,
        "UPSTREAM_HOST" => Operator::UpstreamHost,
        "UPSTREAM_CLUSTER" => Operator::UpstreamCluster,
        "ROUTE_NAME" => Operator::RouteName,
        _ => {
            return Err(format!(
                "%{text}% is not an operator this mesh knows (it knows REQ(name), \
                 DOWNSTREAM_REMOTE_ADDRESS, DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT, \
                 DOWNSTREAM_LOCAL_ADDRESS, PROTOCOL, UPSTREAM_HOST, UPSTREAM_CLUSTER, ROUTE_NAME)"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_operators() {
        assert_eq!(
            text("100%%").unwrap(),
            HeaderText::Literal(HeaderValue::from_static("100%"))
        );
        assert_eq!(
            text("a %REQ(X-Y)%%PROTOCOL% %%b").unwrap(),
            HeaderText::Template(vec![
                TextPart::Literal(Arc::from("a ")),
                TextPart::Operator(Operator::RequestHeader(Arc::from("x-y"))),
                TextPart::Operator(Operator::Protocol),
                TextPart::Literal(Arc::from(" %b")),
            ])
        );
        assert!(text("50%").is_err());
        assert!(text("%NO_SUCH%").is_err());
        assert!(text("a\nb").is_err());
        assert!(text("a\n%PROTOCOL%").is_err());
    }
}
