//! What `ingress-gateway/README.md` promises.
#![expect(clippy::unwrap_used, reason = "a failed test may end in a panic")]

use examples::load::{Plan, run};
use examples::mesh::{Fetched, Mesh, MeshOptions, send};
use http::{Method, Request};

async fn ask(mesh: &Mesh, method: Method, host: &str, path: &str, body: &str) -> Fetched {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host);
    send(mesh.gateway(), request.body(body.to_owned()).unwrap())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_hosts_behind_one_port() {
    let mesh = Mesh::start(MeshOptions::story("ingress-gateway"))
        .await
        .unwrap();

    let front = ask(&mesh, Method::GET, "shop.example.com", "/", "").await;
    assert_eq!(
        (front.status, &front.headers["x-shop-name"]),
        (200, &"frontend-1".parse().unwrap())
    );
    let with_port = ask(&mesh, Method::GET, "Shop.Example.Com:8080", "/", "").await;
    assert_eq!(with_port.status, 200, "{}", with_port.body);

    let stock = ask(
        &mesh,
        Method::GET,
        "partners.example.com",
        "/stock/apples?ripe",
        "",
    )
    .await;
    assert_eq!(stock.status, 200, "{}", stock.body);
    assert_eq!(stock.headers["x-shop-door"], "partners");
    let json = stock.json().unwrap();
    assert_eq!(
        (&json["app"], &json["path"]),
        (&"store".into(), &"/apples?ripe".into())
    );
    assert_eq!(json["headers"]["x-shop-partner"], "yes");

    let body = "abc".repeat(100_000);
    let upload = ask(
        &mesh,
        Method::POST,
        "partners.example.com",
        "/upload",
        &body,
    )
    .await;
    assert_eq!(upload.status, 200, "{}", upload.body);
    assert_eq!(upload.json().unwrap()["bytes"], 300_000);
    for (method, path) in [
        (Method::GET, "/upload"),
        (Method::GET, "/"),
        (Method::GET, "/stock"),
    ] {
        let refused = ask(&mesh, method, "partners.example.com", path, "").await;
        assert_eq!(refused.status, 404, "{path}: {}", refused.body);
    }
    assert_eq!(
        ask(&mesh, Method::GET, "elsewhere.example.com", "/", "")
            .await
            .status,
        404
    );

    let moved = ask(
        &mesh,
        Method::GET,
        "www.old.example.com",
        "/some/page?q=1",
        "",
    )
    .await;
    assert_eq!(moved.status, 308, "{}", moved.body);
    let location = moved.headers["location"].to_str().unwrap();
    assert_eq!(location, "http://shop.example.com/some/page?q=1");

    let plan = Plan::new(mesh.gateway(), "partners.example.com", "/stock/x");
    let report = run(plan.requests(200).http2(8).share_by_header("x-shop-door")).await;
    assert_eq!(
        (report.failed, report.shares.get("partners")),
        (0, Some(&200)),
        "{report}"
    );
}
