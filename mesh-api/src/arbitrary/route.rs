//! Any virtual host.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{
    cluster_name, domain, header_name, header_value, host, port, routes_name, service, share,
    status, text, time, visible,
};
use crate::header::EditableHeader;
use crate::route::filter::{AbortAnswer, HeaderEdit};
use crate::route::{
    Backoff, Cors, Destination, Destinations, DirectResponse, Failure, FailureFlag, Fault,
    FaultAbort, FaultDelay, Forward, HeaderEdits, HeaderMatch, HeaderOps, HeaderText, Matched,
    Mirror, Operator, PathMatch, Pattern, QueryMatch, Redirect, RedirectPath, RedirectPort,
    RequestMatch, RetryCondition, RetryPolicy, Rewrite, RouteAction, Rule, StringMatch, Target,
    TextPart, UnmatchedPreflights, UriRewrite, ValueMatch, VirtualHost,
};

pub(crate) fn virtual_host() -> impl Strategy<Value = VirtualHost> {
    (
        routes_name(),
        vec(domain(), 0..3),
        option::of(service()),
        vec(rule().prop_map(Arc::new), 0..3),
    )
        .prop_map(|(name, domains, service, rules)| VirtualHost {
            name,
            domains,
            service,
            rules,
        })
        .boxed()
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        text(),
        vec(request_match(), 0..3),
        option::of(fault()),
        option::of(cors()),
        edits(),
        action(),
    )
        .prop_map(|(name, matches, fault, cors, headers, action)| Rule {
            name,
            matches,
            fault,
            cors,
            headers,
            action,
        })
        .boxed()
}

fn source() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![".*", "/v[0-9]+/.*", "a|b", "(x)(y)?", "", "é+"]).boxed()
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        text().prop_map(StringMatch::Exact),
        text().prop_map(StringMatch::Prefix),
        source().prop_map(|source| StringMatch::Regex(Pattern::new(source).unwrap())),
    ]
    .boxed()
}

fn value_match() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        Just(ValueMatch::Present),
        string_match().prop_map(ValueMatch::Text),
    ]
    .boxed()
}

fn request_match() -> impl Strategy<Value = RequestMatch> {
    let header = || {
        let name = prop_oneof![
            6 => header_name().prop_map(Matched::Header),
            1 => Just(Matched::Method),
            1 => Just(Matched::Path),
            1 => Just(Matched::Scheme),
            1 => Just(Matched::Authority),
        ];
        let one = (name, value_match()).prop_map(|(name, value)| HeaderMatch { name, value });
        vec(one, 0..3)
    };
    let query = (text(), value_match()).prop_map(|(name, value)| QueryMatch { name, value });
    let path = (string_match(), any::<bool>())
        .prop_map(|(text, ignore_case)| PathMatch { text, ignore_case });
    (
        option::of(path),
        option::of(string_match()),
        option::of(string_match()),
        option::of(string_match()),
        header(),
        header(),
        vec(query, 0..3),
    )
        .prop_map(
            |(path, scheme, method, authority, headers, without_headers, query)| RequestMatch {
                path,
                scheme,
                method,
                authority,
                headers,
                without_headers,
                query,
            },
        )
        .boxed()
}

fn fault() -> impl Strategy<Value = Fault> {
    let delay = (time(), share()).prop_map(|(duration, share)| FaultDelay { duration, share });
    let answer = prop_oneof![
        status().prop_map(AbortAnswer::Http),
        (0..=16_u8).prop_map(AbortAnswer::Grpc),
    ];
    let abort = (answer, share()).prop_map(|(answer, share)| FaultAbort { answer, share });
    (option::of(delay), option::of(abort))
        .prop_map(|(delay, abort)| Fault { delay, abort })
        .boxed()
}

fn cors() -> impl Strategy<Value = Cors> {
    let unmatched = prop_oneof![
        Just(UnmatchedPreflights::Forward),
        Just(UnmatchedPreflights::Ignore),
    ];
    (
        vec(string_match(), 0..3),
        [
            vec(visible(), 0..3),
            vec(visible(), 0..3),
            vec(visible(), 0..3),
        ],
        option::of(time()),
        any::<bool>(),
        unmatched,
    )
        .prop_map(
            |(allow_origins, lists, max_age, allow_credentials, unmatched_preflights)| {
                let [allow_methods, allow_headers, expose_headers] = lists;
                Cors {
                    allow_origins,
                    allow_methods,
                    allow_headers,
                    expose_headers,
                    max_age,
                    allow_credentials,
                    unmatched_preflights,
                }
            },
        )
        .boxed()
}

fn operator() -> impl Strategy<Value = Operator> {
    prop_oneof![
        Just(Operator::DownstreamRemoteAddress),
        Just(Operator::DownstreamRemoteIp),
        Just(Operator::DownstreamLocalAddress),
        text().prop_map(Operator::RequestHeader),
        Just(Operator::Protocol),
        Just(Operator::UpstreamHost),
        Just(Operator::UpstreamCluster),
        Just(Operator::RouteName),
    ]
    .boxed()
}

fn editable() -> impl Strategy<Value = EditableHeader> {
    header_name()
        .prop_filter_map("reserved", |name| EditableHeader::parse(name.as_str()).ok())
        .boxed()
}

fn edits() -> impl Strategy<Value = HeaderEdits> {
    let part = || {
        prop_oneof![
            visible().prop_map(TextPart::Literal),
            operator().prop_map(TextPart::Operator),
        ]
    };
    let value = move || {
        prop_oneof![
            header_value().prop_map(HeaderText::Literal),
            vec(part(), 0..3).prop_map(HeaderText::Template),
        ]
    };
    let edit = move || (editable(), value()).prop_map(|(name, value)| HeaderEdit { name, value });
    let ops = move || {
        (vec(editable(), 0..2), vec(edit(), 0..2), vec(edit(), 0..2))
            .prop_map(|(remove, set, add)| HeaderOps { remove, set, add })
    };
    (ops(), ops())
        .prop_map(|(request, response)| HeaderEdits { request, response })
        .boxed()
}

fn action() -> impl Strategy<Value = RouteAction> {
    prop_oneof![
        4 => forward().prop_map(|forward| RouteAction::Forward(Box::new(forward))),
        1 => redirect().prop_map(RouteAction::Redirect),
        1 => response().prop_map(RouteAction::Respond),
        1 => failure().prop_map(RouteAction::Fail),
    ]
    .boxed()
}

fn forward() -> impl Strategy<Value = Forward> {
    let mirror = (target(), share()).prop_map(|(target, share)| Mirror { target, share });
    (
        destinations(),
        option::of(time()),
        retry(),
        rewrite(),
        vec(mirror, 0..2),
    )
        .prop_map(|(destinations, timeout, retry, rewrite, mirrors)| Forward {
            destinations,
            timeout,
            retry,
            rewrite,
            mirrors,
        })
        .boxed()
}

pub(super) fn destinations() -> impl Strategy<Value = Destinations> {
    let one = (target(), any::<u32>(), edits()).prop_map(|(target, weight, headers)| Destination {
        target,
        weight,
        headers,
    });
    vec(one, 1..4)
        .prop_map(|mut list| {
            if let Some(first) = list.first_mut() {
                first.weight = first.weight.max(1);
            }
            Destinations::new(list).unwrap()
        })
        .boxed()
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        3 => cluster_name().prop_map(Target::Cluster),
        1 => failure().prop_map(Target::Fail),
    ]
    .boxed()
}

fn failure() -> impl Strategy<Value = Failure> {
    let flag = prop_oneof![
        Just(FailureFlag::NoCluster),
        Just(FailureFlag::NoRoute),
        Just(FailureFlag::NotEnforceable),
    ];
    (status(), flag, text())
        .prop_map(|(status, flag, reason)| Failure {
            status,
            flag,
            reason,
        })
        .boxed()
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    let conditions = RetryCondition::ALL.map(|(condition, _)| condition).to_vec();
    (
        any::<u32>(),
        option::of(time()),
        vec(prop::sample::select(conditions), 0..6),
        vec(100..1000_u16, 0..3),
        vec(header_name(), 0..3),
        (time(), time()).prop_map(|(base, max)| Backoff { base, max }),
        any::<(bool, bool)>(),
    )
        .prop_map(
            |(attempts, per_try_timeout, on, statuses, headers, backoff, flags)| {
                let (ignore_previous_hosts, remote_localities) = flags;
                RetryPolicy {
                    attempts,
                    per_try_timeout,
                    on: on.into_iter().collect(),
                    statuses,
                    headers,
                    backoff,
                    ignore_previous_hosts,
                    remote_localities,
                }
            },
        )
        .boxed()
}

/// Text a path may be made of.
fn path_text() -> impl Strategy<Value = Arc<str>> {
    "[!-~&&[^?#]]{0,10}".prop_map(Arc::from).boxed()
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    let uri = prop_oneof![
        Just(UriRewrite::Keep),
        (vec(text(), 0..3), path_text()).prop_map(|(prefixes, replacement)| UriRewrite::Prefix {
            prefixes,
            replacement,
        }),
        path_text().prop_map(UriRewrite::Full),
        (source(), path_text()).prop_map(|(source, substitution)| UriRewrite::Regex {
            pattern: Pattern::unanchored(source).unwrap(),
            substitution,
        }),
    ];
    (uri, option::of(host()))
        .prop_map(|(uri, authority)| Rewrite { uri, authority })
        .boxed()
}

fn redirect() -> impl Strategy<Value = Redirect> {
    let port = prop_oneof![
        Just(RedirectPort::Keep),
        port().prop_map(RedirectPort::Number),
        Just(RedirectPort::ProtocolDefault),
        Just(RedirectPort::RequestPort),
    ];
    let path = prop_oneof![
        Just(RedirectPath::Keep),
        text().prop_map(RedirectPath::Full),
        (text(), text()).prop_map(|(matched, replacement)| RedirectPath::Prefix {
            matched,
            replacement,
        }),
    ];
    let status = prop::sample::select(vec![301_u16, 302, 303, 307, 308]);
    (status, option::of(text()), option::of(text()), port, path)
        .prop_map(|(status, scheme, authority, port, path)| Redirect {
            status: StatusCode::from_u16(status).unwrap(),
            scheme,
            authority,
            port,
            path,
        })
        .boxed()
}

pub(super) fn response() -> impl Strategy<Value = DirectResponse> {
    (status(), vec(any::<u8>(), 0..20))
        .prop_map(|(status, body)| DirectResponse {
            status,
            body: Bytes::from(body),
        })
        .boxed()
}
