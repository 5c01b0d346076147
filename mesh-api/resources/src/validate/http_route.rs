//! Rules of an HTTP route: one action, legal matches, and what may stand together.

use mesh_api::header::{EditableHeader, NotEditable};
use mesh_api::route::Matched;

use super::names::HostForm;
use super::virtual_service::{check_destination, check_weights};
use super::{Checker, count};
use crate::string_match::StringMatch;
use crate::virtual_service::{HeaderOperations, Headers, HttpMatchRequest, HttpRoute};

impl HttpRoute {
    pub(super) fn check(&self, check: &mut Checker) {
        self.check_action(check);
        check.each("match", &self.matches, |check, one| one.check(check));
        check.each("route", &self.route, |check, one| {
            check.field("destination", |check| {
                check_destination(check, &one.destination);
            });
            check.optional("headers", one.headers.as_ref(), |check, headers| {
                headers.check(check);
            });
        });
        check_weights(check, self.route.iter().map(|one| one.weight));
        check.optional("redirect", self.redirect.as_ref(), |check, redirect| {
            redirect.check(check, &self.matches);
        });
        check.optional(
            "directResponse",
            self.direct_response.as_ref(),
            |check, response| {
                response.check(check);
            },
        );
        check.optional("delegate", self.delegate.as_ref(), |check, delegate| {
            if delegate.name.is_empty() {
                check.field("name", |check| check.error("is required"));
            }
        });
        check.optional("rewrite", self.rewrite.as_ref(), |check, rewrite| {
            rewrite.check(check);
        });
        check.optional("retries", self.retries.as_ref(), |check, retries| {
            retries.check(check);
        });
        check.optional("fault", self.fault.as_ref(), |check, fault| {
            fault.check(check);
        });
        check.optional("corsPolicy", self.cors_policy.as_ref(), |check, cors| {
            cors.check(check);
        });
        check.optional("headers", self.headers.as_ref(), |check, headers| {
            headers.check(check);
            self.check_authority(check, headers);
        });
        self.check_mirrors(check);
    }

    fn check_action(&self, check: &mut Checker) {
        let set = [
            !self.route.is_empty(),
            self.redirect.is_some(),
            self.direct_response.is_some(),
            self.delegate.is_some(),
        ];
        match count(set) {
            1 => {}
            0 => check.error_hint(
                "says nothing about what to do",
                "add one of route, redirect, directResponse and delegate",
            ),
            _ => check.error_hint(
                "says several things to do",
                "keep only one of route, redirect, directResponse and delegate",
            ),
        }
        let answered_here = match (&self.redirect, &self.direct_response) {
            (Some(_), _) => "redirect",
            (None, Some(_)) => "directResponse",
            (None, None) => return,
        };
        for (name, set) in [
            ("fault", self.fault.is_some()),
            ("rewrite", self.rewrite.is_some()),
        ] {
            if set {
                check.field(name, |check| {
                    let hint = format!("remove {name}, or route to a destination instead");
                    check.error_hint(format!("has no meaning beside {answered_here}"), hint);
                });
            }
        }
    }

    fn check_authority(&self, check: &mut Checker, headers: &Headers) {
        let rewritten = self
            .rewrite
            .as_ref()
            .is_some_and(|rewrite| rewrite.authority.is_some());
        let set = headers.request.as_ref().is_some_and(|request| {
            request
                .set
                .keys()
                .chain(request.add.keys())
                .any(|name| is_authority(name))
        });
        if rewritten && set {
            let hint = "keep either rewrite.authority or the header";
            check.error_hint("sets the authority, which rewrite.authority does too", hint);
        }
    }

    fn check_mirrors(&self, check: &mut Checker) {
        check.optional("mirror", self.mirror.as_ref(), |check, mirror| {
            check_destination(check, mirror);
            if !self.mirrors.is_empty() {
                check.error_hint("cannot stand beside mirrors", "move it into mirrors");
            }
        });
        check.each("mirrors", &self.mirrors, |check, one| {
            check.field("destination", |check| {
                check_destination(check, &one.destination);
            });
        });
        check.optional(
            "mirrorPercent",
            self.mirror_percent.as_ref(),
            |check, percent| {
                if *percent > 100 {
                    check.error(format!("{percent} is more than 100 percent"));
                }
                check.warn("is deprecated", "use mirrorPercentage: {value: N}");
            },
        );
    }
}

impl HttpMatchRequest {
    fn check(&self, check: &mut Checker) {
        check.optional("uri", self.uri.as_ref(), |check, value| {
            check.string_match(value, true);
        });
        for (name, value) in [
            ("scheme", &self.scheme),
            ("method", &self.method),
            ("authority", &self.authority),
        ] {
            check.optional(name, value.as_ref(), |check, value| {
                check.string_match(value, false);
            });
        }
        for (field, headers) in [
            ("headers", &self.headers),
            ("withoutHeaders", &self.without_headers),
        ] {
            check.field(field, |check| {
                for (name, value) in headers {
                    check.field(name, |check| check_header(check, name, value));
                }
            });
        }
        check.field("queryParams", |check| {
            for (name, value) in &self.query_params {
                check.field(name, |check| check_value(check, value));
            }
        });
        check.field("sourceLabels", |check| check.labels(&self.source_labels));
        check.each("gateways", &self.gateways, |check, name| {
            check.gateway_name(name);
        });
        if self.ignore_uri_case && matches!(self.uri, Some(StringMatch::Regex(_))) {
            check.field("ignoreUriCase", |check| {
                check.warn("has no effect on a regex", "begin the expression with (?i)");
            });
        }
    }
}

fn check_header(check: &mut Checker, name: &str, value: &StringMatch) {
    if matches!(name, "uri" | "scheme" | "method" | "authority") {
        check.warn(
            "is not a header; this condition has no effect",
            format!("use {name}: beside headers"),
        );
    }
    // Claims of a token are addressed as if they were headers, and so are parts of the request.
    if !name.starts_with("@request.auth.claims")
        && !matches!(
            Matched::parse(&name.to_ascii_lowercase()),
            Some(Matched::Method | Matched::Path | Matched::Scheme | Matched::Authority)
        )
    {
        check.header_name(name);
    }
    check_value(check, value);
}

/// For headers and query parameters `{}` and the regex `*` mean that they are there at all.
fn check_value(check: &mut Checker, value: &StringMatch) {
    match value {
        StringMatch::Present => {}
        StringMatch::Regex(pattern) if pattern == "*" => {}
        StringMatch::Exact(_) | StringMatch::Prefix(_) | StringMatch::Regex(_) => {
            check.string_match(value, false);
        }
    }
}

impl Headers {
    fn check(&self, check: &mut Checker) {
        check.optional("request", self.request.as_ref(), |check, request| {
            request.check(check, true);
        });
        check.optional("response", self.response.as_ref(), |check, response| {
            response.check(check, false);
        });
    }
}

impl HeaderOperations {
    fn check(&self, check: &mut Checker, request: bool) {
        for (field, headers) in [("set", &self.set), ("add", &self.add)] {
            check.field(field, |check| {
                for (name, value) in headers {
                    check.field(name, |check| {
                        check_operation(check, name, request);
                        check.header_value(value);
                        if is_authority(name) && request {
                            check.host_and_port(value);
                        }
                    });
                }
            });
        }
        check.each("remove", &self.remove, |check, name| {
            if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
                check.warn("cannot be removed; this has no effect", "leave it out");
            } else {
                check_editable(check, name);
            }
        });
    }
}

fn check_operation(check: &mut Checker, name: &str, request: bool) {
    match (is_authority(name), request) {
        (true, true) => {}
        (true, false) => check.error_hint("a response has no host", "leave it out"),
        (false, _) if name.starts_with(':') => {
            check.warn(
                "cannot be changed; this has no effect",
                "use rewrite for path and authority",
            );
        }
        (false, _) => check_editable(check, name),
    }
}

/// Needs the name of a header that is the user's to edit.
fn check_editable(check: &mut Checker, name: &str) {
    match EditableHeader::parse(name) {
        Ok(_) => {}
        Err(NotEditable::Malformed) => check.header_name(name),
        Err(why @ NotEditable::Reserved(_)) => {
            check.error_hint(format!("{name:?} cannot be edited: {why}"), "leave it out");
        }
    }
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

impl Checker {
    /// Needs a host, with a port or without, here.
    pub(super) fn host_and_port(&mut self, text: &str) {
        let host = match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            Some(_) | None => text,
        };
        // A format operator is only known when a request is there.
        if !text.contains('%') {
            self.host(
                host.trim_start_matches('[').trim_end_matches(']'),
                HostForm::Exact,
            );
        }
    }
}
