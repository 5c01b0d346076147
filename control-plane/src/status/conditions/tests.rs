//! Statements from findings and counts, as tables.

use super::super::tally::{Lag, Straggler};
use super::*;
use crate::compile::diagnostics::{Code, codes};
use crate::crd::Kind;
use crate::meta::ObjectKey;
use crate::source::Origin;

fn finding(code: Code, field: &str, message: &str) -> Diagnostic {
    let object = ObjectKey::new(Kind::VirtualService, "shop", "backend");
    Diagnostic::new(code, &object, field, message)
}

fn problem(severity: Severity, message: &str) -> Report {
    Report {
        severity,
        origin: Origin {
            place: "VirtualService shop/backend".into(),
            position: None,
        },
        object: None,
        field: Some("spec.http[0]".to_owned()),
        message: message.to_owned(),
        hint: None,
    }
}

fn of(findings: &[Diagnostic], reports: &[Report], tally: &Tally) -> [Statement; 3] {
    let findings: Vec<&Diagnostic> = findings.iter().collect();
    statements(Facts {
        findings: &findings,
        reports,
        readable: true,
        tally,
    })
}

fn say(statement: &Statement) -> (Truth, &str, &str) {
    (statement.holds, statement.reason, &statement.message)
}

fn applied(applied: u32, concerned: u32) -> Tally {
    Tally {
        concerned,
        applied,
        ..Tally::default()
    }
}

#[test]
fn an_object_without_findings_is_accepted_and_resolved() {
    let [accepted, resolved, programmed] = of(&[], &[], &applied(4, 4));
    assert_eq!(say(&accepted), (Truth::True, "Accepted", "accepted"));
    assert_eq!(say(&resolved).0, Truth::True);
    assert_eq!(
        say(&programmed),
        (Truth::True, "Programmed", "applied by 4 of 4 proxies")
    );
}

#[test]
fn programmed_says_who_is_waited_for() {
    let late = |count: usize| -> Tally {
        let mut tally = applied(1, 1);
        for index in 0..count {
            tally.wait_for(
                format!("shop/v1-{index}"),
                "connected, no acknowledgement".to_owned(),
            );
        }
        tally
    };
    let rows = [
        (
            Tally::default(),
            Truth::Unknown,
            "NoProxies",
            "no connected proxy is concerned",
        ),
        (
            late(1),
            Truth::False,
            "Pending",
            "applied by 1 of 2 proxies; waiting for shop/v1-0 (connected, no acknowledgement)",
        ),
        (
            late(7),
            Truth::False,
            "Pending",
            "applied by 1 of 8 proxies; waiting for shop/v1-0 (connected, no acknowledgement), \
             shop/v1-1 (connected, no acknowledgement), shop/v1-2 (connected, no \
             acknowledgement), shop/v1-3 (connected, no acknowledgement), shop/v1-4 (connected, \
             no acknowledgement) and 2 more",
        ),
    ];
    for (tally, holds, reason, message) in rows {
        let [_, _, programmed] = of(&[], &[], &tally);
        assert_eq!(say(&programmed), (holds, reason, message));
    }
    let nobody = finding(
        codes::GATEWAY_WITHOUT_WORKLOAD,
        "spec.selector",
        "no workload carries these labels",
    );
    let [_, _, programmed] = of(&[nobody], &[], &Tally::default());
    assert_eq!(
        programmed.message,
        "no connected proxy is concerned: MESH0403 spec.selector: no workload carries these labels"
    );
}

fn refusing(applied: u32, refusals: u32, late: u32) -> Tally {
    let straggler = |lag, index| Straggler {
        lag,
        proxy: format!("shop/v1-{index}"),
        why: "routes/80/a at rules[0]".to_owned(),
    };
    Tally {
        concerned: applied + refusals + late,
        applied,
        refusals,
        late,
        waiting: (0..refusals)
            .map(|index| straggler(Lag::Refused, index))
            .chain((0..late).map(|index| straggler(Lag::Late, index)))
            .take(1)
            .collect(),
        ..Tally::default()
    }
}

#[test]
fn one_proxy_alone_turns_no_object() {
    let [_, _, programmed] = of(&[], &[], &refusing(11, 1, 0));
    assert_eq!(
        say(&programmed),
        (
            Truth::True,
            "Programmed",
            "applied by 11 of 12 proxies; refused by shop/v1-0 (routes/80/a at rules[0])"
        )
    );
    let rows = [
        // Applied, refused, late.
        ((1, 1, 0), Truth::True, "Programmed"),
        ((11, 0, 1), Truth::True, "Programmed"),
        ((1, 0, 1), Truth::True, "Programmed"),
        ((5, 6, 0), Truth::False, "Rejected"),
        ((6, 6, 0), Truth::True, "Programmed"),
        ((0, 2, 0), Truth::False, "Rejected"),
        ((75, 0, 25), Truth::True, "Programmed"),
        ((74, 0, 26), Truth::False, "Pending"),
        // Nobody else to go by.
        ((0, 1, 0), Truth::Unknown, "Rejected"),
        ((0, 0, 1), Truth::Unknown, "Pending"),
    ];
    for ((applied, refusals, late), holds, reason) in rows {
        let [_, _, programmed] = of(&[], &[], &refusing(applied, refusals, late));
        assert_eq!(
            (programmed.holds, programmed.reason),
            (holds, reason),
            "{applied} applied, {refusals} refused, {late} late"
        );
    }
}

#[test]
fn findings_speak_to_the_condition_they_belong_to() {
    let rows = [
        (
            codes::UNKNOWN_SERVICE,
            (Truth::True, "Accepted"),
            (Truth::False, "DestinationNotFound"),
        ),
        (
            codes::UNKNOWN_SUBSET,
            (Truth::True, "Accepted"),
            (Truth::False, "SubsetNotFound"),
        ),
        (
            codes::UNKNOWN_GATEWAY,
            (Truth::True, "Accepted"),
            (Truth::False, "GatewayNotFound"),
        ),
        (
            codes::BAD_VALUE,
            (Truth::False, "Invalid"),
            (Truth::True, "ResolvedRefs"),
        ),
        (
            codes::SHADOWED,
            (Truth::False, "Conflict"),
            (Truth::True, "ResolvedRefs"),
        ),
        (
            codes::TLS_NOT_ENFORCEABLE,
            (Truth::False, "NotEnforceable"),
            (Truth::True, "ResolvedRefs"),
        ),
        (
            codes::MERGED,
            (Truth::True, "Accepted"),
            (Truth::True, "ResolvedRefs"),
        ),
    ];
    for (code, accepts, resolves) in rows {
        let [accepted, resolved, _] =
            of(&[finding(code, "spec", "what it is")], &[], &applied(1, 1));
        assert_eq!((accepted.holds, accepted.reason), accepts, "{code}");
        assert_eq!((resolved.holds, resolved.reason), resolves, "{code}");
        let told = format!("{}{}", accepted.message, resolved.message);
        assert!(
            told.contains("what it is") && told.contains(code.as_str()),
            "{told}"
        );
    }
}

#[test]
fn the_loser_of_a_conflict_hears_who_won() {
    let lost = finding(
        codes::DUPLICATE_SUBSET,
        "spec.subsets[0]",
        "DestinationRule shop/a has v1",
    );
    let [accepted, ..] = of(&[lost], &[], &applied(1, 1));
    assert_eq!(
        say(&accepted),
        (
            Truth::False,
            "Conflict",
            "MESH0201 spec.subsets[0]: DestinationRule shop/a has v1"
        )
    );
}

#[test]
fn what_is_invalid_weighs_more_than_what_lost() {
    let both = [
        finding(codes::SHADOWED, "", "lost"),
        finding(codes::BAD_VALUE, "", "wrong"),
    ];
    let [accepted, ..] = of(&both, &[], &applied(1, 1));
    assert_eq!(accepted.reason, "Invalid");
}

#[test]
fn settings_not_acted_on_are_named() {
    let ignored = [
        finding(
            codes::NOT_ACTED_ON,
            "spec.http[0].match[0].statPrefix",
            "no statistics",
        ),
        finding(codes::NOT_ACTED_ON, "spec.http[1].retries", "any endpoint"),
    ];
    let alias = [problem(Severity::Warning, "an older name")];
    let [accepted, _, programmed] = of(&ignored, &alias, &applied(1, 1));
    assert_eq!(
        say(&accepted),
        (
            Truth::True,
            "Accepted",
            "accepted with 2 settings not acted on: MESH0901 spec.http[0].match[0].statPrefix: no \
             statistics | MESH0901 spec.http[1].retries: any endpoint; to note: spec.http[0]: an \
             older name"
        )
    );
    assert_eq!(programmed.holds, Truth::True);
}

#[test]
fn an_object_nothing_acts_on_is_not_said_to_be_applied() {
    let whole = [finding(
        codes::NOT_ACTED_ON,
        "spec",
        "accepted, not acted on yet",
    )];
    let [_, _, programmed] = of(&whole, &[], &applied(3, 3));
    assert_eq!(
        (programmed.holds, programmed.reason),
        (Truth::False, "NotSupported")
    );
}

#[test]
fn a_former_form_in_effect_is_not_the_newest_programmed() {
    let held = [finding(
        codes::HELD_BACK,
        "spec",
        "its former form stays in effect",
    )];
    let [_, resolved, programmed] = of(&held, &[], &applied(3, 3));
    assert_eq!(
        (resolved.holds, resolved.reason),
        (Truth::False, "HeldBack")
    );
    assert_eq!(
        (programmed.holds, programmed.reason),
        (Truth::False, "HeldBack")
    );
}

#[test]
fn what_cannot_be_read_is_neither_accepted_nor_programmed() {
    let wrong = [problem(Severity::Error, "unknown field \"wieght\"")];
    let [accepted, _, programmed] = of(&[], &wrong, &applied(3, 3));
    assert_eq!((accepted.holds, accepted.reason), (Truth::False, "Invalid"));
    assert!(accepted.message.contains("wieght"), "{}", accepted.message);
    assert!(
        accepted
            .message
            .ends_with("the former form stays in effect")
    );
    assert_eq!(
        (programmed.holds, programmed.reason),
        (Truth::False, "Invalid")
    );
}

#[test]
fn a_transition_is_a_change_of_the_status_alone() {
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let first = of(&[], &[], &applied(1, 1));
    let before = conditions(&first, Some(1), &[], at("2026-01-01T00:00:00.7Z"));
    let later = of(&[], &[], &applied(2, 2));
    let same = conditions(&later, Some(2), &before, at("2026-01-02T00:00:00Z"));
    let late = of(&[], &[], &applied(1, 2));
    let changed = conditions(&late, Some(2), &same, at("2026-01-03T00:00:00Z"));
    let programmed = |all: &[Condition]| {
        let one = all
            .iter()
            .find(|one| one.condition_type == "Programmed")
            .unwrap();
        (
            one.status.clone(),
            one.last_transition_time.clone().unwrap(),
            one.observed_generation,
        )
    };
    let row = |status: &str, time: &str, generation| {
        (status.to_owned(), time.to_owned(), Some(generation))
    };
    assert_eq!(programmed(&before), row("True", "2026-01-01T00:00:00Z", 1));
    assert_eq!(programmed(&same), row("True", "2026-01-01T00:00:00Z", 2));
    assert_eq!(
        programmed(&changed),
        row("False", "2026-01-03T00:00:00Z", 2)
    );
}

#[test]
fn messages_have_bounds() {
    let long = "ä".repeat(100_000);
    let many: Vec<Diagnostic> = (0..100)
        .map(|index| finding(codes::BAD_VALUE, &format!("spec.http[{index}]"), &long))
        .collect();
    let [accepted, ..] = of(&many, &[], &applied(1, 1));
    assert!(
        accepted.message.len() < 8 * 1024,
        "{}",
        accepted.message.len()
    );
    assert!(accepted.message.ends_with("and 95 more"));
}
