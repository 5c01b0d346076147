//! The roots reach every namespace, and come back where they are changed or deleted.

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_kubernetes::testing::{FakeApi, failure};
use mesh_runtime::drain::Drain;
use mesh_runtime::pki::{Authority, ROOT_VALID};
use serde_json::Value;

use super::*;

fn trust() -> Trust {
    let authority = Authority::create("root", ROOT_VALID, SystemTime::now()).unwrap();
    Trust {
        bundle_pem: authority.certificate_pem().into(),
        authority: Arc::new(authority),
    }
}

fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{NAME}")
}

fn published(api: &FakeApi, namespace: &str) -> Option<String> {
    api.object(&path(namespace))?["data"][KEY]
        .as_str()
        .map(str::to_owned)
}

fn add_namespace(api: &FakeApi, name: &str, extra: &Value) {
    let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": extra});
    object["metadata"]["name"] = json!(name);
    api.put(&format!("/api/v1/namespaces/{name}"), object);
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, waiting).await;
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_| panic!("{what}"))
}

struct Running {
    trust: watch::Sender<Trust>,
    leader: watch::Sender<bool>,
    drain: Drain,
    task: tokio::task::JoinHandle<()>,
}

fn start(api: &FakeApi, leads: bool) -> Running {
    let (trust, trusted) = watch::channel(trust());
    let (leader, leading) = watch::channel(leads);
    let drain = Drain::new();
    let task = tokio::spawn(run(api.client(), trusted, leading, drain.watch()));
    Running {
        trust,
        leader,
        drain,
        task,
    }
}

#[tokio::test]
async fn every_namespace_has_the_roots_and_keeps_them() {
    let api = FakeApi::new();
    add_namespace(&api, "shop", &json!({}));
    add_namespace(
        &api,
        "going",
        &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    );
    let running = start(&api, true);
    let bundle = running.trust.borrow().bundle_pem.to_string();
    let has = |namespace: &str| published(&api, namespace).as_ref() == Some(&bundle);
    eventually("published", || has("shop")).await;
    add_namespace(&api, "new", &json!({}));
    eventually("published in a new namespace", || has("new")).await;
    let meddled = json!({"metadata": {"name": NAME}, "data": {KEY: "x"}});
    api.put(&path("shop"), meddled);
    eventually("repaired", || has("shop")).await;
    api.delete(&path("new"));
    eventually("written again", || has("new")).await;
    assert_eq!(published(&api, "going"), None);

    let next = trust();
    let changed = next.bundle_pem.to_string();
    running.trust.send_replace(next);
    eventually("the new roots", || {
        ["shop", "new"]
            .iter()
            .all(|namespace| published(&api, namespace).as_ref() == Some(&changed))
    })
    .await;
    running.drain.trigger();
    soon("ends", running.task).await.unwrap();
}

#[tokio::test]
async fn only_the_leader_writes() {
    let api = FakeApi::new();
    add_namespace(&api, "shop", &json!({}));
    let running = start(&api, false);
    eventually("watching", || {
        api.seen()
            .iter()
            .filter(|seen| seen.query.contains("watch"))
            .count()
            == 2
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(api.seen().iter().all(|seen| seen.method == "GET"));
    running.leader.send_replace(true);
    eventually("written", || published(&api, "shop").is_some()).await;
}

#[tokio::test]
async fn one_namespace_that_refuses_does_not_hold_up_the_others() {
    let api = FakeApi::new();
    for name in ["a", "b", "c"] {
        add_namespace(&api, name, &json!({}));
    }
    api.intercept(|seen| {
        let refused = seen.method == "PATCH" && seen.path.contains("/namespaces/a/");
        refused.then(|| (403, failure(403, "Forbidden", "being terminated")))
    });
    let _running = start(&api, true);
    eventually("the others", || {
        published(&api, "b").is_some() && published(&api, "c").is_some()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let tries = api
        .seen()
        .iter()
        .filter(|seen| seen.path.contains("/namespaces/a/"))
        .count();
    assert!(tries <= 2, "{tries} tries within 0.3 s");
    api.heal();
    eventually("it too, later", || published(&api, "a").is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_namespaces_are_no_storm() {
    let mut ledger = Ledger::default();
    for number in 0..1000 {
        ledger.namespace(&format!("n{number}"), true);
    }
    assert!(
        ledger.next("roots").is_none(),
        "not before both lists are there"
    );
    ledger.namespaces_listed();
    ledger.published_listed();
    let began = Instant::now();
    let mut writes = 0;
    while let Some((namespace, _)) = ledger.next("roots") {
        ledger.tried(&namespace, Instant::now(), u32::MAX);
        ledger.published(&namespace, Some("roots".to_owned()));
        writes += 1;
    }
    assert_eq!(writes, 1000, "one write each");
    // Somebody undoes one of them every time.
    let mut waits = Vec::new();
    for _ in 0..12 {
        ledger.published("n7", Some("other".to_owned()));
        let (namespace, due) = ledger.next("roots").unwrap();
        assert_eq!(namespace, "n7");
        let due = due.expect("it was tried before");
        waits.push(due.saturating_duration_since(Instant::now()));
        tokio::time::sleep_until(due).await;
        ledger.tried("n7", Instant::now(), u32::MAX);
    }
    assert!(waits[1] >= Duration::from_secs(2), "{waits:?}");
    assert_eq!(waits[11], Duration::from_mins(5));
    assert!(began.elapsed() > Duration::from_mins(20));
    // Left alone for long, it is repaired quickly again.
    ledger.published("n7", Some("roots".to_owned()));
    tokio::time::sleep(Duration::from_mins(11)).await;
    ledger.published("n7", None);
    ledger.tried("n7", Instant::now(), u32::MAX);
    let (_, due) = ledger.next("roots").unwrap();
    assert_eq!(due.unwrap() - Instant::now(), Duration::from_secs(1));
}

#[test]
fn what_a_new_list_does_not_show_is_gone() {
    let mut ledger = Ledger::default();
    ledger.namespace("a", true);
    ledger.namespace("b", true);
    ledger.namespaces_listed();
    ledger.published_listed();
    ledger.published("a", Some("roots".to_owned()));
    ledger.relist_namespaces();
    ledger.namespace("a", true);
    ledger.namespaces_listed();
    assert!(ledger.next("roots").is_none(), "b is gone");
    ledger.relist_published();
    ledger.published_listed();
    assert_eq!(ledger.next("roots").unwrap().0, "a");
}
