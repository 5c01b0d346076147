//! Names and small pieces of text: hosts, labels, headers, expressions, addresses, visibility.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use mesh_api::route::Pattern;
use mesh_api::route::matcher::InvalidPattern;

use super::Checker;
use crate::string_match::StringMatch;

/// Regular expressions of a document that are compiled to be checked. What there may be of them is
/// for the compiler to say, which stops at what they cost.
const EXPRESSIONS: usize = 4 << 20;

/// What a host name may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostForm {
    /// A name, one that begins with `*`, or `*`.
    AnyWildcard,
    /// A name or one that begins with `*` (`*.example.com`, `*-blue.example.com`).
    Wildcard,
    /// A name only.
    Exact,
}

impl Checker {
    /// Needs a host name here.
    pub(super) fn host(&mut self, host: &str, form: HostForm) {
        if host.is_empty() {
            self.error_hint("is empty", "name a host");
            return;
        }
        if host == "*" {
            if form != HostForm::AnyWildcard {
                self.error_hint("a bare * is not allowed here", "name the hosts");
            }
            return;
        }
        let name = match host.strip_prefix('*') {
            Some(_) if form == HostForm::Exact => {
                self.error_hint(format!("{host:?} has a wildcard"), "name one host");
                return;
            }
            Some(rest) => rest.strip_prefix(['.', '-']).unwrap_or(rest),
            None => host,
        };
        if host.parse::<std::net::IpAddr>().is_ok() {
            return;
        }
        if name.contains('*') {
            let hint = "a wildcard is only allowed in front, as in *.example.com";
            self.error_hint(format!("{host:?} has a wildcard in the wrong place"), hint);
        } else if !is_dns_name(name) {
            let hint = "use letters, digits, '-' and '.', without a port or a scheme";
            self.error_hint(format!("{host:?} is not a host name"), hint);
        }
    }

    /// Needs the name of a subset, a port or the like here.
    pub(super) fn label_name(&mut self, name: &str) {
        if !is_label(name) {
            let hint = "use letters, digits and '-', at most 63, beginning and ending with a letter or digit";
            self.error_hint(format!("{name:?} is not a legal name"), hint);
        }
    }

    /// Needs labels here.
    pub(super) fn labels(&mut self, labels: &BTreeMap<String, String>) {
        for (name, value) in labels {
            self.field(name, |check| {
                let (prefix, last) = name
                    .rsplit_once('/')
                    .map_or((None, name.as_str()), |(p, l)| (Some(p), l));
                if !is_label_part(last)
                    || last.is_empty()
                    || prefix.is_some_and(|p| !is_dns_name(p))
                {
                    check.error(format!("{name:?} is not a legal label name"));
                } else if value.contains('*') {
                    check.error_hint(
                        "labels are compared exactly; * has no meaning",
                        "name the value",
                    );
                } else if !is_label_part(value) {
                    check.error(format!("{value:?} is not a legal label value"));
                }
            });
        }
    }

    /// Needs a port other than 0 here.
    pub(super) fn port(&mut self, number: u16) {
        if number == 0 {
            self.error_hint("0 is not a port", "use 1 to 65535");
        }
    }

    /// Needs an address or a CIDR block here.
    pub(super) fn subnet(&mut self, text: &str) {
        if text.parse::<IpNet>().is_err() && text.parse::<std::net::IpAddr>().is_err() {
            let hint = "write it as 10.0.0.0/8 or 10.1.2.3";
            self.error_hint(
                format!("{text:?} is neither an address nor a CIDR block"),
                hint,
            );
        }
    }

    /// Needs a regular expression here.
    pub(super) fn regex(&mut self, pattern: &str) {
        if self.expressions > EXPRESSIONS {
            return;
        }
        // Written twice it costs once, here as in proxies.
        if !self.checked.insert(pattern.to_owned()) {
            return;
        }
        let checked = Pattern::checked(true, pattern);
        // What does not fit was built up to the limit to find that out.
        self.expressions += match &checked {
            Ok(checked) => checked.cost(),
            Err(InvalidPattern::TooLarge) => Pattern::SIZE_LIMIT,
            Err(_) => 0,
        };
        match checked {
            Ok(_) => {}
            Err(InvalidPattern::TooLong(length)) => self.error_hint(
                format!(
                    "the expression is {length} bytes long; at most {} are allowed",
                    Pattern::MAX_SOURCE
                ),
                "split it over several entries of match",
            ),
            Err(InvalidPattern::TooLarge | InvalidPattern::TooMany) => self.error_hint(
                "the expression is too large once compiled",
                "use smaller repetition counts or fewer alternatives",
            ),
            Err(InvalidPattern::Syntax(text)) => {
                // The last line says what is wrong; the ones before draw the place.
                let reason = text
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                self.error_hint(
                    format!("{pattern:?} is not a regular expression: {reason}"),
                    "RE2 syntax is expected; it has no look-around and no back-references",
                );
            }
        }
    }

    /// Needs a comparison with something to compare to here.
    pub(super) fn string_match(&mut self, value: &StringMatch, allow_empty_prefix: bool) {
        match value {
            StringMatch::Present => {
                self.error_hint(
                    "nothing to compare with",
                    "set one of exact, prefix and regex",
                );
            }
            StringMatch::Prefix(prefix) if prefix.is_empty() && !allow_empty_prefix => {
                self.field("prefix", |check| {
                    check.error_hint(
                        "is empty and would match everything",
                        "leave the condition out",
                    );
                });
            }
            StringMatch::Regex(pattern) => self.field("regex", |check| check.regex(pattern)),
            StringMatch::Exact(_) | StringMatch::Prefix(_) => {}
        }
    }

    /// Needs the name of a header here.
    pub(super) fn header_name(&mut self, name: &str) {
        if !is_token(name) {
            self.error(format!("{name:?} is not the name of a header"));
        }
    }

    /// Needs the name of a header in letters, digits, `-` and `_` here.
    pub(super) fn plain_header_name(&mut self, name: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || !name.bytes().all(plain) {
            let hint = "use letters, digits, '-' and '_'";
            self.error_hint(format!("{name:?} is not the name of a header"), hint);
        }
    }

    /// Needs something in every text of a list.
    pub(super) fn no_empty_text(&mut self, name: &str, list: &[String]) {
        self.each(name, list, |check, text| {
            if text.is_empty() {
                check.error_hint("is empty", "remove the entry, or say what is meant");
            }
        });
    }

    /// Needs a list that is not longer than Istio allows.
    pub(super) fn at_most<T>(&mut self, name: &str, list: &[T], most: usize) {
        if list.len() > most {
            self.field(name, |check| {
                check.error(format!(
                    "at most {most} are allowed, there are {}",
                    list.len()
                ));
            });
        }
    }

    /// Needs the value of a header here.
    pub(super) fn header_value(&mut self, value: &str) {
        if value
            .bytes()
            .any(|byte| byte != b'\t' && (byte < 0x20 || byte == 0x7f))
        {
            self.error_hint(
                "the value contains a line break or another control character",
                "header values are a single line",
            );
        }
    }

    /// Needs a list of namespaces here.
    pub(super) fn export_to(&mut self, namespaces: &[String], nobody_allowed: bool) {
        let mut seen = BTreeSet::new();
        let several = namespaces.len() > 1;
        self.each("exportTo", namespaces, |check, namespace| {
            if !seen.insert(namespace.clone()) {
                check.error(format!("{namespace:?} is listed twice"));
            }
            match namespace.as_str() {
                "~" if !nobody_allowed => {
                    check.error_hint("~ is not allowed here", "use . for this namespace only");
                }
                "*" | "~" if several => {
                    check.error_hint(format!("{namespace} must stand alone"), "remove the others");
                }
                "." | "*" | "~" => {}
                name if is_label(name) => {}
                name => check.error_hint(
                    format!("{name:?} is not a namespace"),
                    "use *, . or the name of a namespace",
                ),
            }
        });
    }

    /// Needs the name of a gateway here: `name`, `namespace/name`, `./name` or `mesh`.
    pub(super) fn gateway_name(&mut self, name: &str) {
        let legal = match name.split_once('/') {
            Some((namespace, name)) => {
                (namespace == "." || is_label(namespace)) && is_dns_name(name)
            }
            None => is_dns_name(name),
        };
        if !legal {
            let hint = "write name, namespace/name or mesh";
            self.error_hint(format!("{name:?} is not the name of a gateway"), hint);
        }
    }
}

/// Letters, digits and `-`, at most 63, beginning and ending with a letter or digit.
pub(super) fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && alphanumeric(text.bytes().next())
        && alphanumeric(text.bytes().last())
}

/// Labels with dots between; a trailing dot and underscores are let through, as resolvers do.
pub(super) fn is_dns_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253
        && name
            .split('.')
            .all(|label| is_label(&label.replace('_', "-")) || is_service_label(label))
}

/// A label with a leading underscore, as in `_http.example.com`.
fn is_service_label(label: &str) -> bool {
    label.strip_prefix('_').is_some_and(is_label)
}

/// The value of a label, or its name without the prefix.
fn is_label_part(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(legal)
        && ends(text.bytes().next())
        && ends(text.bytes().last())
}

/// A token as HTTP defines it.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether `pattern` covers `host`; a wildcard covers every name below it.
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_lowercase(), host.to_lowercase());
    if pattern == "*" || pattern == host {
        return true;
    }
    pattern.strip_prefix('*').is_some_and(|suffix| {
        host.strip_prefix('*').unwrap_or(&host).ends_with(suffix) && host.len() > suffix.len()
    })
}
