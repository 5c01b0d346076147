//! Elections against an API server in memory, on a clock the tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::testing::{FakeApi, failure};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/mesh/leases/leader";

struct Candidate {
    leads: watch::Receiver<bool>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Candidate {
    fn start(api: &FakeApi, identity: &str) -> Self {
        let leadership = Leadership::new(api.client(), Settings::new("mesh", "leader", identity));
        let leads = leadership.watch();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(leadership.run(async move { drop(stopped.await) }));
        Self {
            leads,
            stop: Some(stop),
            task,
        }
    }

    fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.task).await.unwrap();
    }
}

fn holder(api: &FakeApi) -> String {
    let lease = api.object(LEASE).expect("there is no Lease");
    lease["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

async fn pass(seconds: u64) {
    // In small steps, as time passes: timers that fire start requests that take a moment.
    for _ in 0..seconds * 10 {
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_the_second_waits() {
    let api = FakeApi::new();
    let first = Candidate::start(&api, "a");
    pass(1).await;
    let second = Candidate::start(&api, "b");
    pass(60).await;
    assert!(first.leads() && !second.leads());
    assert_eq!(holder(&api), "a");
    let lease = api.object(LEASE).unwrap();
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_hands_over_at_once() {
    let api = FakeApi::new();
    let first = Candidate::start(&api, "a");
    pass(1).await;
    let second = Candidate::start(&api, "b");
    pass(3).await;
    first.stop().await;
    assert_eq!(holder(&api), "");
    pass(3).await;
    assert!(second.leads());
    assert_eq!(api.object(LEASE).unwrap()["spec"]["leaseTransitions"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_vanishes_is_replaced_when_its_lease_has_run_out() {
    let api = FakeApi::new();
    let first = Candidate::start(&api, "a");
    pass(1).await;
    let second = Candidate::start(&api, "b");
    pass(5).await;
    first.task.abort();
    pass(14).await;
    assert!(!second.leads(), "took the Lease before it had run out");
    pass(6).await;
    assert!(second.leads());
}

#[tokio::test(start_paused = true)]
async fn two_never_lead_at_once_while_the_api_server_serves_only_one_of_them() {
    let api = FakeApi::new();
    let first = Candidate::start(&api, "a");
    pass(1).await;
    let second = Candidate::start(&api, "b");
    pass(5).await;
    // Writes of the first are refused from now on; it cannot know why.
    api.intercept(|seen| {
        let by_first = seen.body["spec"]["holderIdentity"] == "a";
        by_first.then(|| (500, failure(500, "InternalError", "etcd is away")))
    });
    let mut changes = 0;
    for _ in 0..600 {
        sleep(Duration::from_millis(50)).await;
        assert!(!(first.leads() && second.leads()), "both lead");
        changes += u32::from(second.leads());
    }
    assert!(changes > 0, "the second never led");
    assert!(!first.leads());
}

#[tokio::test(start_paused = true)]
async fn a_leader_steps_down_when_the_api_server_hangs_and_leads_again_later() {
    let api = FakeApi::new();
    let leader = Candidate::start(&api, "a");
    pass(5).await;
    api.slow(Duration::from_hours(1));
    pass(8).await;
    assert!(leader.leads(), "stepped down before it had to");
    pass(4).await;
    assert!(!leader.leads(), "led longer than it could be sure of");
    api.slow(Duration::ZERO);
    pass(15).await;
    assert!(leader.leads());
}

#[tokio::test(start_paused = true)]
async fn short_faults_change_nothing() {
    let api = FakeApi::new();
    let leader = Candidate::start(&api, "a");
    pass(5).await;
    api.intercept(|_| Some((503, failure(503, "ServiceUnavailable", "starting"))));
    pass(6).await;
    api.heal();
    let mut leads = leader.leads.clone();
    leads.mark_unchanged();
    pass(20).await;
    assert!(leader.leads() && !leads.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_made_again() {
    let api = FakeApi::new();
    let leader = Candidate::start(&api, "a");
    pass(5).await;
    api.delete(LEASE);
    pass(5).await;
    assert!(leader.leads());
    assert_eq!(holder(&api), "a");
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_by_force_is_respected() {
    let api = FakeApi::new();
    let leader = Candidate::start(&api, "a");
    pass(5).await;
    api.put(
        LEASE,
        json!({"metadata": {}, "spec": {"holderIdentity": "operator", "leaseDurationSeconds": 15}}),
    );
    pass(4).await;
    assert!(!leader.leads());
    pass(20).await;
    assert!(
        leader.leads(),
        "a Lease nobody renews must not be left alone for ever"
    );
}

#[tokio::test(start_paused = true)]
async fn two_that_find_it_free_at_once_do_not_both_get_it() {
    let api = FakeApi::new();
    let raced = Arc::new(AtomicBool::new(false));
    let (other, once) = (api.clone(), Arc::clone(&raced));
    // Just before the first create, somebody else creates it.
    api.intercept(move |seen| {
        if seen.method == http::Method::POST && !once.swap(true, Ordering::SeqCst) {
            other.put(LEASE, json!({"metadata": {}, "spec": {"holderIdentity": "b", "leaseDurationSeconds": 15}}));
        }
        None
    });
    let candidate = Candidate::start(&api, "a");
    pass(5).await;
    assert!(raced.load(Ordering::SeqCst));
    assert!(!candidate.leads());
    assert_eq!(holder(&api), "b");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_process_of_the_same_name_leads_at_once() {
    let api = FakeApi::new();
    api.put(LEASE, json!({"metadata": {}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 4}}));
    let leader = Candidate::start(&api, "a");
    pass(1).await;
    assert!(leader.leads());
    assert_eq!(api.object(LEASE).unwrap()["spec"]["leaseTransitions"], 4);
}
