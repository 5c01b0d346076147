//! Statements from findings and counts, as tables.

use super::super::tally::Straggler;
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

fn say(statement: &Statement) -> (bool, &str, &str) {
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
    assert_eq!(say(&accepted), (true, "Accepted", "accepted"));
    assert!(say(&resolved).0);
    assert_eq!(
        say(&programmed),
        (true, "Programmed", "applied by 4 of 4 proxies")
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
            true,
            "NoProxies",
            "no connected proxy is concerned",
        ),
        (
            late(1),
            false,
            "Pending",
            "applied by 1 of 2 proxies; waiting for shop/v1-0 (connected, no acknowledgement)",
        ),
        (
            late(7),
            false,
            "Pending",
            "applied by 1 of 8 proxies; waiting for shop/v1-0 (connected, no acknowledgement), \
             shop/v1-1 (connected, no acknowledgement), shop/v1-2 (connected, no \
             acknowledgement), shop/v1-3 (connected, no acknowledgement), shop/v1-4 (connected, \
             no acknowledgement) and 2 more",
        ),
        (
            Tally {
                refusals: 1,
                waiting: vec![Straggler {
                    patient: false,
                    proxy: "shop/v1-0".to_owned(),
                    why: "refused routes/80/a: rules[0]: too long".to_owned(),
                }],
                ..applied(1, 2)
            },
            false,
            "Rejected",
            "applied by 1 of 2 proxies; shop/v1-0 (refused routes/80/a: rules[0]: too long)",
        ),
    ];
    for (tally, holds, reason, message) in rows {
        let [_, _, programmed] = of(&[], &[], &tally);
        assert_eq!(say(&programmed), (holds, reason, message));
    }
}

#[test]
fn findings_speak_to_the_condition_they_belong_to() {
    let rows = [
        (
            codes::UNKNOWN_SERVICE,
            (true, "Accepted"),
            (false, "DestinationNotFound"),
        ),
        (
            codes::UNKNOWN_SUBSET,
            (true, "Accepted"),
            (false, "SubsetNotFound"),
        ),
        (
            codes::UNKNOWN_GATEWAY,
            (true, "Accepted"),
            (false, "GatewayNotFound"),
        ),
        (codes::BAD_VALUE, (false, "Invalid"), (true, "ResolvedRefs")),
        (codes::SHADOWED, (false, "Conflict"), (true, "ResolvedRefs")),
        (
            codes::TLS_NOT_ENFORCEABLE,
            (false, "NotEnforceable"),
            (true, "ResolvedRefs"),
        ),
        (codes::MERGED, (true, "Accepted"), (true, "ResolvedRefs")),
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
            false,
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
            true,
            "Accepted",
            "accepted with 2 settings not acted on: MESH0901 spec.http[0].match[0].statPrefix: no \
             statistics | MESH0901 spec.http[1].retries: any endpoint; to note: spec.http[0]: an \
             older name"
        )
    );
    assert!(programmed.holds);
}

#[test]
fn an_object_nothing_acts_on_is_not_said_to_be_applied() {
    let whole = [finding(
        codes::NOT_ACTED_ON,
        "spec",
        "accepted, not acted on yet",
    )];
    let [_, _, programmed] = of(&whole, &[], &applied(3, 3));
    assert_eq!((programmed.holds, programmed.reason), (true, "NoProxies"));
}

#[test]
fn a_former_form_in_effect_is_not_the_newest_programmed() {
    let held = [finding(
        codes::HELD_BACK,
        "spec",
        "its former form stays in effect",
    )];
    let [_, resolved, programmed] = of(&held, &[], &applied(3, 3));
    assert_eq!((resolved.holds, resolved.reason), (false, "HeldBack"));
    assert_eq!((programmed.holds, programmed.reason), (false, "HeldBack"));
}

#[test]
fn what_cannot_be_read_is_neither_accepted_nor_programmed() {
    let wrong = [problem(Severity::Error, "unknown field \"wieght\"")];
    let [accepted, _, programmed] = of(&[], &wrong, &applied(3, 3));
    assert_eq!((accepted.holds, accepted.reason), (false, "Invalid"));
    assert!(accepted.message.contains("wieght"), "{}", accepted.message);
    assert!(
        accepted
            .message
            .ends_with("the former form stays in effect")
    );
    assert_eq!((programmed.holds, programmed.reason), (false, "Invalid"));
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
