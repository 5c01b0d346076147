//! Failures to reach the API server say what to do.

use kube::core::Status;

use super::*;

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: one
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]
contexts: [{name: one, context: {cluster: c, user: u, namespace: shop}}]
users: [{name: u, user: {token: t}}]
";

#[tokio::test]
async fn a_kubeconfig_is_enough_though_nobody_answers_yet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    std::fs::write(&path, KUBECONFIG).unwrap();
    let client = connect(Some(&path), Some("one"), "test/1").await.unwrap();
    assert_eq!(client.default_namespace(), "shop");
    let Err(error) = connect(Some(&path), Some("two"), "test/1").await else {
        panic!("there is no such context");
    };
    assert!(error.to_string().contains("get-contexts"), "{error}");
    let absent = folder.path().join("absent");
    let Err(error) = connect(Some(&absent), None, "test/1").await else {
        panic!("there is no such file");
    };
    assert!(error.to_string().contains("absent"), "{error}");
    let refused = within("list pods", client.apiserver_version()).await;
    let text = refused.unwrap_err().to_string();
    let place = "cannot list pods: the API server at https://127.0.0.1:1: ";
    assert!(text.starts_with(place), "{text}");
    assert!(
        text.matches("refused").count() == 1,
        "the cause, once: {text}"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_say_what_was_wanted_and_what_to_do() {
    let silent = within(
        "read Secret a/b",
        std::future::pending::<kube::Result<()>>(),
    )
    .await;
    let text = silent.unwrap_err().to_string();
    assert!(
        text.contains("read Secret a/b") && text.contains("10s"),
        "{text}"
    );
    let status = Status::failure("secrets \"b\" is forbidden", "Forbidden").with_code(403);
    let denied = kube::Error::Api(Box::new(status));
    let denied = within::<()>("read Secret a/b", async { Err(denied) })
        .await
        .unwrap_err();
    assert!(denied.is_forbidden() && !denied.is_not_found());
    assert!(denied.to_string().contains("apply the Roles"), "{denied}");
}
