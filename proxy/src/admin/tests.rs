//! Every page answers, and actions reach whom they ask.

use bytes::Bytes;
use http::{Method, StatusCode};
use mesh_runtime::admin::AdminRequest;

use super::*;

fn admin() -> (Router, mpsc::Receiver<Request>) {
    let (ask, asked) = mpsc::channel(1);
    let admin = Admin {
        live: LiveConfig::new(),
        control: ControlStatus::default(),
        readiness: Readiness::new(),
        prometheus: Prometheus::detached(),
        ask,
    };
    admin.readiness.gate("configuration");
    (router(&admin), asked)
}

async fn ask(router: &Router, method: Method, path: &str) -> AdminResponse {
    let (parts, ()) = http::Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .unwrap()
        .into_parts();
    let peer = "127.0.0.1:1".parse().unwrap();
    router
        .respond(AdminRequest::new(parts, Bytes::new(), peer))
        .await
}

#[tokio::test]
async fn every_page_answers() {
    let (router, _asked) = admin();
    for page in [
        "/",
        "/config_dump",
        "/config_dump?resource=cluster/",
        "/listeners",
        "/clusters",
        "/stats",
        "/stats?filter=listener",
        "/stats/prometheus",
        "/version",
        "/control",
    ] {
        let answer = ask(&router, Method::GET, page).await;
        assert_eq!(answer.status(), StatusCode::OK, "{page}");
    }
    let ready = ask(&router, Method::GET, "/ready").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let index = ask(&router, Method::GET, "/").await;
    let index = String::from_utf8(index.body().to_vec()).unwrap();
    for page in ["/config_dump", "/clusters", "/logging"] {
        assert!(index.contains(page), "{page} is not in the index:\n{index}");
    }
}

#[tokio::test]
async fn no_port_stops_or_drains_the_process() {
    let (router, mut asked) = admin();
    for page in ["/drain", "/quit", "/quitquitquit"] {
        let answer = ask(&router, Method::POST, page).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{page}");
    }
    assert!(asked.try_recv().is_err());
    let level = ask(&router, Method::POST, "/logging?level=proxy%3Dloud").await;
    assert_eq!(level.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn actions_are_posted_and_passed_on() {
    let (ask_for, mut asked) = mpsc::channel(1);
    let router = actions::mount(Router::new("actions"), &ask_for);
    let get = ask(&router, Method::GET, "/quit").await;
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(asked.try_recv().is_err());

    let drain = ask(&router, Method::POST, "/drain").await;
    assert_eq!(drain.status(), StatusCode::OK);
    assert_eq!(asked.try_recv(), Ok(Request::Drain));
    assert_eq!(
        ask(&router, Method::POST, "/quit").await.status(),
        StatusCode::OK
    );
    assert_eq!(asked.try_recv(), Ok(Request::Quit));

    drop(asked);
    assert_eq!(
        ask(&router, Method::POST, "/quit").await.status(),
        StatusCode::CONFLICT
    );
}
