//! What a route does besides forwarding: faults, CORS, rewrites, redirects, mirrors.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mesh_api::route::filter::AbortAnswer;
use mesh_api::route::{
    Cors, Fault, FaultAbort, FaultDelay, Mirror, Redirect, Rewrite, RouteAction, StringMatch,
    Target, UnmatchedPreflights, UriRewrite,
};
use mesh_api::route::{RedirectPath, RedirectPort};
use mesh_api::units::{PartsPerMillion, Port};

use super::rule::RouteAt;
use super::{headers, matches};
use crate::compile::context::Context;
use crate::compile::destination::{Place, no_cluster, target};
use crate::compile::diagnostics::codes;
use crate::compile::expressions::Unusable;
use crate::crd::virtual_service::{
    Destination, HttpMatchRequest, HttpRedirect, RedirectPortSelection,
    UnmatchedPreflights as WrittenPreflights,
};
use crate::crd::{Percent, StringMatch as Written};

fn share(percent: Percent) -> PartsPerMillion {
    PartsPerMillion::new(percent.parts_per_million()).unwrap_or(PartsPerMillion::ALL)
}

/// Whole percent, as the older fields have it.
fn whole(percent: u32) -> PartsPerMillion {
    PartsPerMillion::from_percent(f64::from(percent))
}

/// Fault injection; a share that is not given is none at all.
pub(super) fn fault(cx: &mut Context<'_>, at: &RouteAt<'_>) -> Option<Fault> {
    let written = at.route.fault.as_ref()?;
    let delay = written.delay.as_ref().and_then(|delay| {
        Some(FaultDelay {
            duration: delay.fixed_delay?.into(),
            share: delay
                .percentage
                .map(share)
                .or_else(|| delay.percent.map(whole))
                .unwrap_or(PartsPerMillion::ZERO),
        })
    });
    let mut abort = None;
    if let Some(one) = &written.abort {
        let answer = match (one.http_status, one.grpc_status.as_deref()) {
            (Some(status), _) => StatusCode::from_u16(status).ok().map(AbortAnswer::Http),
            (None, Some(name)) => grpc_status(name).map(AbortAnswer::Grpc),
            (None, None) => None,
        };
        match answer {
            Some(answer) => {
                abort = Some(FaultAbort {
                    answer,
                    share: one.percentage.map_or(PartsPerMillion::ZERO, share),
                });
            }
            None => at.report(
                cx,
                codes::BAD_VALUE,
                "fault.abort",
                "needs an httpStatus from 200 to 599 or the name of a grpcStatus; no fault is \
                 injected",
            ),
        }
    }
    let delay = delay.filter(|delay| delay.share > PartsPerMillion::ZERO);
    let abort = abort.filter(|abort| abort.share > PartsPerMillion::ZERO);
    (delay.is_some() || abort.is_some()).then_some(Fault { delay, abort })
}

fn grpc_status(name: &str) -> Option<u8> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let number = NAMES.iter().position(|known| *known == name)?;
    u8::try_from(number).ok()
}

/// Cross-origin policy.
pub(super) fn cors(cx: &mut Context<'_>, at: &RouteAt<'_>) -> Option<Cors> {
    let written = at.route.cors_policy.as_ref()?;
    let texts = |list: &[String]| list.iter().map(|one| Arc::from(one.as_str())).collect();
    let mut allow_origins: Vec<StringMatch> = written
        .allow_origin
        .iter()
        .map(|origin| {
            if origin == "*" {
                StringMatch::Prefix(Arc::from(""))
            } else {
                StringMatch::Exact(Arc::from(origin.as_str()))
            }
        })
        .collect();
    for (index, origin) in written.allow_origins.iter().enumerate() {
        let field = format!("corsPolicy.allowOrigins[{index}]");
        let object = &at.object.key;
        let mut compile = |text: &str| cx.expressions.pattern(object, true, text);
        match matches::text(origin, &field, &mut compile) {
            Ok(one) => allow_origins.push(one),
            Err(bad) => at.report(cx, bad.code, &bad.field, bad.message),
        }
    }
    Some(Cors {
        allow_origins,
        allow_methods: texts(&written.allow_methods),
        allow_headers: texts(&written.allow_headers),
        expose_headers: texts(&written.expose_headers),
        max_age: written.max_age.map(Duration::from),
        allow_credentials: written.allow_credentials.unwrap_or_default(),
        unmatched_preflights: match written.unmatched_preflights {
            WrittenPreflights::Unspecified | WrittenPreflights::Forward => {
                UnmatchedPreflights::Forward
            }
            WrittenPreflights::Ignore => UnmatchedPreflights::Ignore,
        },
    })
}

/// The prefix a match stands for where a prefix is replaced: its own, or `/` if it says nothing
/// about the path. `None` if the path is matched whole.
fn matched_prefix(written: &[&HttpMatchRequest]) -> Option<Arc<str>> {
    match written {
        [] => Some(Arc::from("/")),
        [one, ..] => match &one.uri {
            None | Some(Written::Present) => Some(Arc::from("/")),
            Some(Written::Prefix(prefix)) => Some(Arc::from(prefix.as_str())),
            Some(Written::Exact(_) | Written::Regex(_)) => None,
        },
    }
}

/// Path and authority changes. `Err`: why they cannot be made; a request without them is not the
/// one that was to arrive.
pub(super) fn rewrite(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    written: &[&HttpMatchRequest],
) -> Result<Rewrite, String> {
    let Some(rewrite) = &at.route.rewrite else {
        return Ok(Rewrite::default());
    };
    let mut uri = UriRewrite::Keep;
    if let Some(replacement) = rewrite.uri.as_deref() {
        let replacement = path_only(cx, at, replacement, "rewrite.uri");
        uri = match matched_prefix(written) {
            Some(prefix) => UriRewrite::Prefix {
                prefixes: vec![prefix],
                replacement: Arc::from(replacement),
            },
            None => UriRewrite::Full(Arc::from(replacement)),
        };
    } else if let Some(regex) = &rewrite.uri_regex_rewrite {
        let source = regex.pattern.as_deref().unwrap_or_default();
        match cx.expressions.pattern(&at.object.key, false, source) {
            Ok(pattern) => {
                let substitution = regex.rewrite.as_deref().unwrap_or_default();
                let field = "rewrite.uriRegexRewrite.rewrite";
                uri = UriRewrite::Regex {
                    pattern,
                    substitution: Arc::from(path_only(cx, at, substitution, field)),
                };
            }
            Err(Unusable { code, message }) => {
                let field = "rewrite.uriRegexRewrite.match";
                at.report(cx, code, field, format!("{message}; requests get 503"));
                let (object, route) = (&at.object.key, &at.field);
                return Err(format!(
                    "{object} {route}.{field} cannot be used; see its status"
                ));
            }
        }
    }
    let authority = rewrite
        .authority
        .as_deref()
        .and_then(|authority| headers::authority(cx, at, authority, "rewrite.authority"));
    Ok(Rewrite { uri, authority })
}

/// The part of a replacement that is path. A rewrite changes the path and leaves the query alone;
/// a path contains neither spaces nor control characters.
fn path_only<'t>(cx: &mut Context<'_>, at: &RouteAt<'_>, text: &'t str, field: &str) -> &'t str {
    let ends_it = |c: char| matches!(c, '?' | '#' | ' ' | '\u{7f}') || c < ' ';
    let Some(end) = text.find(ends_it) else {
        return text;
    };
    let (path, rest) = text.split_at(end);
    at.report(
        cx,
        codes::BAD_VALUE,
        field,
        format!("a rewrite changes the path only; {rest:?} is left out, the query stays as it is"),
    );
    path
}

/// A redirect.
pub(super) fn redirect(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    written: &HttpRedirect,
    matches: &[&HttpMatchRequest],
) -> RouteAction {
    let code = written.redirect_code.unwrap_or(301);
    let status = StatusCode::from_u16(code)
        .ok()
        .filter(|_| matches!(code, 301 | 302 | 303 | 307 | 308));
    let Some(status) = status else {
        let message = format!("{code} is not one of 301, 302, 303, 307 and 308");
        at.report(
            cx,
            codes::BAD_VALUE,
            "redirect.redirectCode",
            format!("{message}; requests get 503"),
        );
        return RouteAction::Fail(no_cluster(format!("redirectCode {message}")));
    };
    let path = match (&written.uri, &written.prefix_rewrite) {
        (Some(uri), _) => RedirectPath::Full(Arc::from(uri.as_str())),
        (None, Some(replacement)) => match matched_prefix(matches) {
            Some(matched) => RedirectPath::Prefix {
                matched,
                replacement: Arc::from(replacement.as_str()),
            },
            None => RedirectPath::Full(Arc::from(replacement.as_str())),
        },
        (None, None) => RedirectPath::Keep,
    };
    let port = match (written.port.and_then(Port::new), written.derive_port) {
        (Some(port), _) => RedirectPort::Number(port),
        (None, Some(RedirectPortSelection::FromProtocolDefault)) => RedirectPort::ProtocolDefault,
        (None, Some(RedirectPortSelection::FromRequestPort)) => RedirectPort::RequestPort,
        (None, None) => RedirectPort::Keep,
    };
    RouteAction::Redirect(Redirect {
        status,
        scheme: written.scheme.as_deref().map(Arc::from),
        authority: written.authority.as_deref().map(Arc::from),
        port,
        path,
    })
}

/// Copies sent elsewhere; one whose destination is not there is left out and reported.
pub(super) fn mirrors(cx: &mut Context<'_>, at: &RouteAt<'_>) -> Vec<Mirror> {
    let route = &*at.route;
    let single = route
        .mirror_percentage
        .map(share)
        .or_else(|| route.mirror_percent.map(whole))
        .unwrap_or(PartsPerMillion::ALL);
    let mut wanted: Vec<(&Destination, PartsPerMillion, String)> = Vec::new();
    if let Some(destination) = &route.mirror {
        wanted.push((destination, single, "mirror".to_owned()));
    }
    for (index, one) in route.mirrors.iter().enumerate() {
        let share = one.percentage.map_or(PartsPerMillion::ALL, share);
        let field = format!("mirrors[{index}].destination");
        wanted.push((&one.destination, share, field));
    }
    let mut mirrors = Vec::new();
    for (destination, share, field) in wanted {
        if share == PartsPerMillion::ZERO {
            continue;
        }
        let field = format!("{}.{field}", at.field);
        let place = Place {
            object: &at.object.key,
            field: &field,
            called: Some(at.via.port),
            otherwise: "no copy is sent",
        };
        match target(cx, destination, place) {
            target @ Target::Cluster(_) => mirrors.push(Mirror { target, share }),
            Target::Fail(_) => {}
        }
    }
    mirrors
}
