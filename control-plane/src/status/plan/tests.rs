//! When a difference is written, and when it is left alone.

use super::*;
use crate::crd::Kind;
use crate::status::conditions::conditions;

fn statement(about: &'static str, holds: bool, reason: &'static str, message: &str) -> Statement {
    Statement {
        about,
        holds: holds.into(),
        reason,
        message: message.to_owned(),
    }
}

fn wanted(generation: i64, programmed: (bool, &'static str, &str)) -> Wanted {
    let (holds, reason, message) = programmed;
    Wanted {
        generation: Some(generation),
        revision: generation.unsigned_abs(),
        statements: [
            statement("Accepted", true, "Accepted", "accepted"),
            statement("ResolvedRefs", true, "ResolvedRefs", "everything"),
            statement("Programmed", holds, reason, message),
        ],
    }
}

fn saying(wanted: &Wanted) -> Said {
    let now = jiff::Timestamp::UNIX_EPOCH;
    Said {
        uid: None,
        conditions: conditions(&wanted.statements, wanted.generation, &[], now),
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::VirtualService, "shop", name)
}

const ALL: (bool, &str, &str) = (true, "Programmed", "applied by 4 of 4 proxies");
const MORE: (bool, &str, &str) = (true, "Programmed", "applied by 5 of 5 proxies");
const LATE: (bool, &str, &str) = (false, "Pending", "applied by 3 of 4 proxies; waiting for a");
const LATER: (bool, &str, &str) = (
    false,
    "Pending",
    "applied by 2 of 4 proxies; waiting for a, b",
);
const REFUSED: (bool, &str, &str) = (false, "Rejected", "applied by 3 of 4 proxies; a (refused)");

#[test]
fn how_long_a_difference_may_stand() {
    let rows = [
        (
            "nothing was ever said",
            None,
            wanted(1, ALL),
            Some(Duration::ZERO),
        ),
        (
            "nothing was said, and proxies may have it soon",
            None,
            wanted(1, LATE),
            Some(ACKNOWLEDGED_SOON),
        ),
        ("the same", Some(wanted(1, ALL)), wanted(1, ALL), None),
        (
            "a new generation",
            Some(wanted(1, ALL)),
            wanted(2, ALL),
            Some(Duration::ZERO),
        ),
        (
            "a new generation on its way",
            Some(wanted(1, ALL)),
            wanted(2, LATE),
            Some(ACKNOWLEDGED_SOON),
        ),
        (
            "another number of proxies",
            Some(wanted(1, ALL)),
            wanted(1, MORE),
            Some(GOOD_NEWS),
        ),
        (
            "doubt about what was applied",
            Some(wanted(1, ALL)),
            wanted(1, LATE),
            Some(DOUBT),
        ),
        (
            "another proxy is late",
            Some(wanted(1, LATE)),
            wanted(1, LATER),
            Some(BAD_NEWS),
        ),
        (
            "it was refused",
            Some(wanted(1, LATE)),
            wanted(1, REFUSED),
            Some(BAD_NEWS),
        ),
        (
            "the last one has it",
            Some(wanted(1, LATE)),
            wanted(1, ALL),
            Some(Duration::ZERO),
        ),
        (
            "a look at an older generation",
            Some(wanted(2, ALL)),
            wanted(1, LATE),
            None,
        ),
    ];
    for (what, before, now, expected) in rows {
        let before = before.as_ref().map(saying);
        assert_eq!(patience(&now, before.as_ref()), expected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flapping_proxy_causes_no_write() {
    let said = BTreeMap::from([(key("a"), saying(&wanted(1, ALL)))]);
    let mut plan = Plan::default();
    for round in 0..100 {
        let now_wanted = if round % 2 == 0 { LATE } else { ALL };
        let wanted = BTreeMap::from([(key("a"), wanted(1, now_wanted))]);
        assert_eq!(plan.due(&wanted, &said, Instant::now()).keys, []);
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_never_settles_is_written_once_in_a_while() {
    let said = BTreeMap::from([(key("a"), saying(&wanted(1, ALL)))]);
    let mut plan = Plan::default();
    let mut writes = 0;
    for round in 0..200 {
        let message = format!("applied by {round} of {round} proxies");
        let wanted = BTreeMap::from([(key("a"), wanted(1, (true, "Programmed", &message)))]);
        writes += plan.due(&wanted, &said, Instant::now()).keys.len();
        if writes > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(writes, 1);
}

#[tokio::test(start_paused = true)]
async fn the_newest_objects_come_first_and_rephrasings_last() {
    let said = BTreeMap::from([
        (key("old"), saying(&wanted(1, ALL))),
        (key("rephrased"), saying(&wanted(9, LATE))),
    ]);
    let all = BTreeMap::from([
        (key("new"), wanted(7, ALL)),
        (key("newer"), wanted(8, ALL)),
        (key("old"), wanted(2, ALL)),
        (key("rephrased"), wanted(9, LATER)),
    ]);
    let mut plan = Plan::default();
    let first = plan.due(&all, &said, Instant::now());
    assert_eq!(first.keys, [key("newer"), key("new"), key("old")]);
    assert_eq!(first.next, Some(Instant::now() + BAD_NEWS));
    tokio::time::sleep(BAD_NEWS).await;
    let second = plan.due(&all, &said, Instant::now());
    assert_eq!(second.keys.last(), Some(&key("rephrased")));
}
