//! What `header-routing/README.md` promises.

use examples::load::{Plan, run};
use examples::mesh::{Mesh, MeshOptions, send};
use http::{Method, Request};

const HOST: &str = "shop.example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_decides_the_version() {
    let mesh = Mesh::start(MeshOptions::story("header-routing"))
        .await
        .unwrap();
    let plan = || {
        Plan::new(mesh.gateway(), HOST, "/")
            .requests(200)
            .connections(4)
            .share_by_header("x-shop-tier-backend")
    };
    let preview = |path: &str, method: Method| {
        let mut plan = plan();
        plan.path = path.to_owned();
        plan.method = method;
        plan
    };
    let cases = [
        ("tester", plan().header("x-user", "tester"), "v2"),
        (
            "tester over HTTP/2",
            plan().header("x-user", "tester").http2(8),
            "v2",
        ),
        ("qa-7", plan().header("x-user", "qa-7"), "v2"),
        ("qa-7b", plan().header("x-user", "qa-7b"), "v1"),
        ("Tester", plan().header("x-user", "Tester"), "v1"),
        ("nobody", plan(), "v1"),
        ("preview", preview("/?preview=yes", Method::GET), "v2"),
        (
            "preview by POST",
            preview("/?preview=yes", Method::POST),
            "v1",
        ),
        ("no preview", preview("/?preview=no", Method::GET), "v1"),
    ];
    for (who, plan, version) in cases {
        let report = run(plan).await;
        assert_eq!(report.failed, 0, "{who}: {report}");
        assert_eq!(report.shares.get(version), Some(&200), "{who}: {report}");
    }
    for (user, rule) in [("tester", "testers"), ("somebody", "everybody")] {
        let request = Request::get("/")
            .header("host", HOST)
            .header("x-user", user)
            .body(String::new());
        let answer = send(mesh.gateway(), request.unwrap())
            .await
            .unwrap()
            .json()
            .unwrap();
        assert_eq!(answer["next"]["headers"]["x-shop-route"], rule, "{answer}");
    }
}
