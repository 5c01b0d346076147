//! Delegation: a root virtual service hands a part of its host to another object.
//!
//! Each route of the delegate holds within a match of the root only: their conditions are
//! joined, and a route that wants more than the root gives is left out. What the delegate does
//! not say (timeout, retries and the like) comes from the root.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::rule::RouteAt;
use super::statics::Via;
use crate::compile::context::Context;
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::crd::Kind;
use crate::crd::StringMatch;
use crate::crd::object::Resource;
use crate::crd::virtual_service::{Delegate, HttpMatchRequest, HttpRoute, VirtualServiceSpec};
use crate::meta::ObjectKey;
use crate::model::visibility::Visibility;

/// The routes a root's route stands for: its own, or those of its delegate.
pub(super) fn expand<'w: 'a, 'a>(
    cx: &mut Context<'w>,
    root: &'a Resource<VirtualServiceSpec>,
    route: &'a HttpRoute,
    field: String,
    via: &'a Via<'a>,
) -> Vec<RouteAt<'a>> {
    let Some(delegate) = &route.delegate else {
        return vec![RouteAt {
            object: root,
            root,
            route: Cow::Borrowed(route),
            field,
            via,
        }];
    };
    let Some(object) = find(cx, root, delegate, &field) else {
        return Vec::new();
    };
    let mut routes = Vec::new();
    for (index, inner) in object.spec.http.iter().enumerate() {
        let inner_field = format!("spec.http[{index}]");
        match joined(route, inner) {
            Ok(joined) => {
                report_replaced(cx, (root, &field, route), (object, &inner_field, inner));
                routes.push(RouteAt {
                    object,
                    root,
                    route: Cow::Owned(joined),
                    field: inner_field,
                    via,
                });
            }
            Err(reason) => cx.report(Diagnostic::new(
                codes::BAD_DELEGATE,
                &object.key,
                inner_field,
                format!("is left out of {} {field}: {reason}", root.key),
            )),
        }
    }
    routes
}

/// A route, the object it is written in and its field there.
type Written<'a> = (&'a Resource<VirtualServiceSpec>, &'a str, &'a HttpRoute);

/// Names the blocks of the root that its delegate has instead: they are not joined.
fn report_replaced(
    cx: &mut Context<'_>,
    (root, field, outer): Written<'_>,
    (object, inner_field, inner): Written<'_>,
) {
    let mirrors = |route: &HttpRoute| route.mirror.is_some() || !route.mirrors.is_empty();
    let blocks = [
        (
            "headers",
            outer.headers.is_some() && inner.headers.is_some(),
        ),
        (
            "rewrite",
            outer.rewrite.is_some() && inner.rewrite.is_some(),
        ),
        ("fault", outer.fault.is_some() && inner.fault.is_some()),
        (
            "corsPolicy",
            outer.cors_policy.is_some() && inner.cors_policy.is_some(),
        ),
        ("mirrors", mirrors(outer) && mirrors(inner)),
    ];
    for (name, _) in blocks.into_iter().filter(|(_, both)| *both) {
        cx.report(
            Diagnostic::new(
                codes::REPLACED_BY_DELEGATE,
                &root.key,
                format!("{field}.{name}"),
                format!(
                    "has no effect on {inner_field} of {}, which has its own",
                    object.key
                ),
            )
            .hint("repeat there what both should do"),
        );
    }
}

fn find<'a>(
    cx: &mut Context<'a>,
    root: &Resource<VirtualServiceSpec>,
    delegate: &Delegate,
    field: &str,
) -> Option<&'a Resource<VirtualServiceSpec>> {
    let namespace = delegate.namespace.as_deref().unwrap_or(root.namespace());
    let key = ObjectKey::new(Kind::VirtualService, namespace, delegate.name.as_str());
    let found = cx.world.effective_virtual_service(&key);
    let problem = match found {
        None => "does not exist",
        Some(object) if !object.spec.hosts.is_empty() => {
            "has hosts of its own; a delegate has none"
        }
        Some(object) => {
            let visibility = Visibility::of(
                &object.spec.export_to,
                &cx.world.settings().exports.virtual_services,
                &std::sync::Arc::from(namespace),
            );
            if visibility.includes(root.namespace()) {
                return Some(object);
            }
            "is not exported to the namespace of the root"
        }
    };
    cx.report(Diagnostic::new(
        codes::BAD_DELEGATE,
        &root.key,
        format!("{field}.delegate"),
        format!("{key} {problem}; the route is left out"),
    ));
    None
}

/// The delegate's route within the root's.
fn joined(root: &HttpRoute, inner: &HttpRoute) -> Result<HttpRoute, &'static str> {
    if inner.delegate.is_some() {
        return Err("a delegate cannot delegate further");
    }
    let matches = match (root.matches.as_slice(), inner.matches.as_slice()) {
        ([], inner) => inner.to_vec(),
        (root, []) => root.to_vec(),
        (root, inner) => {
            let pairs = root
                .iter()
                .flat_map(|outer| inner.iter().filter_map(|one| joined_match(outer, one)));
            let all: Vec<_> = pairs.collect();
            if all.is_empty() {
                return Err("none of its matches lies within a match of the root");
            }
            all
        }
    };
    let mut route = inner.clone();
    route.matches = matches;
    route.name = joined_name(root.name.as_deref(), inner.name.as_deref());
    route.timeout = route.timeout.or(root.timeout);
    inherit(&mut route.retries, root.retries.as_ref());
    inherit(&mut route.fault, root.fault.as_ref());
    inherit(&mut route.rewrite, root.rewrite.as_ref());
    inherit(&mut route.cors_policy, root.cors_policy.as_ref());
    inherit(&mut route.headers, root.headers.as_ref());
    if route.mirror.is_none() && route.mirrors.is_empty() {
        route.mirror.clone_from(&root.mirror);
        route.mirrors.clone_from(&root.mirrors);
        route.mirror_percent = root.mirror_percent;
        route.mirror_percentage = root.mirror_percentage;
    }
    Ok(route)
}

fn inherit<T: Clone>(own: &mut Option<T>, root: Option<&T>) {
    if own.is_none() {
        *own = root.cloned();
    }
}

fn joined_name(root: Option<&str>, inner: Option<&str>) -> Option<String> {
    match (root, inner) {
        (Some(root), Some(inner)) => Some(format!("{root}-{inner}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

/// Both matches at once; `None` if the inner one is not part of the outer.
fn joined_match(outer: &HttpMatchRequest, inner: &HttpMatchRequest) -> Option<HttpMatchRequest> {
    let both_paths = outer.uri.is_some() && inner.uri.is_some();
    if both_paths && outer.ignore_uri_case != inner.ignore_uri_case {
        return None;
    }
    let gateways = if inner.gateways.is_empty() {
        outer.gateways.clone()
    } else if outer.gateways.is_empty()
        || inner
            .gateways
            .iter()
            .all(|one| outer.gateways.contains(one))
    {
        inner.gateways.clone()
    } else {
        return None;
    };
    Some(HttpMatchRequest {
        name: joined_name(outer.name.as_deref(), inner.name.as_deref()),
        uri: narrower(outer.uri.as_ref(), inner.uri.as_ref())?,
        scheme: narrower(outer.scheme.as_ref(), inner.scheme.as_ref())?,
        method: narrower(outer.method.as_ref(), inner.method.as_ref())?,
        authority: narrower(outer.authority.as_ref(), inner.authority.as_ref())?,
        headers: narrower_map(&outer.headers, &inner.headers)?,
        port: same(outer.port, inner.port)?,
        source_labels: union(&outer.source_labels, &inner.source_labels)?,
        gateways,
        query_params: narrower_map(&outer.query_params, &inner.query_params)?,
        ignore_uri_case: if inner.uri.is_some() {
            inner.ignore_uri_case
        } else {
            outer.ignore_uri_case
        },
        without_headers: union(&outer.without_headers, &inner.without_headers)?,
        source_namespace: same(
            outer.source_namespace.clone(),
            inner.source_namespace.clone(),
        )?,
        stat_prefix: inner
            .stat_prefix
            .clone()
            .or_else(|| outer.stat_prefix.clone()),
    })
}

/// One of two values, or the one both have; `None` if they differ.
#[expect(
    clippy::option_option,
    reason = "the outer Option is the conflict, the inner one the field"
)]
fn same<T: PartialEq>(outer: Option<T>, inner: Option<T>) -> Option<Option<T>> {
    match (outer, inner) {
        (Some(outer), Some(inner)) if outer != inner => None,
        (outer, inner) => Some(inner.or(outer)),
    }
}

/// The narrower of two comparisons; `None` if the inner one is not part of the outer.
#[expect(
    clippy::option_option,
    reason = "the outer Option is the conflict, the inner one the field"
)]
fn narrower(
    outer: Option<&StringMatch>,
    inner: Option<&StringMatch>,
) -> Option<Option<StringMatch>> {
    let (outer, inner) = match (outer, inner) {
        (Some(outer), Some(inner)) => (outer, inner),
        (one, other) => return Some(other.or(one).cloned()),
    };
    let within = match (outer, inner) {
        (StringMatch::Present, _) => true,
        (StringMatch::Exact(outer), StringMatch::Exact(inner)) => outer == inner,
        (StringMatch::Prefix(outer), StringMatch::Exact(inner) | StringMatch::Prefix(inner)) => {
            inner.starts_with(outer)
        }
        (StringMatch::Exact(_), StringMatch::Prefix(_) | StringMatch::Present)
        | (StringMatch::Prefix(_), StringMatch::Present)
        | (StringMatch::Regex(_), _)
        | (_, StringMatch::Regex(_)) => false,
    };
    within.then(|| Some(inner.clone()))
}

fn narrower_map(
    outer: &BTreeMap<String, StringMatch>,
    inner: &BTreeMap<String, StringMatch>,
) -> Option<BTreeMap<String, StringMatch>> {
    let mut joined = outer.clone();
    for (name, one) in inner {
        let narrow = narrower(outer.get(name), Some(one))?;
        joined.extend(narrow.map(|one| (name.clone(), one)));
    }
    Some(joined)
}

/// All entries of both maps; `None` if they differ about one.
fn union<T: Clone + PartialEq>(
    outer: &BTreeMap<String, T>,
    inner: &BTreeMap<String, T>,
) -> Option<BTreeMap<String, T>> {
    let mut joined = outer.clone();
    for (name, value) in inner {
        if outer.get(name).is_some_and(|other| other != value) {
            return None;
        }
        joined.insert(name.clone(), value.clone());
    }
    Some(joined)
}
