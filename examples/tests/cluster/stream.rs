//! The configuration stream is never open to strangers.

use std::time::Duration;

use examples::cluster::{Cluster, text};
use examples::stream_probe::{Answer, Probe, plaintext, probe};
use tonic::Code;

use super::support::{image, shop};

const SPACE: &str = "cluster-stream";
const SYSTEM: &str = "istio-system";

/// Two pods of one service account: what one may ask for, the other may not.
fn pods(image: &str) -> String {
    ["mine", "other"]
        .map(|name| {
            format!(
                r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {SPACE}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: idle
    image: {image}
    args: [store, --listen, "0.0.0.0:8080"]
"#
            )
        })
        .join("---")
}

fn start_pods(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.fresh_namespace(SPACE, false)?;
    let image = image(cluster)?;
    cluster.apply(&pods(&image))?;
    cluster.kubectl(&[
        "wait",
        "-n",
        SPACE,
        "--for=condition=Ready",
        "pod/mine",
        "pod/other",
        "--timeout=60s",
    ])?;
    Ok(())
}

fn token(cluster: &Cluster, pod: &str, audience: &str) -> anyhow::Result<String> {
    let object = cluster.json(&["pod", pod, "-n", SPACE])?;
    let token = cluster.kubectl(&[
        "create",
        "token",
        "default",
        "-n",
        SPACE,
        &format!("--audience={audience}"),
        "--bound-object-kind=Pod",
        &format!("--bound-object-name={pod}"),
        &format!("--bound-object-uid={}", text(&object, "/metadata/uid")),
    ])?;
    Ok(token.trim().to_owned())
}

fn refused(answer: &Answer, code: Code, word: &str) {
    let as_expected = matches!(
        answer,
        Answer::Refused { code: found, message } if *found == code && message.contains(word)
    );
    assert!(
        as_expected,
        "expected {code:?} about {word:?}, got {answer}"
    );
}

#[tokio::test]
async fn only_a_pod_with_its_own_valid_token_gets_a_configuration() {
    let Some(cluster) = Cluster::connect("cluster stream").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    start_pods(&cluster).unwrap();
    let service = cluster.json(&["service", "istiod", "-n", SYSTEM]).unwrap();
    let address = format!("{}:15012", text(&service, "/spec/clusterIP"));
    let address = address.parse().unwrap();
    let roots = cluster
        .json(&["configmap", "istio-ca-root-cert", "-n", SPACE])
        .unwrap();
    let roots_pem = text(&roots, "/data/root-cert.pem");
    let workload = format!("{SPACE}/mine");
    let knock = async |token: Option<&str>| {
        probe(&Probe {
            address,
            server_name: "istiod.istio-system.svc",
            roots_pem,
            token,
            workload: &workload,
        })
        .await
        .unwrap()
    };

    let mine = token(&cluster, "mine", "istio-ca").unwrap();
    let answer = knock(Some(&mine)).await;
    assert!(matches!(answer, Answer::Configuration { .. }), "{answer}");
    refused(&knock(None).await, Code::Unauthenticated, "token");
    refused(
        &knock(Some("nonsense")).await,
        Code::Unauthenticated,
        "token",
    );
    let wrong = token(&cluster, "mine", "somebody-else").unwrap();
    refused(
        &knock(Some(&wrong)).await,
        Code::Unauthenticated,
        "istio-ca",
    );
    let other = token(&cluster, "other", "istio-ca").unwrap();
    refused(
        &knock(Some(&other)).await,
        Code::PermissionDenied,
        &format!("{SPACE}/other"),
    );
    let unbound = cluster
        .kubectl(&[
            "create",
            "token",
            "default",
            "-n",
            SPACE,
            "--audience=istio-ca",
        ])
        .unwrap();
    refused(
        &knock(Some(unbound.trim())).await,
        Code::Unauthenticated,
        "pod",
    );

    // Never used before, so that no earlier answer about it is remembered.
    let late = token(&cluster, "mine", "istio-ca").unwrap();
    cluster
        .kubectl(&["delete", "pod", "mine", "-n", SPACE, "--wait=true"])
        .unwrap();
    // An API server believes the token of a deleted pod for another ten seconds.
    tokio::time::sleep(Duration::from_secs(15)).await;
    refused(&knock(Some(&late)).await, Code::Unauthenticated, "pod");

    let answer = plaintext(address).await.unwrap();
    assert!(answer.is_empty(), "{answer:?}");
    cluster.remove_namespace(SPACE).unwrap();
}
