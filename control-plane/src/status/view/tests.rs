//! Sums over replicas, and objects that cannot be read.

use super::*;
use crate::crd::Kind;
use crate::source::Origin;
use crate::status::conditions::Truth;
use crate::status::fixtures::{MESH, examined, input, proxy, route};

fn key() -> ObjectKey {
    ObjectKey::new(Kind::VirtualService, "shop", "backend")
}

fn sources(generation: i64) -> Sources {
    Sources {
        examined: examined(input(&[(MESH, 1), (&route("backend", generation), 5)])),
        reports: BTreeMap::new(),
        proxies: vec![proxy("shop/v1", 5), proxy("shop/v2", 5)],
        replicas: Vec::new(),
        now: Instant::now(),
    }
}

fn published(generation: i64, applied: u32, concerned: u32) -> (String, Arc<Published>) {
    let tally = Tally {
        generation: Some(generation),
        applied,
        concerned,
        ..Tally::default()
    };
    let published = Published {
        connected: [1, 2].into(),
        tallies: BTreeMap::from([(key().to_string(), tally)]),
    };
    ("istiod-b".to_owned(), Arc::new(published))
}

fn programmed(sources: &Sources) -> (bool, String) {
    let view = view(sources);
    let [.., programmed] = &view.wanted[&key()].statements;
    (programmed.holds == Truth::True, programmed.message.clone())
}

#[tokio::test]
async fn counts_of_all_replicas_are_summed() {
    let mut all = sources(3);
    assert_eq!(
        programmed(&all),
        (true, "applied by 2 of 2 proxies".to_owned())
    );
    all.replicas = vec![published(3, 4, 4)];
    assert_eq!(
        programmed(&all),
        (true, "applied by 6 of 6 proxies".to_owned())
    );
    all.replicas = vec![published(3, 3, 4)];
    assert!(!programmed(&all).0);
}

#[tokio::test]
async fn a_replica_that_has_not_seen_a_change_is_waited_for() {
    let mut all = sources(3);
    all.replicas = vec![published(2, 4, 4)];
    assert_eq!(
        programmed(&all),
        (
            false,
            "applied by 2 of 6 proxies; waiting for proxies of replica istiod-b (it has not seen \
             this change) and 3 more"
                .to_owned()
        )
    );
    let mut unknown = published(2, 4, 4);
    Arc::make_mut(&mut unknown.1).tallies.clear();
    all.replicas = vec![unknown.clone()];
    assert!(!programmed(&all).0);
    Arc::make_mut(&mut unknown.1).connected.clear();
    all.replicas = vec![unknown];
    assert!(
        programmed(&all).0,
        "a replica without proxies holds nothing up"
    );
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_said_to_be_invalid() {
    let report = Report {
        severity: Severity::Error,
        origin: Origin {
            place: "VirtualService shop/backend".into(),
            position: None,
        },
        object: Some(key()),
        field: None,
        message: "unknown field".to_owned(),
        hint: None,
    };
    let mut all = sources(3);
    let other = ObjectKey::new(Kind::Gateway, "shop", "never");
    all.reports = BTreeMap::from([(key(), vec![report.clone()]), (other.clone(), vec![report])]);
    let view = view(&all);
    for (key, effect) in [(key(), "the former form"), (other, "no form of it")] {
        let wanted = &view.wanted[&key];
        let [accepted, _, programmed] = &wanted.statements;
        assert_eq!(
            wanted.generation, None,
            "the generation that was read is another one"
        );
        assert_eq!(
            (accepted.holds, programmed.holds),
            (Truth::False, Truth::False)
        );
        assert!(accepted.message.contains(effect), "{}", accepted.message);
    }
}
