//! The source against an API server in memory: what is passed on, and what faults do.

mod faults;
mod history;
mod settings;

use std::time::Duration;

use kube::Client;
use mesh_kubernetes::testing::{FakeApi, failure};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout, timeout_at};

use super::{KubernetesWatch, Settings, Timing, watch};
use crate::crd::Object;
use crate::model::Change;
use crate::source::Batch;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough to notice what should not happen.
const MOMENT: Duration = Duration::from_millis(150);

const ROUTE: &str = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/backend";

/// A running source, and everything it has said so far.
struct Running {
    watch: KubernetesWatch,
    batches: Receiver<Batch>,
    /// What is wrong, by place.
    said: std::collections::BTreeMap<String, Vec<String>>,
}

fn timing() -> Timing {
    Timing {
        answer: Duration::from_secs(2),
        watch: Duration::from_mins(1),
        retry: Duration::from_millis(5),
        retry_longest: Duration::from_millis(40),
        lively: Duration::from_secs(1),
        settle: Duration::from_millis(60),
        page: 2,
        remind: Duration::from_mins(1),
    }
}

/// A replica that does not lead.
fn follower() -> watch::Receiver<bool> {
    watch::channel(false).1
}

impl Running {
    fn start(client: Client, timing: Timing) -> Self {
        Self::start_as(client, timing, follower())
    }

    fn start_as(client: Client, timing: Timing, leading: watch::Receiver<bool>) -> Self {
        let settings = Settings {
            deployment: None,
            timing,
            ..Settings::new("istio-system", leading)
        };
        let (watch, batches) = watch(client, settings);
        Self {
            watch,
            batches,
            said: std::collections::BTreeMap::new(),
        }
    }

    /// The next batch.
    async fn next(&mut self) -> Batch {
        let next = timeout(PATIENCE, self.batches.recv()).await;
        let batch = next.expect("a batch in time").expect("a running source");
        for place in &batch.reports {
            let said = place.reports.iter().map(ToString::to_string).collect();
            self.said.insert(place.place.to_string(), said);
        }
        batch
    }

    /// The batch that completes the initial state.
    async fn complete(&mut self) -> Batch {
        loop {
            let batch = self.next().await;
            if batch.initial_complete {
                return batch;
            }
            assert_eq!(batch.changes, [], "objects before all of them are known");
        }
    }

    /// Waits until something is said that holds all of these.
    async fn says(&mut self, parts: &[&str]) {
        while !self.has_said(parts) {
            self.next().await;
        }
    }

    fn has_said(&self, parts: &[&str]) -> bool {
        self.said
            .values()
            .flatten()
            .any(|text| parts.iter().all(|part| text.contains(part)))
    }

    async fn takes_back(&mut self, parts: &[&str]) {
        while self.has_said(parts) {
            self.next().await;
        }
    }

    /// The next changes, as text.
    async fn changes(&mut self) -> Vec<String> {
        loop {
            let batch = self.next().await;
            if !batch.changes.is_empty() {
                return texts(&batch.changes);
            }
        }
    }

    /// For a moment there may be something to say, but nothing to push.
    async fn pushes_nothing(&mut self) {
        let end = Instant::now() + MOMENT;
        while let Ok(batch) = timeout_at(end, self.next()).await {
            assert!(
                batch.changes.is_empty() && !batch.initial_complete,
                "{batch:?}"
            );
        }
    }

    async fn stays_quiet_about_objects(&mut self) {
        let end = Instant::now() + MOMENT;
        while let Ok(batch) = timeout_at(end, self.next()).await {
            assert_eq!(batch.changes, []);
        }
    }

    async fn stays_quiet(&mut self) {
        let next = timeout(MOMENT, self.batches.recv()).await;
        assert!(next.is_err(), "{next:?}");
    }
}

fn texts(changes: &[Change]) -> Vec<String> {
    let text = |change: &Change| match change {
        Change::Applied(object) => format!("+ {}", object.key()),
        Change::Removed(key) => format!("- {key}"),
        Change::Refused(key, _) => format!("! {key}"),
    };
    changes.iter().map(text).collect()
}

fn route(weight: u32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"managedFields": [{"manager": "kubectl"}]},
        "spec": {"hosts": ["backend"], "http": [{"route": [
            {"destination": {"host": "backend", "subset": "v1"}, "weight": weight},
            {"destination": {"host": "backend", "subset": "v2"}, "weight": 100 - weight}
        ]}]}
    })
}

fn pod(name: &str, address: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "uid": format!("uid-of-{name}"), "labels": {"app": "backend"},
            "annotations": {"huge": "x"}, "managedFields": [{"manager": "kubelet"}],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "backend-v1-5d9c",
                "uid": "u", "controller": true
            }]
        },
        "spec": {
            "nodeName": "node-1", "serviceAccountName": "backend",
            "containers": [{"name": "app", "image": "i", "env": [{"name": "SECRET", "value": "v"}],
                            "ports": [{"name": "http", "containerPort": 8080}]}],
            "volumes": [{"name": "v", "emptyDir": {}}]
        },
        "status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}],
            "containerStatuses": [{"name": "app", "ready": true}]
        }
    })
}

fn pod_path(name: &str) -> String {
    format!("/api/v1/namespaces/shop/pods/{name}")
}

/// A cluster with one route and a few pods.
fn cluster() -> FakeApi {
    let api = FakeApi::new();
    api.put(
        "/api/v1/namespaces/shop",
        json!({"metadata": {"labels": {"mesh": "yes"}}}),
    );
    api.put(ROUTE, route(90));
    for (index, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        api.put(&pod_path(name), pod(name, &format!("10.0.0.{}", index + 1)));
    }
    api
}

async fn started(api: &FakeApi) -> Running {
    let mut running = Running::start(api.client(), timing());
    running.complete().await;
    running
}

#[tokio::test]
async fn the_first_batch_holds_everything_page_by_page() {
    let api = cluster();
    let mut running = Running::start(api.client(), timing());
    let batch = running.complete().await;
    assert_eq!(
        texts(&batch.changes),
        [
            "+ VirtualService shop/backend",
            "+ Pod shop/a",
            "+ Pod shop/b",
            "+ Pod shop/c",
            "+ Pod shop/d",
            "+ Pod shop/e",
            "+ Namespace shop",
        ]
    );
    let Change::Applied(Object::Pod(pod)) = &batch.changes[1] else {
        panic!("{batch:?}");
    };
    assert_eq!(pod.spec.uid.as_deref(), Some("uid-of-a"));
    assert_eq!(pod.spec.service_account, "backend");
    assert_eq!(pod.spec.ips, ["10.0.0.1"]);
    assert!(pod.spec.ready);
    assert_eq!(pod.spec.ports.len(), 1);
    assert!(pod.meta.annotations.is_empty());
    // What is read of a Pod is all that can be said about it: nothing is unknown.
    assert!(!running.has_said(&["unknown field"]), "{:?}", running.said);
}

#[tokio::test]
async fn changes_arrive_and_writing_a_status_is_none() {
    let api = cluster();
    let mut running = started(&api).await;
    api.put(ROUTE, route(50));
    assert_eq!(running.changes().await, ["+ VirtualService shop/backend"]);

    let mut same = route(50);
    same["status"] = json!({"conditions": [{"type": "Accepted", "status": "True"}]});
    api.put(ROUTE, same);
    let mut beating = pod("a", "10.0.0.1");
    beating["status"]["containerStatuses"][0]["restartCount"] = json!(1);
    api.put(&pod_path("a"), beating);
    running.stays_quiet().await;

    api.delete(ROUTE);
    api.put(&pod_path("f"), pod("f", "10.0.0.6"));
    let mut changes = running.changes().await;
    while changes.len() < 2 {
        changes.extend(running.changes().await);
    }
    changes.sort();
    assert_eq!(changes, ["+ Pod shop/f", "- VirtualService shop/backend"]);
}

#[tokio::test]
async fn a_list_after_a_gap_passes_on_the_difference() {
    let api = cluster();
    let mut running = started(&api).await;
    // Nobody can reach the API server while things happen, and it forgets what happened.
    api.intercept(|_| Some((503, failure(503, "ServiceUnavailable", "starting"))));
    api.end_watches();
    running
        .says(&["the API server does not answer", "starting"])
        .await;
    api.delete(&pod_path("b"));
    api.put(ROUTE, route(10));
    api.forget();
    api.heal();
    let mut changes = running.changes().await;
    while changes.len() < 2 {
        changes.extend(running.changes().await);
    }
    changes.sort();
    assert_eq!(changes, ["+ VirtualService shop/backend", "- Pod shop/b"]);
    running
        .takes_back(&["the API server does not answer"])
        .await;
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_was() {
    let api = cluster();
    let mut running = started(&api).await;
    let lists = |api: &FakeApi| {
        let seen = api.seen();
        seen.iter()
            .filter(|one| one.path.ends_with("/virtualservices") && !one.query.contains("watch="))
            .count()
    };
    let before = lists(&api);
    api.end_watches();
    api.put(ROUTE, route(20));
    assert_eq!(running.changes().await, ["+ VirtualService shop/backend"]);
    assert_eq!(lists(&api), before);
    assert!(!running.has_said(&["does not answer"]));
}

#[tokio::test]
async fn dropping_the_watch_ends_it() {
    let api = cluster();
    let running = started(&api).await;
    let Running {
        watch, mut batches, ..
    } = running;
    drop(watch);
    assert!(
        timeout(PATIENCE, batches.recv())
            .await
            .expect("in time")
            .is_none()
    );
}
