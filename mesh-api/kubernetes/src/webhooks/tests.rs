//! Against an API server in memory: what is missing is filled in, what is overwritten comes back,
//! and what others say is left alone.

use mesh_runtime::drain::Drain;
use mesh_runtime::readiness::Readiness;

use super::*;
use crate::testing::FakeApi;

const PATH: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/sidecar-injector";

fn pem(body: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

fn configuration(bundles: &[Option<&str>]) -> Value {
    let webhooks: Vec<Value> = bundles
        .iter()
        .enumerate()
        .map(|(index, bundle)| {
            let mut config = json!({ "service": { "name": "s" } });
            if let Some(bundle) = bundle {
                config["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
            }
            json!({ "name": format!("w{index}"), "clientConfig": config, "failurePolicy": "Ignore",
                    "fieldOfTheFuture": index })
        })
        .collect();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "sidecar-injector" },
        "webhooks": webhooks,
    })
}

struct Kept {
    api: FakeApi,
    wanted: channel::Sender<Wanted>,
    readiness: Readiness,
    drain: Drain,
}

fn keeping(api: FakeApi, wanted: Wanted) -> Kept {
    let (sender, receiver) = channel::channel(wanted);
    let (readiness, drain) = (Readiness::new(), Drain::new());
    let settings = Settings {
        kind: Kind::Mutating,
        name: "sidecar-injector".to_owned(),
        manager: "test".to_owned(),
        lenient: Some("lenient".to_owned()),
    };
    let gate = readiness.gate("trusted");
    tokio::spawn(keep(api.client(), settings, receiver, gate, drain.watch()));
    Kept {
        api,
        wanted: sender,
        readiness,
        drain,
    }
}

fn wanting(bundle: &str, failure_policy: Option<FailurePolicy>) -> Wanted {
    Wanted {
        bundle_pem: Arc::from(bundle),
        failure_policy,
    }
}

impl Kept {
    async fn until(&self, what: &str, done: impl Fn(&Value) -> bool) {
        let looking = async {
            loop {
                if self.api.object(PATH).is_some_and(|object| done(&object)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(10), looking).await;
        assert!(seen.is_ok(), "{what}: {:#?}", self.api.object(PATH));
    }

    fn patches(&self) -> usize {
        let seen = self.api.seen();
        seen.iter()
            .filter(|one| one.method == http::Method::PATCH)
            .count()
    }
}

fn trusts(object: &Value, bundle: &str) -> bool {
    let bundle = json!(ByteString(bundle.as_bytes().to_vec()));
    let webhooks = object["webhooks"].as_array().unwrap();
    webhooks
        .iter()
        .all(|one| one["clientConfig"]["caBundle"] == bundle)
}

#[tokio::test]
async fn every_webhook_is_filled_in_and_comes_back_when_overwritten() {
    let api = FakeApi::new();
    api.put(PATH, configuration(&[None, Some("garbage")]));
    let ours = pem("AAAA");
    let kept = keeping(api, wanting(&ours, None));
    kept.until("filled in", |object| trusts(object, &ours))
        .await;
    tokio::time::timeout(Duration::from_secs(5), kept.readiness.ready())
        .await
        .unwrap();
    let object = kept.api.object(PATH).unwrap();
    assert_eq!(object["webhooks"][1]["fieldOfTheFuture"], 1);
    assert_eq!(object["webhooks"][1]["failurePolicy"], "Ignore");
    assert_eq!(
        object["webhooks"][1]["clientConfig"]["service"]["name"],
        "s"
    );
    // Somebody applies the manifest without a bundle.
    kept.api.put(PATH, configuration(&[None]));
    kept.until("repaired", |object| trusts(object, &ours)).await;
    // A new root comes.
    let both = format!("{ours}{}", pem("BBBB"));
    kept.wanted.send(wanting(&both, None)).unwrap();
    kept.until("both", |object| trusts(object, &both)).await;
    kept.drain.trigger();
}

#[tokio::test]
async fn the_failure_policy_is_kept_where_that_is_wanted() {
    let api = FakeApi::new();
    let ours = pem("AAAA");
    api.put(PATH, configuration(&[Some(&ours)]));
    let kept = keeping(api, wanting(&ours, Some(FailurePolicy::Ignore)));
    tokio::time::timeout(Duration::from_secs(5), kept.readiness.ready())
        .await
        .unwrap();
    assert_eq!(kept.patches(), 0, "nothing was wrong");
    kept.wanted
        .send(wanting(&ours, Some(FailurePolicy::Fail)))
        .unwrap();
    kept.until("fails", |object| {
        object["webhooks"][0]["failurePolicy"] == "Fail"
    })
    .await;
    kept.api.put(PATH, configuration(&[Some(&ours)]));
    kept.until("fails again", |object| {
        object["webhooks"][0]["failurePolicy"] == "Fail"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn roots_that_are_too_many_are_left_for_a_while() {
    let api = FakeApi::new();
    let (ours, newer) = (pem("AAAA"), format!("{}{}", pem("AAAA"), pem("BBBB")));
    api.put(PATH, configuration(&[Some(&newer)]));
    let kept = keeping(api, wanting(&ours, None));
    tokio::time::timeout(Duration::from_secs(5), kept.readiness.ready())
        .await
        .unwrap();
    tokio::time::sleep(SURPLUS / 2).await;
    assert_eq!(kept.patches(), 0);
    tokio::time::sleep(SURPLUS).await;
    assert!(trusts(&kept.api.object(PATH).unwrap(), &ours));
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_waited_for_and_what_is_refused_is_tried_again() {
    let api = FakeApi::new();
    let ours = pem("AAAA");
    let kept = keeping(api, wanting(&ours, None));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!kept.readiness.is_ready());
    assert!(kept.api.object(PATH).is_none(), "it is not ours to create");
    kept.api.intercept(|seen| {
        (seen.method == http::Method::PATCH).then(|| {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "reason": "Forbidden", "message": "no", "code": 403 });
            (403, status)
        })
    });
    kept.api.put(PATH, configuration(&[None]));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!kept.readiness.is_ready() && kept.patches() > 3);
    kept.api.heal();
    tokio::time::timeout(Duration::from_mins(2), kept.readiness.ready())
        .await
        .unwrap();
    assert!(trusts(&kept.api.object(PATH).unwrap(), &ours));
}

#[test]
fn a_lenient_webhook_keeps_its_failure_policy_and_gets_the_roots() {
    let object: DynamicObject = serde_json::from_value(configuration(&[None, None])).unwrap();
    let wanted = wanting(&pem("A"), Some(FailurePolicy::Fail));
    let (webhooks, _) = repaired(&object, &wanted, Some("w1"));
    let policies: Vec<_> = webhooks.iter().map(|one| &one["failurePolicy"]).collect();
    assert_eq!(policies, ["Fail", "Ignore"]);
    assert!(
        webhooks
            .iter()
            .all(|one| one["clientConfig"]["caBundle"].is_string())
    );
}
