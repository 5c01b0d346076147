//! Matches that cannot be read, because they are wrong, ask for what is not done yet, or have an
//! expression there is no room for.
//!
//! Such a match was written so that what follows it does not get the requests it is for. It is
//! therefore never left out: requests that may be meant by it are refused in its place.

use mesh_api::route::{HeaderEdits, RequestMatch, RouteAction, Rule};

use super::matches::request_match;
use super::rule::{RouteAt, RuleOf, name};
use crate::compile::context::Context;
use crate::compile::destination::no_cluster;
use crate::crd::virtual_service::HttpMatchRequest;

/// A match that is for this client.
pub(super) struct Taken<'a> {
    pub(super) written: &'a HttpMatchRequest,
    /// What it asks for; more than it takes, if it cannot be read.
    pub(super) conditions: RequestMatch,
    /// Why it cannot be read.
    pub(super) unreadable: Option<String>,
}

impl<'a> Taken<'a> {
    /// Reads the match of this index, and reports what is wrong with it.
    pub(super) fn read(
        cx: &mut Context<'_>,
        at: &RouteAt<'_>,
        index: usize,
        written: &'a HttpMatchRequest,
    ) -> Self {
        let object = &at.object.key;
        let mut compile = |text: &str| cx.expressions.pattern(object, true, text);
        let read = request_match(written, &mut compile);
        let mut unreadable = None;
        for bad in read.bad {
            let field = format!("match[{index}].{}", bad.field);
            unreadable.get_or_insert_with(|| {
                format!(
                    "{object} {}.{field} cannot be used; see its status",
                    at.field
                )
            });
            let message = format!(
                "{}; requests that may be meant by it get 503, so that no other route takes them",
                bad.message
            );
            at.report(cx, bad.code, &field, message);
        }
        Self {
            written,
            conditions: read.conditions,
            unreadable,
        }
    }
}

/// The rule in the place of matches of one route; `None` where there is none.
pub(super) fn rule_of_all(at: &RouteAt<'_>, all: Vec<Taken<'_>>) -> Option<RuleOf> {
    let why = all.iter().find_map(|one| one.unreadable.clone())?;
    let mut matches: Vec<RequestMatch> = all.into_iter().map(|one| one.conditions).collect();
    // Many may have nothing left that can be read.
    if let Some(all) = matches.iter().position(RequestMatch::is_catch_all) {
        matches = vec![matches.swap_remove(all)];
    }
    matches.dedup();
    Some(rule(at, matches, why))
}

/// The rule that refuses what these matches take.
pub(super) fn rule(at: &RouteAt<'_>, matches: Vec<RequestMatch>, why: String) -> RuleOf {
    RuleOf {
        rule: Rule {
            name: name(&at.route, &[]),
            matches,
            fault: None,
            cors: None,
            headers: HeaderEdits::default(),
            action: RouteAction::Fail(no_cluster(why)),
        },
        field: at.field.clone(),
        takes_all_of: Vec::new(),
        unreadable: true,
    }
}
