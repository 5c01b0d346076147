//! Reviews as API servers send them, and as nobody should.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{ClusterVersion, Home, Values};

/// Namespaces with an old and a new state.
#[derive(Default)]
struct Fixed {
    known: Option<Labels>,
    now: Option<Result<Option<Labels>, String>>,
    reads: AtomicUsize,
}

impl Namespaces for Fixed {
    fn known(&self, _name: &str) -> Option<Labels> {
        self.known.clone()
    }

    async fn read(&self, _name: &str) -> Result<Option<Labels>, String> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.now.clone().unwrap_or(Err("it is away".to_owned()))
    }
}

fn enabled() -> Labels {
    Labels::from([("istio-injection".to_owned(), "enabled".to_owned())])
}

fn knowing(labels: Labels) -> Fixed {
    Fixed {
        known: Some(labels),
        ..Fixed::default()
    }
}

fn configuration() -> Configuration {
    let mesh = mesh_api::mesh_config::MeshConfig::default();
    Configuration::new(
        Values::default(),
        mesh,
        ClusterVersion::CURRENT,
        Home::default(),
    )
}

fn review(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "namespace": "shop", "name": "",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "oldObject": null, "options": null, "dryRun": true, "subResource": null,
            "object": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "generateName": "web-", "creationTimestamp": null },
                "spec": { "containers": [{ "name": "web", "image": "w", "later": 1 }] },
            },
        },
    });
    change(&mut review);
    serde_json::to_vec(&review).unwrap()
}

async fn ask(body: &[u8], namespaces: &Fixed) -> Answer {
    answer(body, &configuration(), namespaces).await.unwrap()
}

fn message(answer: &Answer) -> &str {
    answer.review["response"]["status"]["message"]
        .as_str()
        .unwrap()
}

#[tokio::test]
async fn a_pod_gets_its_sidecar_through_the_patch() {
    let namespaces = knowing(enabled());
    let answer = ask(&review(|_| {}), &namespaces).await;
    assert_eq!(
        (answer.about.as_str(), &answer.verdict),
        ("shop/web-…", &Verdict::Injected)
    );
    assert_eq!(namespaces.reads.load(Ordering::Relaxed), 0);
    let response = &answer.review["response"];
    assert_eq!(answer.review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(
        (&response["uid"], &response["allowed"]),
        (&json!("u-1"), &json!(true))
    );
    assert_eq!(response["patchType"], "JSONPatch");
    let patch: ByteString = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch.0).unwrap();
    let asked: Value = serde_json::from_slice(&review(|_| {})).unwrap();
    let mut pod = asked["request"]["object"].clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    assert_eq!(pod["spec"]["initContainers"][1]["name"], "istio-proxy");
    assert_eq!(pod["spec"]["containers"][0]["later"], 1);
    // Asked again, it changes nothing.
    let again = review(|review| review["request"]["object"] = pod);
    let answer = ask(&again, &knowing(enabled())).await;
    assert_eq!(answer.verdict, Verdict::AlreadyInjected);
    assert_eq!(
        answer.review["response"],
        json!({ "uid": "u-1", "allowed": true })
    );
}

#[tokio::test]
async fn what_is_no_review_has_no_answer_but_text() {
    let no_uid = review(|review| review["request"]["uid"] = json!(""));
    let no_request = review(|review| review["request"] = Value::Null);
    let other = review(|review| review["kind"] = json!("Pod"));
    let version = review(|review| review["apiVersion"] = json!("admission.k8s.io/v9"));
    let mut many = b"[".to_vec();
    many.extend(b"0,".repeat(300_000));
    for (body, word) in [
        (&b"{"[..], "no JSON"),
        (&many, "300002 values"),
        (b"[]", "AdmissionReview"),
        (b"\xff", "no JSON"),
        (&no_uid, "uid"),
        (&no_request, "uid"),
        (&other, "\"Pod\""),
        (&version, "v9"),
    ] {
        let error = answer(body, &configuration(), &Fixed::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn every_answer_has_the_uid_whatever_is_asked() {
    type Change = fn(&mut Value);
    let cases: [(Change, bool, &str); 9] = [
        (|r| r["request"]["operation"] = json!("DELETE"), true, ""),
        (|r| r["request"]["operation"] = json!("UPDATE"), true, ""),
        (
            |r| r["request"]["subResource"] = json!("ephemeralcontainers"),
            true,
            "",
        ),
        (
            |r| r["request"]["kind"]["kind"] = json!("Service"),
            true,
            "",
        ),
        (
            |r| r["request"]["operation"] = json!(7),
            false,
            "cannot be read",
        ),
        (
            |r| r["request"]["namespace"] = Value::Null,
            false,
            "no namespace",
        ),
        (|r| r["request"]["object"] = Value::Null, false, "no pod"),
        (
            |r| r["request"]["object"]["spec"] = json!("x"),
            false,
            "must be an object",
        ),
        (
            |r| {
                r["request"]["object"]["metadata"]["annotations"] = json!({
                    "sidecar.istio.io/proxyCPU": "lots"
                });
            },
            false,
            "sidecar.istio.io/proxyCPU",
        ),
    ];
    for (change, allowed, word) in cases {
        let answer = ask(&review(change), &knowing(enabled())).await;
        let response = &answer.review["response"];
        assert_eq!(response["uid"], "u-1");
        assert_eq!(response["allowed"], allowed, "{response}");
        assert_eq!(response.get("patch"), None);
        if !allowed {
            assert!(message(&answer).contains(word), "{response}");
        }
    }
    let service = review(|review| review["request"]["kind"]["kind"] = json!("Service"));
    let answer = ask(&service, &Fixed::default()).await;
    assert!(
        answer.review["response"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("Service")
    );
}

#[tokio::test]
async fn labels_that_changed_a_moment_ago_are_seen() {
    let namespaces = Fixed {
        now: Some(Ok(Some(enabled()))),
        ..knowing(Labels::new())
    };
    assert_eq!(
        ask(&review(|_| {}), &namespaces).await.verdict,
        Verdict::Injected
    );
    // Nothing newer can be had: what is known holds.
    let answer = ask(&review(|_| {}), &knowing(Labels::new())).await;
    assert!(matches!(answer.verdict, Verdict::Skipped(why) if why.contains("istio-injection")));
}

#[tokio::test]
async fn a_namespace_that_is_gone_or_unreadable_is_told() {
    let gone = Fixed {
        now: Some(Ok(None)),
        ..Fixed::default()
    };
    let answer = ask(&review(|_| {}), &gone).await;
    assert_eq!(answer.review["response"]["status"]["code"], 404);
    assert!(message(&answer).contains("namespace shop does not exist"));
    let answer = ask(&review(|_| {}), &Fixed::default()).await;
    assert_eq!(answer.review["response"]["status"]["code"], 503);
    assert!(message(&answer).contains("it is away; try again"));
}

#[tokio::test]
async fn warnings_are_kept_short() {
    let long = "x".repeat(400);
    let body = review(|review| {
        let name = format!("sidecar.istio.io/{long}");
        review["request"]["object"]["metadata"]["annotations"] = json!({ name: "1" });
    });
    let answer = ask(&body, &knowing(enabled())).await;
    let warning = answer.review["response"]["warnings"][0].as_str().unwrap();
    assert!(
        warning.chars().count() <= 256 && warning.contains("annotation"),
        "{warning}"
    );
}
