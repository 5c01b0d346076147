//! Who counts, and as what.

use super::*;
use crate::discovery::registry::{Refused, RefusedSet};
use crate::status::fixtures::{MESH, input, proxy, route};

const SHOP: [&str; 3] = ["shop/v1", "shop/v2", "shop/front"];

fn count(proxies: &[Applied]) -> Tally {
    let input = input(&[(MESH, 1), (&route("backend", 3), 5)]);
    let tallies = tally(&input, &Uses::default(), proxies, Instant::now());
    assert_eq!(tallies.len(), 1);
    tallies.into_values().next().unwrap()
}

fn all_at(revision: u64) -> Vec<Applied> {
    let mut all: Vec<Applied> = SHOP.iter().map(|name| proxy(name, revision)).collect();
    all.push(proxy("other/far", revision));
    all
}

fn numbers(tally: &Tally) -> (u32, u32, u32) {
    (tally.applied, tally.concerned, tally.refusals)
}

#[tokio::test(start_paused = true)]
async fn those_that_have_the_revision_have_applied_it() {
    let tally = count(&all_at(5));
    assert_eq!((numbers(&tally), tally.generation), ((3, 3, 0), Some(3)));
    assert_eq!(numbers(&count(&all_at(9))), (3, 3, 0));
    assert_eq!(numbers(&count(&all_at(4))), (0, 3, 0));
    assert_eq!(numbers(&count(&[])), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_silent_proxy_is_named() {
    let mut proxies = all_at(5);
    proxies[1].revision = Some(4);
    let tally = count(&proxies);
    assert_eq!(numbers(&tally), (2, 3, 0));
    assert_eq!(
        tally.stragglers(),
        "waiting for shop/v2 (connected, no acknowledgement)"
    );
    proxies[1].connected = false;
    assert_eq!(
        count(&proxies).stragglers(),
        "waiting for shop/v2 (connection lost)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_starts_is_waited_for_only_when_it_takes_long() {
    let mut proxies = all_at(5);
    proxies[2].revision = None;
    assert_eq!(numbers(&count(&proxies)), (2, 2, 0));
    tokio::time::sleep(STARTING).await;
    assert_eq!(numbers(&count(&proxies)), (2, 3, 0));
    proxies[2].waiting = true;
    assert_eq!(
        numbers(&count(&proxies)),
        (2, 2, 0),
        "told to wait: it has no part in the mesh yet"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_counts_for_the_objects_it_may_come_from() {
    let refused = |resource: &str| {
        let one = Refused {
            resource: resource.to_owned(),
            version: "1".to_owned(),
            field: "rules[0]".to_owned(),
            reason: "whatever the proxy says".to_owned(),
        };
        Arc::new(RefusedSet {
            first: vec![one],
            more: 0,
        })
    };
    let mut proxies = all_at(5);
    proxies[0].refused = refused("routes/80/backend.shop.svc.cluster.local");
    let tally = count(&proxies);
    assert_eq!(numbers(&tally), (2, 3, 1));
    assert_eq!(
        tally.stragglers(),
        "refused by shop/v1 (routes/80/backend.shop.svc.cluster.local at rules[0])"
    );
    proxies[0].refused = refused("routes/80/another.example.com");
    assert_eq!(numbers(&count(&proxies)), (3, 3, 0));
    let unnamed = RefusedSet {
        first: Vec::new(),
        more: 7,
    };
    proxies[0].refused = Arc::new(unnamed);
    let tally = count(&proxies);
    assert_eq!(numbers(&tally), (2, 3, 1));
    assert_eq!(
        tally.stragglers(),
        "refused by shop/v1 (7 resources that it did not name one by one)"
    );
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_is_not_waited_for_forever() {
    let input = input(&[(MESH, 1), (&route("backend", 3), 5)]);
    let mut proxies = all_at(5);
    proxies[1].revision = Some(4);
    let tally = |now| {
        let tallies = tally(&input, &Uses::default(), &proxies, now);
        tallies.into_values().next().unwrap()
    };
    let now = Instant::now();
    assert_eq!(tally(now).late, 0);
    let later = tally(now + LATE);
    assert_eq!((later.late, later.applied, later.concerned), (1, 2, 3));
    assert_eq!(
        later.stragglers(),
        "no longer waiting for shop/v2 (connected, no acknowledgement)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_proxy_is_expected_back_while_its_pod_is_there() {
    let world = input(&[(MESH, 1)]).world;
    let lost = |name: &str| Applied {
        connected: false,
        ..proxy(name, 1)
    };
    let now = Instant::now();
    assert!(expected_back(&world, &lost("shop/v1"), now));
    assert!(!expected_back(&world, &lost("shop/deleted"), now));
    assert!(!expected_back(&world, &lost("shop/v1"), now + LOST));
}

#[test]
fn refusals_are_named_before_those_that_are_late() {
    let mut tally = Tally::default();
    for index in 0..NAMED {
        tally.wait_for(format!("late-{index}"), "late".to_owned());
    }
    tally.straggle(Straggler {
        lag: Lag::Refused,
        proxy: "refusing".to_owned(),
        why: "refused".to_owned(),
    });
    assert_eq!(tally.waiting.len(), NAMED);
    assert!(
        tally
            .stragglers()
            .starts_with("refused by refusing (refused); waiting for late-0 (late)")
    );
    let mut sum = Tally::default();
    sum.add(&tally);
    sum.add(&tally);
    assert_eq!(
        (sum.concerned, sum.refusals, sum.waiting.len()),
        (12, 2, NAMED)
    );
    assert_eq!(
        sum.waiting
            .iter()
            .filter(|one| one.lag == Lag::Refused)
            .count(),
        2
    );
}
