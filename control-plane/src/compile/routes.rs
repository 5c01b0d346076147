//! HTTP rules of a host: those of all virtual services that apply to it, joined.

pub(crate) mod candidates;
pub(crate) mod connections;
mod delegate;
mod filters;
mod headers;
mod matches;
mod retry;
mod rule;
pub(crate) mod statics;
pub(crate) mod strangers;
mod unreadable;

use std::sync::Arc;

use mesh_api::route::{
    Destinations, Domain, Forward, HeaderEdits, Rewrite, RouteAction, Rule, Target,
};

pub(crate) use statics::{Via, gateways_of_matches, names_gateway};

use super::context::Context;
use super::diagnostics::{Diagnostic, codes};
use crate::model::MeshSettings;
use candidates::Candidate;
use rule::RuleOf;

/// The rules the client's requests to a host meet; `None` if no virtual service has any.
pub(crate) fn rules(cx: &mut Context<'_>, host: &Domain, via: &Via<'_>) -> Option<Vec<Arc<Rule>>> {
    let groups = cx.routing(host, via);
    let mut winner: Option<(Vec<Candidate<'_>>, Vec<Arc<Rule>>)> = None;
    for group in groups {
        if let Some((winners, _)) = &winner {
            report_shadowed(cx, host, winners, &group, via);
            continue;
        }
        let bound: Vec<_> = group.iter().map(|one| (one.clone(), *via)).collect();
        let rules = joined(cx, host, &bound);
        if !rules.is_empty() {
            winner = Some((group, rules));
        }
    }
    winner.map(|(_, rules)| rules)
}

/// The rules of several virtual services for one host, as one list: in the order given, catch-all
/// rules last. The first catch-all hides the others, whose objects are named.
pub(crate) fn joined(
    cx: &mut Context<'_>,
    host: &Domain,
    group: &[(Candidate<'_>, Via<'_>)],
) -> Vec<Arc<Rule>> {
    let mut lists: Vec<(&Candidate<'_>, Vec<RuleOf>)> = Vec::new();
    for (candidate, via) in group {
        let rules = rule::rules_of(cx, candidate.object, via);
        if !rules.is_empty() {
            lists.push((candidate, rules));
        }
    }
    let several = lists.len() > 1;
    if several {
        report_merged(cx, host, &lists);
    }
    let mut ordered = Vec::new();
    let mut catch_all: Vec<(&Candidate<'_>, RuleOf)> = Vec::new();
    for (candidate, rules) in lists {
        for one in rules {
            if several && one.rule.is_catch_all() && !one.unreadable {
                let (specific, rest) = one.split_catch_all();
                ordered.extend(specific.map(|one| Arc::new(one.rule)));
                catch_all.push((candidate, rest));
            } else {
                ordered.push(Arc::new(one.rule));
            }
        }
    }
    let mut catch_all = catch_all.into_iter();
    if let Some((first, one)) = catch_all.next() {
        ordered.push(Arc::new(one.rule));
        let hiders = one.takes_all_of;
        let hides = |hidden: &RuleOf| {
            let mut all = hidden.takes_all_of.iter();
            all.all(|one| hiders.iter().any(|hider| hider.include_clients(one)))
        };
        for (loser, hidden) in catch_all.filter(|(_, hidden)| hides(hidden)) {
            cx.report(Diagnostic::new(
                codes::UNREACHABLE_ROUTE,
                &loser.object.key,
                hidden.field,
                format!(
                    "never matches for {host}: {} comes first and has a route for every request",
                    first.object.key
                ),
            ));
        }
    }
    ordered
}

fn report_merged(cx: &mut Context<'_>, host: &Domain, lists: &[(&Candidate<'_>, Vec<RuleOf>)]) {
    for (candidate, _) in lists {
        let others: Vec<String> = lists
            .iter()
            .filter(|(other, _)| other.object.key != candidate.object.key)
            .map(|(other, _)| other.object.key.to_string())
            .collect();
        cx.report(Diagnostic::new(
            codes::MERGED,
            &candidate.object.key,
            "spec.hosts",
            format!(
                "{host} also has routes of {}; they are joined: those of the client's namespace, \
                 of the host's, of the root namespace, each the oldest first; routes for every \
                 request last",
                others.join(", ")
            ),
        ));
    }
}

fn report_shadowed(
    cx: &mut Context<'_>,
    host: &Domain,
    winners: &[Candidate<'_>],
    losers: &[Candidate<'_>],
    via: &Via<'_>,
) {
    let Some(winner) = winners.first() else {
        return;
    };
    for loser in losers {
        // A wildcard that gives way to an exact host is as it should be.
        let same_host = candidates::domains(cx.world, loser.object).contains(host);
        if same_host && via.applies_at_all(loser.object) {
            cx.report(Diagnostic::new(
                codes::SHADOWED,
                &loser.object.key,
                "spec.hosts",
                format!(
                    "has no effect for {host} in namespace {}: {} is nearer by its exportTo",
                    cx.client.namespace, winner.object.key
                ),
            ));
        }
    }
}

/// The rule of a service no virtual service speaks about: everything to the service.
pub(crate) fn default_rule(settings: &MeshSettings, target: Target) -> Arc<Rule> {
    Arc::new(Rule {
        name: Arc::from("default"),
        matches: Vec::new(),
        fault: None,
        cors: None,
        headers: HeaderEdits::default(),
        action: RouteAction::Forward(Box::new(Forward {
            destinations: Destinations::one(target),
            timeout: None,
            retry: retry::default(settings),
            rewrite: Rewrite::default(),
            mirrors: Vec::new(),
        })),
    })
}
