//! Reports between replicas, through an API server in memory.

use mesh_kubernetes::testing::{FakeApi, failure};

use super::*;
use crate::crd::Kind;
use crate::status::fixtures::proxy;

const MAP: &str = "/api/v1/namespaces/istio-system/configmaps/istiod-acks-a";

fn settings(pod: &str) -> Settings {
    Settings {
        pod: pod.to_owned(),
        namespace: "istio-system".to_owned(),
    }
}

fn published(applied: u32) -> Published {
    let key = ObjectKey::new(Kind::VirtualService, "shop", "backend");
    let tally = Tally {
        generation: Some(1),
        concerned: 9,
        applied,
        ..Tally::default()
    };
    Published::new(&[proxy("shop/v1", 1)], &BTreeMap::from([(key, tally)]))
}

fn writes(api: &FakeApi) -> usize {
    api.seen()
        .iter()
        .filter(|seen| seen.method == http::Method::PATCH)
        .count()
}

#[tokio::test(start_paused = true)]
async fn one_replica_hears_what_another_says() {
    let api = FakeApi::new();
    api.put(
        "/api/v1/namespaces/istio-system/pods/a",
        json!({"metadata": {}}),
    );
    let mut hearing = Replicas::listen(api.client(), &settings("b"));
    let mut telling = Publisher::new(api.client(), settings("a"));
    telling.step(published(3), Instant::now()).await;
    tokio::time::timeout(Duration::from_secs(5), async {
        while hearing.live(Instant::now()).is_empty() {
            hearing.changed().await;
        }
    })
    .await
    .unwrap();
    let heard = hearing.live(Instant::now());
    assert_eq!(heard[0].0, "a");
    assert_eq!(*heard[0].1, published(3));
    assert!(heard[0].1.holds("shop/v1") && !heard[0].1.holds("shop/v2"));
    let owner = &api.object(MAP).unwrap()["metadata"]["ownerReferences"][0];
    assert_eq!(
        (owner["kind"].as_str(), owner["name"].as_str()),
        (Some("Pod"), Some("a"))
    );

    tokio::time::sleep(STALE).await;
    assert!(
        hearing.live(Instant::now()).is_empty(),
        "a replica that says nothing is gone"
    );
    telling.withdraw().await;
    assert!(api.object(MAP).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_replica_does_not_hear_itself() {
    let api = FakeApi::new();
    let hearing = Replicas::listen(api.client(), &settings("a"));
    let mut telling = Publisher::new(api.client(), settings("a"));
    telling.step(published(3), Instant::now()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(api.object(MAP).is_some());
    assert!(hearing.live(Instant::now()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn it_is_told_at_most_once_a_second_and_at_least_every_half_minute() {
    let api = FakeApi::new();
    let mut telling = Publisher::new(api.client(), settings("a"));
    for round in 0..100 {
        telling.step(published(round % 7), Instant::now()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!((9..=11).contains(&writes(&api)), "{}", writes(&api));
    telling.step(published(1), Instant::now()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    telling.step(published(1), Instant::now()).await;
    let before = writes(&api);
    for _ in 0..61 {
        telling.step(published(1), Instant::now()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((1..=3).contains(&(writes(&api) - before)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_later_not_at_once() {
    let api = FakeApi::new();
    api.intercept(|_| Some((500, failure(500, "InternalError", "etcd is away"))));
    let mut telling = Publisher::new(api.client(), settings("a"));
    for _ in 0..90 {
        telling.step(published(1), Instant::now()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let requests = api.seen().len();
    assert!(requests <= 2, "{requests}");
    api.heal();
    tokio::time::sleep(Duration::from_secs(10)).await;
    telling.step(published(1), Instant::now()).await;
    assert!(api.object(MAP).is_some());
}

#[test]
fn a_report_has_bounds() {
    let own: BTreeMap<ObjectKey, Tally> = (0..50_000)
        .map(|index| {
            let name = format!("a-rather-long-name-of-a-virtual-service-{index}");
            (
                ObjectKey::new(Kind::VirtualService, "some-namespace", name),
                Tally::default(),
            )
        })
        .collect();
    let published = Published::new(&[], &own);
    assert!(serde_json::to_string(&published).unwrap().len() < 1024 * 1024);
    assert!(published.tallies.len() > 5000);
}
