//! Reviews: judged, answered, and never without an answer.

use http::Method;
use mesh_runtime::admin::AdminRequest;
use serde_json::{Value, json};

use super::*;

mod neighbours;
mod verdicts;

fn request(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut request = json!({
        "uid": "u-1", "operation": "CREATE", "namespace": "shop", "name": "a", "dryRun": true,
        "kind": {"group": "networking.istio.io", "version": "v1", "kind": "VirtualService"},
        "resource": {"group": "networking.istio.io", "version": "v1", "resource": "virtualservices"},
        "subResource": null, "oldObject": null, "options": null,
        "object": {},
    });
    change(&mut request);
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request,
    });
    serde_json::to_vec(&review).unwrap()
}

/// A document as a request to create it.
fn create(document: &Value) -> Vec<u8> {
    request(|request| {
        let api_version = document["apiVersion"].as_str().unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        request["kind"] = json!({"group": group, "version": version, "kind": document["kind"]});
        request["object"] = document.clone();
    })
}

fn update(old: &Value, new: &Value) -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(&create(new)).unwrap();
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = old.clone();
    serde_json::to_vec(&review).unwrap()
}

fn document(api_version: &str, kind: &str, spec: &str) -> Value {
    let spec: Value = serde_saphyr::from_str(spec).unwrap();
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {
            "name": "a", "namespace": "shop", "uid": "x", "generation": 1,
            "creationTimestamp": "2024-05-06T07:08:09Z",
            "managedFields": [{"manager": "kubectl", "operation": "Apply"}],
        },
        "spec": spec,
    })
}

fn respond_to(body: &[u8]) -> Value {
    let review = Reviewer::default().review(body).unwrap().to_review();
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["response"]["uid"], "u-1");
    review["response"].clone()
}

fn judged(api_version: &str, kind: &str, spec: &str) -> Value {
    respond_to(&create(&document(api_version, kind, spec)))
}

fn warnings(response: &Value) -> Vec<String> {
    let listed = response["warnings"].as_array().into_iter().flatten();
    listed.map(|one| one.as_str().unwrap().to_owned()).collect()
}

const NETWORKING: &str = "networking.istio.io/v1";
const SECURITY: &str = "security.istio.io/v1";

#[test]
fn sound_objects_pass_in_every_version() {
    for (kind, spec) in [
        (
            Kind::VirtualService,
            "{hosts: [web], http: [{route: [{destination: {host: web}}]}]}",
        ),
        (
            Kind::DestinationRule,
            "{host: web, subsets: [{name: v1, labels: {version: v1}}]}",
        ),
        (
            Kind::Gateway,
            "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
        ),
        (
            Kind::ServiceEntry,
            "{hosts: [a.example.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}",
        ),
        (Kind::Sidecar, "{egress: [{hosts: [./*]}]}"),
        (Kind::WorkloadEntry, "{address: 192.0.2.9}"),
        (Kind::PeerAuthentication, "{mtls: {mode: PERMISSIVE}}"),
    ] {
        for api_version in kind.api_versions() {
            let response = judged(&api_version, kind.as_str(), spec);
            assert_eq!(
                response["allowed"], true,
                "{api_version} {kind}: {response}"
            );
            assert_eq!(warnings(&response), [""; 0], "{api_version} {kind}");
        }
    }
}

#[test]
fn every_problem_is_said_at_once() {
    let response = judged(
        NETWORKING,
        "VirtualService",
        "{hosts: [a, a], http: [{retries: {attempts: 1, perTryTimeot: 2s}, redirect: {}}]}",
    );
    assert_eq!(response["allowed"], false);
    let status = &response["status"];
    assert_eq!(
        (&status["code"], &status["reason"]),
        (&json!(422), &json!("Invalid"))
    );
    assert_eq!(status["details"]["kind"], "VirtualService");
    assert_eq!(status["details"]["name"], "a");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("perTryTimeot: unknown field; did you mean"),
        "{message}"
    );

    let response = judged(
        NETWORKING,
        "VirtualService",
        "{hosts: [a, a], http: [{name: x}, {retries: {attempts: 0, retryOn: '5xx'}, redirect: {}}]}",
    );
    let causes = response["status"]["details"]["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 4);
    // What would only be warned about is said beside it.
    assert_eq!(warnings(&response).len(), 1);
    assert!(
        causes.iter().any(|cause| cause["field"] == "spec.http[0]"),
        "{causes:#?}"
    );
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("VirtualService refused for 4 reasons:\n- spec."),
        "{message}"
    );
}

/// An object that was stored before something was refused can still lose a finalizer, get a
/// status, and go.
#[test]
fn updates_that_leave_the_specification_alone_always_pass() {
    let stored = document(NETWORKING, "VirtualService", "{hosts: [a], nonsense: 1}");
    let mut touched = stored.clone();
    touched["metadata"]["finalizers"] = json!([]);
    touched["status"] = json!({"conditions": []});
    assert_eq!(respond_to(&update(&stored, &touched))["allowed"], true);

    let mut changed = stored.clone();
    changed["spec"]["hosts"] = json!(["b"]);
    assert_eq!(respond_to(&update(&stored, &changed))["allowed"], false);
    changed["metadata"]["deletionTimestamp"] = json!("2024-05-06T07:08:09Z");
    assert_eq!(respond_to(&update(&stored, &changed))["allowed"], true);

    let status = request(|request| {
        request["operation"] = json!("UPDATE");
        request["subResource"] = json!("status");
        request["object"] = json!({"spec": 7});
    });
    assert_eq!(respond_to(&status)["allowed"], true);
    let delete = request(|request| {
        request["operation"] = json!("DELETE");
        request["object"] = Value::Null;
    });
    assert_eq!(respond_to(&delete)["allowed"], true);
}

#[test]
fn names_an_api_server_has_yet_to_fill_in_are_no_mistakes() {
    let mut generated = document(NETWORKING, "Sidecar", "{egress: [{hosts: [./*]}]}");
    generated["metadata"] = json!({"generateName": "a-", "creationTimestamp": null});
    assert_eq!(respond_to(&create(&generated))["allowed"], true);
    generated["metadata"] = json!({});
    assert_eq!(respond_to(&create(&generated))["allowed"], false);
}

#[test]
fn kinds_and_versions_of_others() {
    let other = document("networking.istio.io/v1", "Banana", "{}");
    let response = respond_to(&create(&other));
    assert_eq!(response["allowed"], true);
    assert!(warnings(&response)[0].contains("Banana"), "{response}");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}});
    assert_eq!(respond_to(&create(&pod))["allowed"], true);
    let newer = document("networking.istio.io/v7", "Gateway", "{}");
    let response = respond_to(&create(&newer));
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("\"v7\" is not a version of Gateway"),
        "{message}"
    );
}

#[test]
fn objects_too_large_are_refused_with_the_limit() {
    let mut large = document(NETWORKING, "VirtualService", "{hosts: [a], http: []}");
    large["metadata"]["annotations"] = json!({"a": "x".repeat(LARGEST_OBJECT)});
    let response = respond_to(&create(&large));
    assert_eq!(response["status"]["code"], 413);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("at most 3145728 are looked at"),
        "{message}"
    );
    // It can still be made smaller: the old object does not count.
    let small = document(NETWORKING, "Sidecar", "{egress: [{hosts: [./*]}]}");
    assert_eq!(respond_to(&update(&large, &small))["allowed"], true);
}

#[test]
fn what_is_no_review_is_told_so() {
    let reviewer = Reviewer::default();
    let mut many = b"[".to_vec();
    many.extend(b"0,".repeat(300_000));
    for (body, expected) in [
        (&b""[..], "the body is no JSON"),
        (&many, "300002 values"),
        (b"{", "the body is no JSON"),
        (b"[]", "expected an AdmissionReview"),
        (
            br#"{"kind": "Pod", "apiVersion": "v1"}"#,
            "not kind \"Pod\" of \"v1\"",
        ),
        (
            br#"{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}"#,
            "has no request with a uid",
        ),
        (
            br#"{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": 7}"#,
            "has no request with a uid",
        ),
    ] {
        let error = reviewer.review(body).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // With a uid there is somebody to answer to.
    for change in [
        json!({"operation": 7}),
        json!({"kind": "text"}),
        json!({"object": "text"}),
    ] {
        let body = request(|request| {
            for (field, value) in change.as_object().unwrap() {
                request[field] = value.clone();
            }
        });
        let response = respond_to(&body);
        assert_eq!(response["allowed"], false, "{change}");
        assert_eq!(response["status"]["code"], 400, "{change}");
    }
}

/// One more way to be asked than by any client: no document makes it fail or hang.
#[test]
fn odd_documents_get_an_answer() {
    let specs = [
        "[]",
        "7",
        "null",
        "{host: ''}",
        "{host: '*'}",
        "{host: 10.0.0.1}",
        "{hosts: []}",
        "{servers: [{}]}",
        "{egress: [{}]}",
        "{ports: [{number: 0}]}",
        "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 0}}, {}]}}",
    ];
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_mesh_resource()) {
        for spec in specs {
            let response = judged(&kind.api_versions()[0], kind.as_str(), spec);
            assert!(response["allowed"].is_boolean());
            assert_ne!(response["status"]["code"], 500, "{kind} {spec}");
        }
    }
}

async fn post(body: Vec<u8>) -> (u16, Value) {
    let router = mount(Router::new("test"), Reviewer::default());
    let uri = format!("{PATH}?timeout=10s");
    let request = http::Request::builder().method(Method::POST).uri(uri);
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let peer = "127.0.0.1:1".parse().unwrap();
    let answer = router
        .respond(AdminRequest::new(parts, body.into(), peer))
        .await;
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (answer.status().as_u16(), value)
}

#[tokio::test]
async fn it_is_served_to_whoever_posts() {
    let sound = document(NETWORKING, "Sidecar", "{egress: [{hosts: [./*]}]}");
    let (status, review) = post(create(&sound)).await;
    assert_eq!(
        (status, &review["response"]["allowed"]),
        (200, &json!(true))
    );
    let (status, text) = post(b"nonsense".to_vec()).await;
    assert_eq!(status, 400);
    assert!(text.as_str().unwrap().contains("the body is no JSON"));
    let mut long = sound;
    long["metadata"]["annotations"] = json!({"a": "x".repeat(64 << 10)});
    let (status, review) = post(create(&long)).await;
    assert_eq!(
        (status, &review["response"]["allowed"]),
        (200, &json!(true))
    );
}

#[test]
fn mistakes_in_the_settings_are_causes_of_their_own() {
    let document = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLLY}\n"},
    });
    let mut review: Value = serde_json::from_slice(&create(&document)).unwrap();
    review["request"]["name"] = json!("istio");
    review["request"]["namespace"] = json!("istio-system");
    let answer = respond_to(&serde_json::to_vec(&review).unwrap());
    assert_eq!(answer["allowed"], false, "{answer}");
    // All that `kubectl` shows of what is invalid.
    let cause = &answer["status"]["details"]["causes"][0];
    let field = cause["field"].as_str().unwrap();
    assert!(field.ends_with("outboundTrafficPolicy.mode"), "{cause}");
    let message = cause["message"].as_str().unwrap();
    assert!(message.contains("did you mean REGISTRY_ONLY?"), "{cause}");
}
