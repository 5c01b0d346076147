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

/// What a match asks for, as far as it can be read.
pub(super) struct Read {
    /// The conditions. Where some cannot be read it may take more requests than were meant, and
    /// never fewer.
    pub(super) conditions: RequestMatch,
    /// What cannot be read.
    pub(super) bad: Vec<BadMatch>,
}

/// The dynamic conditions of a match.
pub(super) fn request_match(written: &HttpMatchRequest, compile: Compile<'_>) -> Read {
    let mut reader = Reader {
        compile,
        bad: Vec::new(),
    };
    let mut optional = |one: &Option<Written>, field: &str| match one {
        None | Some(Written::Present) => None,
        Some(one) => reader.text(one, field),
    };
    let path = optional(&written.uri, "uri").map(|text| PathMatch {
        text,
        ignore_case: written.ignore_uri_case,
    });
    let scheme = optional(&written.scheme, "scheme");
    let method = optional(&written.method, "method");
    let authority = optional(&written.authority, "authority");
    let conditions = RequestMatch {
        path,
        scheme,
        method,
        authority,
        headers: reader.headers(&written.headers, "headers", Some(&ValueMatch::Present)),
        // Whoever does not know what must not be there must not go by a part of it.
        without_headers: reader.headers(&written.without_headers, "withoutHeaders", None),
        query: reader.query(&written.query_params),
    };
    Read {
        conditions,
        bad: reader.bad,
    }
}

/// Reads conditions, and goes on where one cannot be read: with a wider one, or without it.
struct Reader<'a> {
    compile: Compile<'a>,
    bad: Vec<BadMatch>,
}

impl Reader<'_> {
    fn text(&mut self, written: &Written, field: &str) -> Option<StringMatch> {
        match text(written, field, self.compile) {
            Ok(one) => Some(one),
            Err(bad) => {
                self.bad.push(bad);
                wider(written)
            }
        }
    }

    /// A comparison that may ask for presence only; `least` is what every value fulfils that could
    /// be meant.
    fn value(
        &mut self,
        written: &Written,
        field: &str,
        least: Option<&ValueMatch>,
    ) -> Option<ValueMatch> {
        match written {
            Written::Present => return Some(ValueMatch::Present),
            Written::Regex(text) if text == "*" => return Some(ValueMatch::Present),
            Written::Exact(_) | Written::Prefix(_) | Written::Regex(_) => {}
        }
        match text(written, field, self.compile) {
            Ok(one) => Some(ValueMatch::Text(one)),
            Err(bad) => {
                self.bad.push(bad);
                let least = least?;
                Some(wider(written).map_or_else(|| least.clone(), ValueMatch::Text))
            }
        }
    }

    fn headers(
        &mut self,
        written: &BTreeMap<String, Written>,
        field: &str,
        least: Option<&ValueMatch>,
    ) -> Vec<HeaderMatch> {
        let mut matches = Vec::new();
        for (name, one) in written {
            let field = format!("{field}[{name:?}]");
            let lower = name.to_ascii_lowercase();
            if PSEUDO.contains(&lower.as_str()) {
                continue;
            }
            if lower.starts_with('@') {
                self.bad.push(BadMatch::value(
                    field,
                    "routing by token claims is not done yet",
                ));
                continue;
            }
            let Some(name) = Matched::parse(&lower) else {
                self.bad.push(BadMatch::value(
                    &field,
                    "is neither a header nor one of :method, :path, :scheme and :authority",
                ));
                continue;
            };
            if let Some(value) = self.value(one, &field, least) {
                matches.push(HeaderMatch { name, value });
            }
        }
        matches
    }

    fn query(&mut self, written: &BTreeMap<String, Written>) -> Vec<QueryMatch> {
        let read = |(name, one): (&String, &Written)| {
            let field = format!("queryParams[{name:?}]");
            Some(QueryMatch {
                name: Arc::from(name.as_str()),
                value: self.value(one, &field, Some(&ValueMatch::Present))?,
            })
        };
        written.iter().filter_map(read).collect()
    }
}

/// A path to match that no path begins with; `*` is that of `OPTIONS *`.
pub(super) fn off_the_root(written: &HttpMatchRequest) -> Option<&str> {
    match written.uri.as_ref()? {
        Written::Exact(text) | Written::Prefix(text) => {
            let possible = text.is_empty() || text.starts_with('/') || text == "*";
            (!possible).then_some(text)
        }
        Written::Regex(_) | Written::Present => None,
    }
}

/// What every text begins with that an expression which is not used could match; `None`: anything.
fn wider(written: &Written) -> Option<StringMatch> {
    let Written::Regex(source) = written else {
        return None;
    };
    let literal = literal(source);
    (!literal.is_empty()).then(|| StringMatch::Prefix(Arc::from(literal)))
}

/// The plain text an expression begins with.
fn literal(source: &str) -> &str {
    // With alternatives somewhere, what comes first need not.
    if source.contains('|') {
        return "";
    }
    let special = |c: char| r"\.+*?()[]{}^$".contains(c);
    let Some(end) = source.find(special) else {
        return source;
    };
    let (plain, rest) = source.split_at(end);
    // What may be left out or repeated is one character, and not surely there.
    if rest.starts_with(['*', '?', '{', '+']) {
        let mut characters = plain.chars();
        characters.next_back();
        return characters.as_str();
    }
    plain
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_expression_begins_with_is_never_more_than_is_sure() {
        for (source, expected) in [
            ("/admin/.*", "/admin/"),
            ("/admin", "/admin"),
            ("/v[0-9]+/x", "/v"),
            ("/ab*", "/a"),
            ("/ab?c", "/a"),
            ("/é{2}", "/"),
            ("/a+", "/"),
            (r"/a\.b", "/a"),
            ("(?i)/admin", ""),
            ("^/admin", ""),
            ("/a|/b", ""),
            ("/x(a|b)", ""),
            ("", ""),
        ] {
            assert_eq!(literal(source), expected, "{source}");
        }
    }
}
