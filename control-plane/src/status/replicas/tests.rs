//! Reports between replicas, through an API server in memory.

use mesh_kubernetes::testing::{FakeApi, failure};

use super::*;
use crate::crd::Kind;
use crate::status::fixtures::proxy;

const PATH: &str = "/api/v1/namespaces/istio-system/configmaps/istiod-acknowledgements";

fn settings(pod: &str) -> Settings {
    Settings {
        pod: pod.to_owned(),
        namespace: "istio-system".to_owned(),
    }
}

/// A cluster to which the manifests were applied.
fn installed() -> FakeApi {
    let api = FakeApi::new();
    api.put(PATH, json!({"apiVersion": "v1", "kind": "ConfigMap"}));
    api
}

/// What stands under the key of this replica.
fn report(api: &FakeApi, pod: &str) -> Value {
    api.object(PATH).unwrap()["data"][pod].clone()
}

fn published(applied: u32) -> Published {
    let key = ObjectKey::new(Kind::VirtualService, "shop", "backend");
    let tally = Tally {
        generation: Some(1),
        concerned: 9,
        applied,
        ..Tally::default()
    };
    Published::new(&[proxy("shop/v1", 1)], &BTreeMap::from([(key, tally)]), 2)
}

fn writes(api: &FakeApi) -> usize {
    api.seen()
        .iter()
        .filter(|seen| seen.method == http::Method::PATCH)
        .count()
}

#[tokio::test(start_paused = true)]
async fn one_replica_hears_what_another_says() {
    let api = installed();
    let mut hearing = Replicas::listen(api.client(), &settings("b"));
    let mut telling = Publisher::new(api.client(), settings("a"));
    telling.step(published(3), &[], Instant::now()).await;
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

    tokio::time::sleep(STALE).await;
    assert!(
        hearing.live(Instant::now()).is_empty(),
        "a replica that says nothing is gone"
    );
    telling.withdraw(&[], Instant::now()).await;
    assert_eq!(report(&api, "a"), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_replica_does_not_hear_itself() {
    let api = installed();
    let hearing = Replicas::listen(api.client(), &settings("a"));
    let mut telling = Publisher::new(api.client(), settings("a"));
    telling.step(published(3), &[], Instant::now()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(report(&api, "a").is_string());
    assert!(hearing.live(Instant::now()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_replica_left_behind_is_taken_away_by_the_others() {
    let api = installed();
    let replicas = Replicas::listen(api.client(), &settings("b"));
    let mut killed = Publisher::new(api.client(), settings("a"));
    killed.step(published(3), &[], Instant::now()).await;
    tokio::time::sleep(STALE).await;
    assert_eq!(replicas.gone(Instant::now()), Vec::<String>::new());
    tokio::time::sleep(FORGOTTEN).await;
    let gone = replicas.gone(Instant::now());
    assert_eq!(gone, ["a"]);
    // One that leads alone tells nothing, and tidies up all the same.
    let mut left = Publisher::new(api.client(), settings("b"));
    left.withdraw(&gone, Instant::now()).await;
    assert_eq!(report(&api, "a"), Value::Null);
    assert_eq!(writes(&api), 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_told_at_most_once_a_second_and_at_least_every_half_minute() {
    let api = installed();
    let mut telling = Publisher::new(api.client(), settings("a"));
    for round in 0..100 {
        telling
            .step(published(round % 7), &[], Instant::now())
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!((9..=11).contains(&writes(&api)), "{}", writes(&api));
    telling.step(published(1), &[], Instant::now()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    telling.step(published(1), &[], Instant::now()).await;
    let before = writes(&api);
    for _ in 0..61 {
        telling.step(published(1), &[], Instant::now()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((1..=3).contains(&(writes(&api) - before)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_later_not_at_once() {
    let api = installed();
    api.intercept(|_| Some((500, failure(500, "InternalError", "etcd is away"))));
    let mut telling = Publisher::new(api.client(), settings("a"));
    for _ in 0..90 {
        telling.step(published(1), &[], Instant::now()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let requests = api.seen().len();
    assert!(requests <= 2, "{requests}");
    api.heal();
    tokio::time::sleep(Duration::from_secs(10)).await;
    telling.step(published(1), &[], Instant::now()).await;
    assert!(report(&api, "a").is_string());
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
    let published = Published::new(&[], &own, 2);
    // Two of them fit into one ConfigMap.
    assert!(serde_json::to_string(&published).unwrap().len() < 512 * 1024);
    assert!(published.tallies.len() > 2500);
}
