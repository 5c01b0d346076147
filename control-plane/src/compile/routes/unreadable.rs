//! Matches that cannot be read, because they are wrong, ask for what is not done yet, or have an
//! expression there is no room for.
//!
//! Such a match was written so that what follows it does not get the requests it is for. It is
//! therefore never left out: requests that may be meant by it are refused in its place.

use mesh_api::route::{HeaderEdits, RequestMatch, RouteAction, Rule};

use super::matches::{BadMatch, request_match};
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
    bad: Vec<BadMatch>,
}

/// Faults of one route that are reported one by one; of the rest the last is, with their number.
const SHOWN: usize = 3;

impl<'a> Taken<'a> {
    /// Reads the match of this index.
    pub(super) fn read(
        cx: &mut Context<'_>,
        at: &RouteAt<'_>,
        index: usize,
        written: &'a HttpMatchRequest,
    ) -> Self {
        let object = &at.object.key;
        let mut compile = |text: &str| cx.expressions.pattern(object, true, text);
        let read = request_match(written, &mut compile);
        let mut bad = read.bad;
        for one in &mut bad {
            one.field = format!("match[{index}].{}", one.field);
        }
        let unreadable = bad.first().map(|one| {
            let (route, field) = (&at.field, &one.field);
            format!("{object} {route}.{field} cannot be used; see its status")
        });
        Self {
            written,
            conditions: read.conditions,
            unreadable,
            bad,
        }
    }
}

/// Reports what is wrong with the matches of a route.
pub(super) fn report(cx: &mut Context<'_>, at: &RouteAt<'_>, all: &[Taken<'_>]) {
    let bad: Vec<&BadMatch> = all.iter().flat_map(|one| &one.bad).collect();
    let unsaid = bad.len().saturating_sub(SHOWN + 1);
    let last = bad.len().saturating_sub(1);
    for (number, one) in bad.iter().enumerate() {
        if number >= SHOWN && number < last {
            continue;
        }
        let more = if number == last && unsaid > 0 {
            format!("; so are {unsaid} more before it")
        } else {
            String::new()
        };
        let message = format!(
            "{}; requests that may be meant by it get 503, so that no other route takes them{more}",
            one.message
        );
        at.report(cx, one.code, &one.field, message);
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
