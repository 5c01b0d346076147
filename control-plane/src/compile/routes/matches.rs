//! `HTTPMatchRequest` into the form proxies match by.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::route::{
    HeaderMatch, Matched, PathMatch, Pattern, QueryMatch, RequestMatch, StringMatch, ValueMatch,
};

use crate::compile::diagnostics::{Code, codes};
use crate::compile::expressions::Unusable;
use crate::crd::StringMatch as Written;
use crate::crd::virtual_service::HttpMatchRequest;

/// Header names that have fields of their own and are ignored in `headers`.
const PSEUDO: [&str; 4] = ["uri", "scheme", "method", "authority"];

/// What is wrong with a match.
pub(super) struct BadMatch {
    pub(super) code: Code,
    pub(super) field: String,
    pub(super) message: String,
}

impl BadMatch {
    fn pattern(field: impl Into<String>, unusable: Unusable) -> Self {
        Self {
            code: unusable.code,
            field: field.into(),
            message: unusable.message,
        }
    }

    fn value(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: codes::BAD_VALUE,
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Makes a program of an expression, if there is room for it.
pub(super) type Compile<'a> = &'a mut dyn FnMut(&str) -> Result<Pattern, Unusable>;

/// The dynamic conditions of a match.
pub(super) fn request_match(
    written: &HttpMatchRequest,
    compile: Compile<'_>,
) -> Result<RequestMatch, BadMatch> {
    let mut optional = |one: &Option<Written>, field: &str| match one {
        None | Some(Written::Present) => Ok(None),
        Some(one) => text(one, field, compile).map(Some),
    };
    let path = optional(&written.uri, "uri")?.map(|text| PathMatch {
        text,
        ignore_case: written.ignore_uri_case,
    });
    let scheme = optional(&written.scheme, "scheme")?;
    let method = optional(&written.method, "method")?;
    let authority = optional(&written.authority, "authority")?;
    Ok(RequestMatch {
        path,
        scheme,
        method,
        authority,
        headers: headers(&written.headers, "headers", compile)?,
        without_headers: headers(&written.without_headers, "withoutHeaders", compile)?,
        query: query(&written.query_params, compile)?,
    })
}

/// A comparison of text.
pub(super) fn text(
    written: &Written,
    field: &str,
    compile: Compile<'_>,
) -> Result<StringMatch, BadMatch> {
    Ok(match written {
        Written::Exact(text) => StringMatch::Exact(Arc::from(text.as_str())),
        Written::Prefix(text) => StringMatch::Prefix(Arc::from(text.as_str())),
        Written::Regex(text) => StringMatch::Regex(
            compile(text).map_err(|unusable| BadMatch::pattern(field, unusable))?,
        ),
        Written::Present => StringMatch::Prefix(Arc::from("")),
    })
}

/// A comparison that may ask for presence only.
fn value(written: &Written, field: &str, compile: Compile<'_>) -> Result<ValueMatch, BadMatch> {
    match written {
        Written::Present => Ok(ValueMatch::Present),
        Written::Regex(text) if text == "*" => Ok(ValueMatch::Present),
        Written::Exact(_) | Written::Prefix(_) | Written::Regex(_) => {
            text(written, field, compile).map(ValueMatch::Text)
        }
    }
}

fn headers(
    written: &BTreeMap<String, Written>,
    field: &str,
    compile: Compile<'_>,
) -> Result<Vec<HeaderMatch>, BadMatch> {
    let mut matches = Vec::new();
    for (name, one) in written {
        let field = format!("{field}[{name:?}]");
        let lower = name.to_ascii_lowercase();
        if PSEUDO.contains(&lower.as_str()) {
            continue;
        }
        if lower.starts_with('@') {
            return Err(BadMatch::value(
                field,
                "routing by token claims is not done yet; the route is refused",
            ));
        }
        let name = Matched::parse(&lower).ok_or_else(|| {
            BadMatch::value(
                &field,
                "is neither a header nor one of :method, :path, :scheme and :authority",
            )
        })?;
        matches.push(HeaderMatch {
            name,
            value: value(one, &field, compile)?,
        });
    }
    Ok(matches)
}

fn query(
    written: &BTreeMap<String, Written>,
    compile: Compile<'_>,
) -> Result<Vec<QueryMatch>, BadMatch> {
    written
        .iter()
        .map(|(name, one)| {
            Ok(QueryMatch {
                name: Arc::from(name.as_str()),
                value: value(one, &format!("queryParams[{name:?}]"), compile)?,
            })
        })
        .collect()
}
