//! Writes against an API server in memory, on a clock the tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mesh_kubernetes::testing::{FakeApi, failure};
use serde_json::Value;

use super::*;

struct Bench {
    api: FakeApi,
    writer: Writer,
    leads: watch::Sender<bool>,
}

fn bench() -> Bench {
    let api = FakeApi::new();
    let (leads, leading) = watch::channel(true);
    let settings = Settings {
        pod: "istiod-1".to_owned(),
        namespace: "istio-system".to_owned(),
    };
    Bench {
        writer: Writer::new(api.client(), &settings, leading),
        api,
        leads,
    }
}

fn path(name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/shop/virtualservices/{name}")
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::VirtualService, "shop", name)
}

fn put(api: &FakeApi, name: &str, generation: i64) {
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"generation": generation}, "spec": {},
    });
    api.put(&path(name), object);
}

fn wanted(generation: Option<i64>, accepted: bool) -> Wanted {
    let statement = |about, holds: bool| Statement {
        about,
        holds: holds.into(),
        reason: if holds { "Fine" } else { "Invalid" },
        message: "what there is to say".to_owned(),
    };
    Wanted {
        generation,
        revision: 1,
        statements: [
            statement("Accepted", accepted),
            statement("ResolvedRefs", true),
            statement("Programmed", true),
        ],
    }
}

fn conditions_of(api: &FakeApi, name: &str) -> Vec<Value> {
    let object = api.object(&path(name)).unwrap();
    object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn writes(api: &FakeApi) -> usize {
    let seen = api.seen();
    seen.iter()
        .filter(|one| one.path.ends_with("/status"))
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_once_and_under_our_name() {
    let mut bench = bench();
    put(&bench.api, "a", 4);
    let all = BTreeMap::from([(key("a"), wanted(Some(4), true))]);
    for _ in 0..5 {
        bench.writer.step(&all).await;
    }
    assert_eq!(writes(&bench.api), 1);
    let conditions = conditions_of(&bench.api, "a");
    let types: Vec<&str> = conditions
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, TYPES);
    assert_eq!(conditions[0]["observedGeneration"], 4);
    let seen = bench.api.seen();
    let write = seen
        .iter()
        .find(|one| one.path.ends_with("/status"))
        .unwrap();
    assert!(
        write.query.contains("fieldManager=mesh-status"),
        "{}",
        write.query
    );
    assert!(write.query.contains("force=true"), "{}", write.query);
    assert!(write.body.get("spec").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_reads_before_it_writes() {
    let mut first = bench();
    put(&first.api, "a", 1);
    let all = BTreeMap::from([(key("a"), wanted(Some(1), true))]);
    first.writer.step(&all).await;
    let settings = Settings {
        pod: "istiod-2".to_owned(),
        namespace: "istio-system".to_owned(),
    };
    let (_leads, leading) = watch::channel(true);
    let mut second = Writer::new(first.api.client(), &settings, leading);
    second.step(&all).await;
    assert_eq!(
        writes(&first.api),
        1,
        "the second leader wrote what was there"
    );
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_does_not_write() {
    let mut bench = bench();
    put(&bench.api, "a", 1);
    let all = BTreeMap::from([(key("a"), wanted(Some(1), true))]);
    bench.leads.send_replace(false);
    bench.writer.step(&all).await;
    assert_eq!(writes(&bench.api), 0);
    bench.leads.send_replace(true);
    bench.writer.step(&all).await;
    assert_eq!(writes(&bench.api), 1);
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_statuses_take_their_time() {
    let mut bench = bench();
    let mut all = BTreeMap::new();
    for index in 0..300 {
        let name = format!("n{index}");
        put(&bench.api, &name, 1);
        all.insert(key(&name), wanted(Some(1), true));
    }
    let began = Instant::now();
    let mut took = Duration::ZERO;
    while writes(&bench.api) < 300 {
        let next = bench.writer.step(&all).await;
        took = began.elapsed();
        let allowed = 51 + 20 * usize::try_from(took.as_secs() + 1).unwrap();
        let written = writes(&bench.api);
        assert!(written <= allowed, "{written} writes");
        let collected = Instant::now() + Duration::from_millis(200);
        tokio::time::sleep_until(next.max(collected)).await;
    }
    assert!(
        (Duration::from_secs(11)..Duration::from_secs(20)).contains(&took),
        "{took:?}"
    );
    bench.writer.step(&all).await;
    assert_eq!(writes(&bench.api), 300);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_is_left_alone() {
    let mut bench = bench();
    bench.api.intercept(|seen| {
        let write = seen.path.ends_with("/status");
        write.then(|| (404, failure(404, "NotFound", "it does not exist")))
    });
    let all = BTreeMap::from([(key("a"), wanted(Some(1), true))]);
    for _ in 0..10 {
        bench.writer.step(&all).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(writes(&bench.api), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_made_anew_is_written_under_its_new_identity() {
    let mut bench = bench();
    put(&bench.api, "a", 1);
    bench
        .writer
        .step(&BTreeMap::from([(key("a"), wanted(Some(1), true))]))
        .await;
    bench.api.delete(&path("a"));
    put(&bench.api, "a", 2);
    // The API server compares the UID.
    let store = bench.api.clone();
    bench.api.intercept(move |seen| {
        let uid = &seen.body["metadata"]["uid"];
        let wrong = seen.path.ends_with("/status")
            && !uid.is_null()
            && *uid != store.object(&path("a")).unwrap()["metadata"]["uid"];
        wrong.then(|| (409, failure(409, "Conflict", "uid mismatch")))
    });
    let newer = BTreeMap::from([(key("a"), wanted(Some(2), true))]);
    bench.writer.step(&newer).await;
    bench.writer.step(&newer).await;
    let conditions = conditions_of(&bench.api, "a");
    assert_eq!(
        conditions
            .first()
            .map(|one| one["observedGeneration"].clone()),
        Some(json!(2))
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_with_growing_pauses() {
    let mut bench = bench();
    put(&bench.api, "a", 1);
    let all = BTreeMap::from([(key("a"), wanted(Some(1), true))]);
    bench
        .api
        .intercept(|_| Some((503, failure(503, "ServiceUnavailable", "starting"))));
    let began = Instant::now();
    while began.elapsed() < Duration::from_mins(2) {
        let next = bench.writer.step(&all).await;
        tokio::time::sleep_until(next).await;
    }
    let requests = bench.api.seen().len();
    assert!((4..=20).contains(&requests), "{requests}");
    bench.api.heal();
    let next = bench.writer.step(&all).await;
    tokio::time::sleep_until(next).await;
    bench.writer.step(&all).await;
    assert_eq!(writes(&bench.api), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_will_not_have_is_not_tried_again() {
    let mut bench = bench();
    put(&bench.api, "a", 1);
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    bench.api.intercept(move |seen| {
        let write = seen.path.ends_with("/status");
        write.then(|| {
            count.fetch_add(1, Ordering::SeqCst);
            (422, failure(422, "Invalid", "status.conditions: not known"))
        })
    });
    let mut all = BTreeMap::from([(key("a"), wanted(Some(1), true))]);
    for _ in 0..10 {
        bench.writer.step(&all).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    all.insert(key("a"), wanted(Some(2), true));
    bench.writer.step(&all).await;
    assert_eq!(tries.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_form_that_could_not_be_read_is_named_by_its_own_generation() {
    let mut bench = bench();
    put(&bench.api, "a", 17);
    bench
        .writer
        .step(&BTreeMap::from([(key("a"), wanted(None, false))]))
        .await;
    let conditions = conditions_of(&bench.api, "a");
    assert_eq!(conditions[0]["observedGeneration"], 17);
    assert_eq!(conditions[0]["status"], "False");
}

#[tokio::test(start_paused = true)]
async fn an_event_tells_once_that_an_object_is_not_accepted() {
    let mut bench = bench();
    put(&bench.api, "a", 1);
    let events = |api: &FakeApi| -> Vec<Value> {
        let seen = api.seen();
        let events = seen.iter().filter(|one| one.path.ends_with("/events"));
        events.map(|one| one.body.clone()).collect()
    };
    bench
        .writer
        .step(&BTreeMap::from([(key("a"), wanted(Some(1), true))]))
        .await;
    assert_eq!(events(&bench.api).len(), 0);
    for generation in 2..6 {
        let all = BTreeMap::from([(key("a"), wanted(Some(generation), false))]);
        bench.writer.step(&all).await;
    }
    let told = events(&bench.api);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0]["type"].as_str(), told[0]["reason"].as_str()),
        (Some("Warning"), Some("Invalid"))
    );
    assert_eq!(told[0]["regarding"]["name"], "a");
    assert!(told[0]["regarding"]["uid"].is_string());
}
