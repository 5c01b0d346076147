//! Tokens of pods are believed, for as long as they may be, and nothing else is.

use std::time::UNIX_EPOCH;

use base64_of_tests::encode;
use mesh_kubernetes::testing::{FakeApi, Seen, failure};
use serde_json::{Value, json};

use super::*;

const NODE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

mod base64_of_tests {
    use k8s_openapi::ByteString;

    pub(super) fn encode(text: &str) -> String {
        let encoded = serde_json::to_value(ByteString(text.as_bytes().to_vec())).unwrap();
        let text = encoded
            .as_str()
            .unwrap()
            .replace('+', "-")
            .replace('/', "_");
        text.trim_end_matches('=').to_owned()
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn token(audience: &str, expires: u64) -> String {
    signed(&claims(audience, expires))
}

fn claims(audience: &str, expires: u64) -> Value {
    json!({
        "aud": [audience],
        "exp": expires,
        "iss": "https://kubernetes.default.svc.cluster.local",
        "sub": "system:serviceaccount:shop:web",
        "kubernetes.io": {"namespace": "shop", "pod": {"name": "web-1", "uid": "u-1"}},
    })
}

fn signed(claims: &Value) -> String {
    let header = encode(r#"{"alg":"RS256","kid":"1"}"#);
    format!("{header}.{}.c2ln", encode(&claims.to_string()))
}

fn status_of_pod() -> Value {
    json!({
        "authenticated": true,
        "audiences": [AUDIENCE],
        "user": {
            "username": "system:serviceaccount:shop:web",
            "extra": {POD_NAME: ["web-1"], POD_UID: ["u-1"]},
        },
    })
}

fn reviews(api: &FakeApi) -> usize {
    api.seen()
        .iter()
        .filter(|seen| seen.path == REVIEWS)
        .count()
}

/// An API server that answers reviews with this status.
fn answering(status: Value) -> (FakeApi, TokenReviewer) {
    let api = FakeApi::new();
    api.intercept(move |seen: &Seen| {
        let mut review = seen.body.clone();
        review["status"] = status.clone();
        Some((201, review))
    });
    let reviewer = TokenReviewer::new(api.client());
    (api, reviewer)
}

#[tokio::test]
async fn a_bound_token_of_our_audience_says_which_pod_it_is() {
    let (api, reviewer) = answering(status_of_pod());
    let pod = reviewer
        .review(&token(AUDIENCE, now() + 600), NODE)
        .await
        .unwrap();
    assert_eq!(pod.workload.to_string(), "shop/web-1");
    assert_eq!((&*pod.uid, &*pod.service_account), ("u-1", "web"));
    let asked = &api.seen()[0].body["spec"];
    assert_eq!(asked["audiences"], json!([AUDIENCE]));
    assert_eq!(asked["token"], token(AUDIENCE, now() + 600));
}

#[tokio::test]
async fn everything_else_is_refused_with_its_reason() {
    let denied = |error: &str| json!({"authenticated": false, "error": error});
    let unbound = json!({
        "authenticated": true, "audiences": [AUDIENCE],
        "user": {"username": "system:serviceaccount:shop:web"},
    });
    let mut person = status_of_pod();
    person["user"]["username"] = json!("kubernetes-admin");
    let mut unaware = status_of_pod();
    unaware["audiences"] = Value::Null;
    let fresh = token(AUDIENCE, now() + 600);
    let cases = [
        (denied("invalid"), fresh.clone(), "invalid_token"),
        (denied(""), fresh.clone(), "invalid_token"),
        (
            denied("[invalid bearer token, service account token has been invalidated]"),
            fresh.clone(),
            "pod_deleted",
        ),
        (
            denied("x"),
            token("https://kubernetes.default.svc", now() + 600),
            "wrong_audience",
        ),
        // Whose clock is right is for the API server to say.
        (denied("x"), token(AUDIENCE, now() - 5), "expired_token"),
        (unbound, fresh.clone(), "not_bound_to_pod"),
        (person, fresh.clone(), "not_bound_to_pod"),
        (unaware, fresh.clone(), "wrong_audience"),
        (json!({}), fresh, "invalid_token"),
    ];
    for (status, token, reason) in cases {
        let (_api, reviewer) = answering(status.clone());
        let error = reviewer.review(&token, NODE).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{status}: {error}");
    }
}

#[tokio::test]
async fn garbage_never_reaches_the_api_server() {
    let (api, reviewer) = answering(status_of_pod());
    let long = format!(
        "{}.c2ln",
        token(AUDIENCE, 1).replace(".c2ln", &"A".repeat(LONGEST))
    );
    for garbage in ["", "x", "a.b", "a.b.c.d", "a.!!.c", "..", "a.e30.", &long] {
        let error = reviewer.review(garbage, NODE).await.unwrap_err();
        assert_eq!(error, TokenError::Malformed, "{garbage}");
    }
    assert_eq!(reviews(&api), 0);
}

#[tokio::test]
async fn what_says_the_wrong_things_of_itself_never_reaches_the_api_server() {
    let (api, reviewer) = answering(status_of_pod());
    let spoilt = |field: &str, value: Value| {
        let mut claims = claims(AUDIENCE, now() + 600);
        claims[field] = value;
        signed(&claims)
    };
    let unsigned = token(AUDIENCE, now() + 600);
    let (_, rest) = unsigned.split_once('.').unwrap();
    let unsigned = |header: &str| format!("{}.{rest}", encode(header));
    let cases = [
        (token("vault", now() + 600), "wrong_audience"),
        (token(AUDIENCE, now() - 3600), "expired_token"),
        (
            spoilt("kubernetes.io", json!({"pod": {"name": "web-1"}})),
            "not_bound_to_pod",
        ),
        (spoilt("kubernetes.io", Value::Null), "not_bound_to_pod"),
        (spoilt("sub", json!("kubernetes-admin")), "malformed_token"),
        (spoilt("iss", json!("")), "malformed_token"),
        (spoilt("iss", json!("a b")), "malformed_token"),
        (unsigned(r#"{"alg":"none"}"#), "malformed_token"),
        (unsigned(r#"{"alg":"HS256"}"#), "malformed_token"),
        (unsigned("{}"), "malformed_token"),
        (unsigned("no"), "malformed_token"),
    ];
    for (token, reason) in cases {
        let error = reviewer.review(&token, NODE).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
    }
    assert_eq!(reviews(&api), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_shows_one_bad_token_after_the_other_is_not_heard_and_others_are() {
    let api = FakeApi::new();
    api.intercept(|seen: &Seen| {
        let mut review = seen.body.clone();
        let good = review["spec"]["token"] == token(AUDIENCE, 4_000_000_000);
        review["status"] = if good {
            status_of_pod()
        } else {
            json!({"authenticated": false, "error": "no"})
        };
        Some((201, review))
    });
    let reviewer = TokenReviewer::new(api.client());
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    for index in 0..200 {
        let bad = token(AUDIENCE, 3_000_000_000 + index);
        let error = reviewer.review(&bad, NODE).await.unwrap_err();
        *reasons.entry(error.reason()).or_default() += 1;
    }
    let asked = reviews(&api);
    assert!((32..40).contains(&asked), "{asked} of 200: {reasons:?}");
    assert_eq!(reasons["reviews_used_up"], 200 - asked);
    let elsewhere = Some(IpAddr::from([10, 0, 0, 2]));
    let good = token(AUDIENCE, 4_000_000_000);
    reviewer.review(&good, elsewhere).await.unwrap();
    // What is known to be good needs no review, wherever it comes from.
    reviewer.review(&good, NODE).await.unwrap();
    assert_eq!(reviews(&api), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_remembered_for_a_while_but_not_beyond_expiry() {
    let (api, reviewer) = answering(status_of_pod());
    let long = token(AUDIENCE, now() + 600);
    reviewer.review(&long, NODE).await.unwrap();
    tokio::time::sleep(REMEMBERED.mul_f32(0.9)).await;
    reviewer.review(&long, NODE).await.unwrap();
    assert_eq!(reviews(&api), 1);
    tokio::time::sleep(REMEMBERED.mul_f32(0.2)).await;
    reviewer.review(&long, NODE).await.unwrap();
    assert_eq!(reviews(&api), 2);
    let short = token(AUDIENCE, now() + 10);
    reviewer.review(&short, NODE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    reviewer.review(&short, NODE).await.unwrap();
    assert_eq!(reviews(&api), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_remembered_only_shortly() {
    let (api, reviewer) = answering(json!({"authenticated": false, "error": "no"}));
    let token = token(AUDIENCE, now() + 600);
    reviewer.review(&token, NODE).await.unwrap_err();
    reviewer.review(&token, NODE).await.unwrap_err();
    assert_eq!(reviews(&api), 1);
    tokio::time::sleep(REFUSED_FOR).await;
    reviewer.review(&token, NODE).await.unwrap_err();
    assert_eq!(reviews(&api), 2);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_refuses_nobody_for_long() {
    let (api, reviewer) = answering(status_of_pod());
    let token = token(AUDIENCE, now() + 600);
    api.slow(Duration::from_mins(1));
    let began = Instant::now();
    let error = reviewer.review(&token, NODE).await.unwrap_err();
    assert_eq!(error.reason(), "review_unavailable");
    assert_eq!(began.elapsed(), REVIEW_LIMIT);
    api.slow(Duration::ZERO);
    reviewer.review(&token, NODE).await.unwrap();
    let broken = FakeApi::new();
    broken.intercept(|_| Some((500, failure(500, "InternalError", "etcd is gone"))));
    let error = TokenReviewer::new(broken.client())
        .review(&token, NODE)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("etcd is gone"), "{error}");
    assert_eq!(error.reason(), "review_unavailable");
}

#[tokio::test]
async fn tokens_are_never_printed() {
    let (_api, reviewer) = answering(status_of_pod());
    assert_eq!(format!("{reviewer:?}"), "TokenReviewer");
}

/// Whoever shows a token and leaves before it was looked at has used up what a token costs, if it
/// is worth nothing, and nothing if it is good.
#[tokio::test(start_paused = true)]
async fn a_review_nobody_waits_for_any_more_is_heard_to_its_end() {
    let api = FakeApi::new();
    let good = token(AUDIENCE, 4_000_000_000);
    let is_good = good.clone();
    api.intercept(move |seen: &Seen| {
        let mut review = seen.body.clone();
        review["status"] = if review["spec"]["token"] == json!(is_good) {
            status_of_pod()
        } else {
            json!({"authenticated": false, "error": "no"})
        };
        Some((201, review))
    });
    api.slow(Duration::from_secs(1));
    let reviewer = TokenReviewer::new(api.client());
    let leaves = |token: String| {
        let reviewer = &reviewer;
        async move {
            let waiting = reviewer.review(&token, NODE);
            drop(tokio::time::timeout(Duration::from_millis(10), waiting).await);
        }
    };
    for _ in 0..8 {
        leaves(good.clone()).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = reviews(&api);
    reviewer.review(&good, NODE).await.unwrap();
    assert_eq!(reviews(&api), asked, "the answer was heard");
    // Bad ones are paid for, whether somebody waits or not.
    api.slow(Duration::from_millis(20));
    for index in 0..100 {
        leaves(token(AUDIENCE, 3_000_000_000 + index)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let bad = reviews(&api) - asked;
    assert!((32..42).contains(&bad), "{bad} of 100");
}

#[tokio::test(start_paused = true)]
async fn a_node_full_of_good_pods_is_let_in_at_once() {
    let (api, reviewer) = answering(status_of_pod());
    api.slow(Duration::from_millis(20));
    let all = (0..200).map(|index| {
        let token = token(AUDIENCE, 4_000_000_000 + index);
        let reviewer = &reviewer;
        async move { reviewer.review(&token, NODE).await }
    });
    for answer in futures_util::future::join_all(all).await {
        answer.unwrap();
    }
}
