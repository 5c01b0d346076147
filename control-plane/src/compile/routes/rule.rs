//! One `HTTPRoute` into rules.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mesh_api::name::ClusterName;
use mesh_api::route::{
    Destination, Destinations, DirectResponse, Forward, Pattern, RequestMatch, RouteAction, Rule,
    Target,
};

use super::matches::{off_the_root, request_match};
use super::statics::{Statics, Via};
use super::unreadable::{self, Taken};
use super::{delegate, filters, headers, retry};
use crate::compile::context::Context;
use crate::compile::destination::{Place, no_cluster, target};
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::compile::expressions::Unusable;
use crate::compile::not_acted_on::{self, Feature};
use crate::crd::object::Resource;
use crate::crd::virtual_service::{HttpMatchRequest, HttpRoute, VirtualServiceSpec};

/// A rule and where it is written.
#[derive(Debug)]
pub(super) struct RuleOf {
    pub(super) rule: Rule,
    pub(super) field: String,
    /// For which clients it takes every request.
    pub(super) takes_all_of: Vec<Statics>,
    /// Whether it refuses what may be meant by a match that cannot be read. Nothing may come before
    /// it that did not come before that match.
    pub(super) unreadable: bool,
}

impl RuleOf {
    /// Takes the catch-all matches apart from the others, so that only they move to the end.
    pub(super) fn split_catch_all(self) -> (Option<Self>, Self) {
        let (catch_all, specific): (Vec<_>, Vec<_>) = self
            .rule
            .matches
            .iter()
            .cloned()
            .partition(RequestMatch::is_catch_all);
        let with = |matches| Self {
            rule: Rule {
                matches,
                ..self.rule.clone()
            },
            field: self.field.clone(),
            takes_all_of: self.takes_all_of.clone(),
            unreadable: self.unreadable,
        };
        let first = (!specific.is_empty()).then(|| with(specific));
        (first, with(catch_all))
    }
}

/// The route being compiled.
pub(super) struct RouteAt<'a> {
    /// The object it is written in.
    pub(super) object: &'a Resource<VirtualServiceSpec>,
    /// The object that has the host and the gateways; another one where the route is delegated.
    pub(super) root: &'a Resource<VirtualServiceSpec>,
    pub(super) route: Cow<'a, HttpRoute>,
    pub(super) field: String,
    pub(super) via: &'a Via<'a>,
}

impl RouteAt<'_> {
    /// For which clients the route is, match by match, and whether it takes all their requests.
    fn clients(&self) -> Vec<(bool, Statics)> {
        if self.route.matches.is_empty() {
            return vec![(true, Statics::of_all(self.root))];
        }
        let matches = self.route.matches.iter();
        let takes_all = |one: &HttpMatchRequest| {
            // Only one expression takes everything, and none has to be compiled to know that.
            let mut any = |text: &str| match text {
                ".*" => Pattern::checked(true, text).or(Err(Unusable::not_compiled())),
                _ => Err(Unusable::not_compiled()),
            };
            let read = request_match(one, &mut any);
            read.bad.is_empty() && read.conditions.is_catch_all()
        };
        matches
            .map(|one| (takes_all(one), Statics::of(self.root, one)))
            .collect()
    }

    /// Says that something about a field of this route is wrong.
    pub(super) fn report(
        &self,
        cx: &mut Context<'_>,
        code: codes::Code,
        field: &str,
        message: impl Into<String>,
    ) {
        let field = format!("{}.{field}", self.field);
        cx.report(Diagnostic::new(code, &self.object.key, field, message));
    }
}

/// The rules of a virtual service for requests that come this way. A rule for every request
/// hides those behind it; they are left out and named.
pub(super) fn rules_of(
    cx: &mut Context<'_>,
    object: &Resource<VirtualServiceSpec>,
    via: &Via<'_>,
) -> Vec<RuleOf> {
    let mut rules: Vec<RuleOf> = Vec::new();
    let mut hiders: Vec<(String, Statics)> = Vec::new();
    for (index, route) in object.spec.http.iter().enumerate() {
        let field = format!("spec.http[{index}]");
        for at in delegate::expand(cx, object, route, field, via) {
            let clients = at.clients();
            let hider_of = |one: &Statics| hiders.iter().find(|(_, hider)| hider.include(one));
            let hidden = clients.iter().all(|(_, one)| hider_of(one).is_some());
            if let (true, Some((_, first))) = (hidden, clients.first()) {
                let hider = hider_of(first).map_or("another route", |(field, _)| field.as_str());
                let message = format!("is never reached: {hider} takes every request");
                cx.report(Diagnostic::new(
                    codes::UNREACHABLE_ROUTE,
                    &at.object.key,
                    at.field,
                    message,
                ));
                continue;
            }
            let all = clients.into_iter().filter(|(takes_all, _)| *takes_all);
            hiders.extend(all.map(|(_, one)| (at.field.clone(), one)));
            // Hidden from this client alone, it is nothing to speak of.
            if !rules.iter().any(|one| one.rule.is_catch_all()) {
                let made = rules_of_route(cx, &at);
                if !made.is_empty() {
                    cx.acts(&at.root.key);
                    cx.acts(&at.object.key);
                }
                rules.extend(made);
            }
        }
    }
    rules
}

fn rules_of_route(cx: &mut Context<'_>, at: &RouteAt<'_>) -> Vec<RuleOf> {
    let route = &*at.route;
    if route.matches.is_empty() {
        if !at.via.takes_all(at.root) {
            return Vec::new();
        }
        return vec![rule(cx, at, &[], Vec::new())];
    }
    let mut taken: Vec<Taken<'_>> = Vec::new();
    for (index, written) in route.matches.iter().enumerate() {
        if !at.via.takes(cx.client, at.root, written) {
            continue;
        }
        if let Some(text) = off_the_root(written) {
            at.report(
                cx,
                codes::NEVER_MATCHES,
                &format!("match[{index}].uri"),
                format!("{text:?} matches no request: paths begin with /"),
            );
        }
        taken.push(Taken::read(cx, at, index, written));
    }
    unreadable::report(cx, at, &taken);
    if taken.is_empty() {
        return Vec::new();
    }
    if needs_own_rules(route, &taken) {
        let each = taken.into_iter().map(|one| match one.unreadable {
            Some(why) => unreadable::rule(at, vec![one.conditions], why),
            None => rule(cx, at, &[one.written], vec![one.conditions]),
        });
        return each.collect();
    }
    // What can be read leads where the rest would lead, so that it may come before.
    let (refused, readable): (Vec<_>, Vec<_>) =
        taken.into_iter().partition(|one| one.unreadable.is_some());
    let (written, matches): (Vec<_>, Vec<_>) = readable
        .into_iter()
        .map(|one| (one.written, one.conditions))
        .unzip();
    let readable = (!matches.is_empty()).then(|| rule(cx, at, &written, matches));
    readable
        .into_iter()
        .chain(unreadable::rule_of_all(at, refused))
        .collect()
}

/// Whether the matches of a route must become rules of their own: because they have names, or
/// because what is done depends on how the path was matched.
fn needs_own_rules(route: &HttpRoute, taken: &[Taken<'_>]) -> bool {
    let named = taken.iter().any(|one| one.written.name.is_some());
    let rewrites = route
        .rewrite
        .as_ref()
        .is_some_and(|rewrite| rewrite.uri.is_some());
    let redirects = route
        .redirect
        .as_ref()
        .is_some_and(|redirect| redirect.prefix_rewrite.is_some());
    taken.len() > 1 && (named || rewrites || redirects)
}

fn rule(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    written: &[&HttpMatchRequest],
    matches: Vec<RequestMatch>,
) -> RuleOf {
    let edits = headers::edits(cx, at, at.route.headers.as_ref(), "headers");
    let action = action(cx, at, written, &edits);
    RuleOf {
        rule: Rule {
            name: name(&at.route, written),
            matches,
            fault: filters::fault(cx, at),
            cors: filters::cors(cx, at),
            headers: edits.edits,
            action,
        },
        field: at.field.clone(),
        takes_all_of: at
            .clients()
            .into_iter()
            .filter_map(|(takes_all, one)| takes_all.then_some(one))
            .collect(),
        unreadable: false,
    }
}

/// `ROUTE.MATCH`, as far as there are names.
pub(super) fn name(route: &HttpRoute, written: &[&HttpMatchRequest]) -> Arc<str> {
    let route_name = route.name.as_deref().unwrap_or_default();
    let match_name = match written {
        [one] => one.name.as_deref(),
        _ => None,
    };
    match match_name {
        Some(name) if route_name.is_empty() => Arc::from(name),
        Some(name) => Arc::from(format!("{route_name}.{name}")),
        None => Arc::from(route_name),
    }
}

fn action(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    written: &[&HttpMatchRequest],
    edits: &headers::Edits,
) -> RouteAction {
    let route = &*at.route;
    if let Some(redirect) = &route.redirect {
        return filters::redirect(cx, at, redirect, written);
    }
    if let Some(response) = &route.direct_response {
        return respond(cx, at, response);
    }
    let (list, authority) = destinations(cx, at);
    let Some(list) = Destinations::new(list) else {
        let reason = if route.route.is_empty() {
            "the route has neither destinations, redirect nor directResponse"
        } else {
            "no destination of the route has a weight above 0"
        };
        at.report(cx, codes::NO_ACTION, "route", reason);
        let reason = format!("{reason} ({} {})", at.object.key, at.field);
        return RouteAction::Fail(no_cluster(reason));
    };
    let (retry, unknown) = retry::policy(route.retries.as_ref(), cx.world.settings());
    for token in unknown {
        at.report(
            cx,
            codes::BAD_VALUE,
            "retries.retryOn",
            format!("{token:?} is not a retry condition and is left out"),
        );
    }
    let mut rewrite = match filters::rewrite(cx, at, written) {
        Ok(rewrite) => rewrite,
        Err(why) => return RouteAction::Fail(no_cluster(why)),
    };
    // A rewrite says it most plainly; then the route's Host header, then the destination's.
    rewrite.authority = rewrite
        .authority
        .or_else(|| edits.authority.clone())
        .or(authority);
    let timeout = route
        .timeout
        .filter(|timeout| !timeout.is_zero())
        .map(Duration::from);
    RouteAction::Forward(Box::new(Forward {
        destinations: list,
        timeout,
        retry,
        rewrite,
        mirrors: filters::mirrors(cx, at),
    }))
}

/// The weighted destinations, and the Host header the only one asks for.
fn destinations(cx: &mut Context<'_>, at: &RouteAt<'_>) -> (Vec<Destination>, Option<Arc<str>>) {
    let mut list = Vec::new();
    let mut authority = None;
    for (index, one) in at.route.route.iter().enumerate() {
        let field = format!("{}.route[{index}].destination", at.field);
        let target: Target = target(
            cx,
            &one.destination,
            Place {
                object: &at.object.key,
                field: &field,
                called: Some(at.via.port),
                otherwise: "requests get 503",
            },
        );
        let place = format!("route[{index}].headers");
        let edits = headers::edits(cx, at, one.headers.as_ref(), &place);
        if edits.authority.is_some() {
            if at.route.route.len() == 1 {
                authority = edits.authority;
            } else {
                let field = format!("{}.{place}.request", at.field);
                let object = &at.object.key;
                not_acted_on::report(&mut cx.report, Feature::DestinationHost, object, &field);
            }
        }
        list.push(Destination {
            target,
            weight: one.weight,
            headers: edits.edits,
        });
    }
    report_hash_across_weights(cx, at, &list);
    (list, authority)
}

/// Weights come first: a client that is to be kept at one endpoint is kept within each
/// destination only, and moves between them from request to request.
fn report_hash_across_weights(cx: &mut Context<'_>, at: &RouteAt<'_>, list: &[Destination]) {
    let weighted = list.iter().filter(|one| one.weight > 0);
    if weighted.clone().count() < 2 {
        return;
    }
    for one in weighted {
        let Target::Cluster(ClusterName::Outbound { port, subset, host }) = &one.target else {
            continue;
        };
        let Some(service) = cx.destination(host) else {
            continue;
        };
        let rule = cx.rule(service);
        let chosen = subset.as_deref().and_then(|name| rule.subset(name));
        let policy = rule.policy(*port, chosen);
        let hashing = policy
            .load_balancer
            .filter(|block| block.value.consistent_hash.is_some());
        if let Some(block) = hashing {
            let message = format!(
                "requests are spread by weight before {} {}.consistentHash keeps a client at one \
                 endpoint; a client meets every destination",
                block.object, block.field
            );
            at.report(cx, codes::HASH_ACROSS_WEIGHTS, "route", message);
        }
    }
}

fn respond(
    cx: &mut Context<'_>,
    at: &RouteAt<'_>,
    written: &crate::crd::virtual_service::HttpDirectResponse,
) -> RouteAction {
    let Ok(status) = StatusCode::from_u16(written.status) else {
        let message = format!("{} is not an HTTP status", written.status);
        at.report(cx, codes::BAD_VALUE, "directResponse.status", &*message);
        return RouteAction::Fail(no_cluster(format!("{message} ({})", at.object.key)));
    };
    let body =
        written
            .body
            .as_ref()
            .map_or_else(Bytes::new, |body| match (&body.string, &body.bytes) {
                (Some(text), _) => Bytes::from(text.clone()),
                (None, Some(bytes)) => Bytes::from(bytes.0.clone()),
                (None, None) => Bytes::new(),
            });
    RouteAction::Respond(DirectResponse { status, body })
}
