//! Which rule takes a request, and what the rule does to it.

#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use http_support::{Client, Upstream, fetch, get, request};
use mesh_api::cluster::{Affinity, ConsistentHash, HashAlgorithm, LoadBalancer};
use mesh_api::header::EditableHeader;
use mesh_api::resource::Resource;
use mesh_api::route::filter::HeaderEdit;
use mesh_api::route::{
    Destinations, DirectResponse, Failure, FailureFlag, HeaderMatch, HeaderText, Matched, Pattern,
    QueryMatch, Redirect, RedirectPath, RedirectPort, RequestMatch, Rewrite, RouteAction, Rule,
    StringMatch, Target, UriRewrite, ValueMatch,
};
use shop::{
    SHOP, Shop, always, cluster, forward, labelled, path, prefix, routes, rule, subset, weighted,
};

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

fn respond(name: &str, matches: RequestMatch) -> Rule {
    let answer = DirectResponse {
        status: StatusCode::OK,
        body: name.to_owned().into(),
    };
    rule(name, vec![matches], RouteAction::Respond(answer))
}

#[tokio::test]
async fn every_matcher_chooses_its_rule_and_the_first_wins() {
    let header = |value| HeaderMatch {
        name: Matched::parse("x-user").unwrap(),
        value,
    };
    let any = RequestMatch::default;
    let rules = vec![
        respond(
            "method",
            RequestMatch {
                method: Some(exact("DELETE")),
                ..any()
            },
        ),
        respond(
            "authority",
            RequestMatch {
                authority: Some(exact("shop.test:80")),
                ..any()
            },
        ),
        respond(
            "header",
            RequestMatch {
                headers: vec![header(ValueMatch::Text(exact("jason")))],
                ..any()
            },
        ),
        respond(
            "query",
            RequestMatch {
                query: vec![QueryMatch {
                    name: "debug".into(),
                    value: ValueMatch::Present,
                }],
                ..any()
            },
        ),
        respond("exact", path(exact("/exact"))),
        respond(
            "regex",
            path(StringMatch::Regex(Pattern::new("/v[0-9]+/x").unwrap())),
        ),
        respond("prefix", prefix("/pre")),
        respond(
            "without",
            RequestMatch {
                without_headers: vec![header(ValueMatch::Present)],
                ..prefix("/without")
            },
        ),
    ];
    let shop = Shop::with(cluster(SHOP), &[], rules).await;
    let mut client = Client::http1(shop.address).await;
    let with_user = |path: &str, user: &'static str| {
        let mut request = get(SHOP, path);
        request
            .headers_mut()
            .insert("x-user", HeaderValue::from_static(user));
        request
    };
    for (request, expected) in [
        (request("DELETE", SHOP, "/pre", ""), "method"),
        (get("shop.test:80", "/pre"), "authority"),
        (with_user("/pre", "jason"), "header"),
        (get(SHOP, "/pre?debug"), "query"),
        (get(SHOP, "/exact"), "exact"),
        (get(SHOP, "/v12/x"), "regex"),
        (get(SHOP, "/prefix/and/more"), "prefix"),
        (get(SHOP, "/a/../pre/%61"), "prefix"),
        (get(SHOP, "/without"), "without"),
    ] {
        let uri = request.uri().clone();
        assert_eq!(client.send(request).await.text(), expected, "{uri}");
    }
    assert_eq!(client.send(with_user("/without", "x")).await.status, 404);
    shop.counted(404, "NR").await;
}

#[tokio::test]
async fn unknown_hosts_and_bad_destinations_are_refused_with_their_flag() {
    let nowhere = Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        flag: FailureFlag::NoCluster,
        reason: "no subset v9".into(),
    };
    let mut to_nowhere = forward(SHOP);
    to_nowhere.destinations = Destinations::one(Target::Fail(nowhere));
    let rules = vec![
        rule(
            "nc",
            vec![prefix("/nc")],
            RouteAction::Forward(Box::new(to_nowhere)),
        ),
        always(forward(SHOP)),
    ];
    let shop = Shop::with(cluster(SHOP), &[], rules).await;
    assert_eq!(fetch(shop.address, "other.test", "/").await.status, 404);
    shop.counted(404, "NR").await;
    let refused = shop.get("/nc").await;
    assert_eq!(refused.status, 503);
    shop.counted(503, "NC").await;
    let empty = shop.get("/").await;
    assert_eq!((empty.status, empty.text()), (503, "no healthy upstream"));
    shop.counted(503, "UH").await;
}

#[tokio::test]
async fn a_request_goes_through_with_the_mesh_headers_and_without_hop_headers() {
    let upstream = Upstream::named("one").await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let mut client = Client::http1(shop.address).await;
    let mut request = request("POST", SHOP, "/a/./b?q=%2e", "hello");
    let headers = request.headers_mut();
    headers.insert("connection", HeaderValue::from_static("x-hop"));
    headers.insert("x-hop", HeaderValue::from_static("1"));
    headers.insert("keep-alive", HeaderValue::from_static("timeout=1"));
    let answer = client.send(request).await;
    assert_eq!((answer.status, answer.text()), (200, "one"));
    assert_eq!(answer.header("saw-target"), "/a/b?q=%2e");
    assert_eq!(answer.header("saw-length"), "5");
    assert_eq!(answer.header("saw-host"), SHOP);
    assert_eq!(answer.header("saw-x-envoy-attempt-count"), "1");
    assert_eq!(answer.header("saw-x-forwarded-proto"), "http");
    assert_eq!(answer.header("saw-x-request-id").len(), 36);
    assert_eq!(answer.header("server"), "envoy");
    assert!(answer.headers.contains_key("x-envoy-upstream-service-time"));
    for gone in [
        "saw-x-hop",
        "saw-keep-alive",
        "saw-connection",
        "saw-x-forwarded-for",
    ] {
        assert!(!answer.headers.contains_key(gone), "{gone}");
    }
    shop.counted(200, "-").await;
    let labels = [
        "destination_service_name=\"shop\"",
        "destination_workload=\"backend\"",
    ];
    shop.proxy
        .metric_reaches("istio_requests_total", &labels, 1.0)
        .await;
}

#[tokio::test]
async fn connections_are_used_again() {
    let upstream = Upstream::named("one").await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let mut client = Client::http1(shop.address).await;
    for _ in 0..20 {
        assert_eq!(client.get(SHOP, "/").await.text(), "one");
    }
    assert_eq!((upstream.requests(), upstream.connections()), (20, 1));
}

#[tokio::test]
async fn weights_are_kept_and_subsets_select_by_label() {
    let (v1, v2) = (Upstream::named("v1").await, Upstream::named("v2").await);
    let mut shop = Shop::new(&[], forward(SHOP)).await;
    let both = |split: &[(&str, u32)]| {
        vec![
            Resource::Cluster(Arc::new(subset(SHOP, Some("v1")))),
            Resource::Cluster(Arc::new(subset(SHOP, Some("v2")))),
            labelled(SHOP, &[(v1.address, "v1"), (v2.address, "v2")]),
            routes(SHOP, vec![always(weighted(SHOP, split))]),
        ]
    };
    shop.apply(both(&[("v1", 9), ("v2", 1)])).await;
    let mut client = Client::http1(shop.address).await;
    let mut counts = [0_u32; 2];
    for _ in 0..2_000 {
        counts[usize::from(client.get(SHOP, "/").await.text() == "v2")] += 1;
    }
    assert!((120..280).contains(&counts[1]), "{counts:?}");
    shop.apply(both(&[("v1", 0), ("v2", 7)])).await;
    for _ in 0..50 {
        assert_eq!(client.get(SHOP, "/").await.text(), "v2");
    }
}

#[tokio::test]
async fn rewrites_keep_the_query_and_tell_the_original() {
    let upstream = Upstream::named("one").await;
    let mut forward = forward(SHOP);
    forward.rewrite = Rewrite {
        uri: UriRewrite::Prefix {
            prefixes: vec!["/api".into()],
            replacement: "/v2".into(),
        },
        authority: Some("inner.test".into()),
    };
    let shop = Shop::new(&[upstream.address], forward).await;
    let answer = shop.get("/api/users?id=1").await;
    assert_eq!(answer.header("saw-target"), "/v2/users?id=1");
    assert_eq!(answer.header("saw-host"), "inner.test");
    assert_eq!(
        answer.header("saw-x-envoy-original-path"),
        "/api/users?id=1"
    );
}

#[tokio::test]
async fn redirects_and_direct_answers_do_not_reach_the_upstream() {
    let redirect = Redirect {
        status: StatusCode::MOVED_PERMANENTLY,
        scheme: Some("https".into()),
        authority: None,
        port: RedirectPort::Keep,
        path: RedirectPath::Keep,
    };
    let mut direct = respond("teapot", prefix("/direct"));
    direct.headers.response.set = vec![HeaderEdit {
        name: EditableHeader::parse("content-type").unwrap(),
        value: HeaderText::Literal(HeaderValue::from_static("text/html")),
    }];
    let rules = vec![
        direct,
        rule("r", Vec::new(), RouteAction::Redirect(redirect)),
    ];
    let shop = Shop::with(cluster(SHOP), &[], rules).await;
    let answer = shop.get("/x?y").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (301, "https://shop.test/x?y")
    );
    let direct = shop.get("/direct").await;
    assert_eq!((direct.status, direct.text()), (200, "teapot"));
    assert_eq!(direct.header("content-type"), "text/html");
}

#[tokio::test]
async fn a_client_stays_where_its_cookie_leads() {
    let (a, b, c) = (
        Upstream::named("a").await,
        Upstream::named("b").await,
        Upstream::named("c").await,
    );
    let mut sticky = cluster(SHOP);
    sticky.balancer = LoadBalancer::ConsistentHash(ConsistentHash {
        affinity: Affinity::Cookie {
            name: "at".into(),
            path: Some("/".into()),
            ttl: Some(Duration::ZERO),
            attributes: Vec::new(),
        },
        algorithm: HashAlgorithm::Ring { minimum_size: 1024 },
    });
    let addresses = [a.address, b.address, c.address];
    let shop = Shop::with(sticky, &addresses, vec![always(forward(SHOP))]).await;
    let mut client = Client::http1(shop.address).await;
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let first = client.get(SHOP, "/").await;
        met.insert(first.text().to_owned());
        let cookie = first
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        for _ in 0..3 {
            let mut again = get(SHOP, "/");
            let value = HeaderValue::from_str(&format!("x=y; {cookie}")).unwrap();
            again.headers_mut().insert("cookie", value);
            let answer = client.send(again).await;
            assert_eq!(
                (answer.text(), answer.header("set-cookie")),
                (first.text(), "")
            );
        }
    }
    assert!(met.len() > 1, "{met:?}");
}
