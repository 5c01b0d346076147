//! What a rule does to a request besides choosing where it goes.

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
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use http_support::{Client, Upstream, get, plain, request};
use mesh_api::header::EditableHeader;
use mesh_api::resource::Resource;
use mesh_api::route::filter::{AbortAnswer, HeaderEdit};
use mesh_api::route::{
    Cors, Fault, FaultAbort, FaultDelay, Forward, HeaderEdits, HeaderOps, HeaderText, Mirror,
    Operator, Rule, StringMatch, Target, TextPart,
};
use mesh_api::units::PartsPerMillion;
use shop::{SHOP, Shop, always, cluster, cluster_name, endpoints, forward, routes};

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

#[cfg(test)]
fn set(name: &'static str, value: HeaderText) -> HeaderEdit {
    HeaderEdit {
        name: EditableHeader::parse(name).unwrap(),
        value,
    }
}

#[tokio::test]
async fn header_edits_apply_in_order_and_operators_print_facts() {
    let upstream = Upstream::named("one").await;
    let literal = |text| HeaderText::Literal(HeaderValue::from_static(text));
    let mut rule = always(forward(SHOP));
    rule.headers = HeaderEdits {
        request: HeaderOps {
            remove: vec![EditableHeader::parse("x-gone").unwrap()],
            set: vec![set("x-set", literal("route"))],
            add: vec![
                set("x-set", literal("more")),
                set(
                    "x-facts",
                    HeaderText::Template(vec![
                        TextPart::Operator(Operator::RequestHeader(":path".into())),
                        TextPart::Literal(" of ".into()),
                        TextPart::Operator(Operator::RouteName),
                    ]),
                ),
            ],
        },
        response: HeaderOps {
            set: vec![set(
                "x-upstream",
                HeaderText::Template(vec![
                    TextPart::Operator(Operator::UpstreamHost),
                    TextPart::Literal("/".into()),
                    TextPart::Operator(Operator::RequestHeader("x-in".into())),
                ]),
            )],
            ..HeaderOps::default()
        },
    };
    let shop = Shop::with(cluster(SHOP), &[upstream.address], vec![rule]).await;
    let mut request = get(SHOP, "/p");
    for (name, value) in [("x-gone", "1"), ("x-set", "client"), ("x-in", "in")] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let answer = Client::http1(shop.address).await.send(request).await;
    assert!(!answer.headers.contains_key("saw-x-gone"));
    let all: Vec<_> = answer.headers.get_all("saw-x-set").iter().collect();
    assert_eq!(all, ["route", "more"]);
    assert_eq!(answer.header("saw-x-facts"), "/p of always");
    assert_eq!(
        answer.header("x-upstream"),
        format!("{}/in", upstream.address)
    );
}

#[tokio::test]
async fn faults_delay_and_abort_their_share() {
    let upstream = Upstream::named("one").await;
    let mut rule = always(forward(SHOP));
    rule.fault = Some(Fault {
        delay: Some(FaultDelay {
            duration: Duration::from_millis(150),
            share: PartsPerMillion::ALL,
        }),
        abort: Some(FaultAbort {
            answer: AbortAnswer::Http(StatusCode::IM_A_TEAPOT),
            share: PartsPerMillion::ALL,
        }),
    });
    let mut shop = Shop::with(cluster(SHOP), &[upstream.address], vec![rule.clone()]).await;
    let started = Instant::now();
    let answer = shop.get("/").await;
    assert!(started.elapsed() >= Duration::from_millis(150));
    assert_eq!((answer.status, answer.text()), (418, "fault filter abort"));
    assert_eq!(upstream.requests(), 0);
    shop.counted(418, "DI,FI").await;

    rule.fault = Some(Fault {
        delay: None,
        abort: Some(FaultAbort {
            answer: AbortAnswer::Http(StatusCode::IM_A_TEAPOT),
            share: PartsPerMillion::from_percent(50.0),
        }),
    });
    shop.apply(vec![
        Resource::Cluster(Arc::new(cluster(SHOP))),
        endpoints(SHOP, &[upstream.address]),
        routes(SHOP, vec![rule]),
    ])
    .await;
    let mut client = Client::http1(shop.address).await;
    let mut aborted = 0;
    for _ in 0..400 {
        aborted += u32::from(client.get(SHOP, "/").await.status == 418);
    }
    assert!((130..270).contains(&aborted), "{aborted}");
}

#[tokio::test]
async fn cross_origin_requests_are_answered_or_allowed() {
    let upstream = Upstream::named("one").await;
    let mut rule = always(forward(SHOP));
    rule.cors = Some(Cors {
        allow_origins: vec![exact("https://good.test")],
        allow_methods: vec!["GET".into(), "PUT".into()],
        allow_credentials: true,
        max_age: Some(Duration::from_hours(1)),
        expose_headers: vec!["x-more".into()],
        ..Cors::default()
    });
    let shop = Shop::with(cluster(SHOP), &[upstream.address], vec![rule]).await;
    let mut client = Client::http1(shop.address).await;
    let from = |origin: &'static str, method: &str| {
        let mut request = request(method, SHOP, "/", "");
        request
            .headers_mut()
            .insert("origin", HeaderValue::from_static(origin));
        request
    };
    let mut preflight = from("https://good.test", "OPTIONS");
    let asked = HeaderValue::from_static("PUT");
    preflight
        .headers_mut()
        .insert("access-control-request-method", asked);
    let answer = client.send(preflight).await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.requests(), 0);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://good.test"
    );
    assert_eq!(answer.header("access-control-allow-methods"), "GET,PUT");
    assert_eq!(answer.header("access-control-max-age"), "3600");
    let allowed = client.send(from("https://good.test", "GET")).await;
    assert_eq!(allowed.header("access-control-expose-headers"), "x-more");
    let other = client.send(from("https://evil.test", "GET")).await;
    assert_eq!(
        (other.status, other.header("access-control-allow-origin")),
        (200, "")
    );
}

/// A page that cannot read an error cannot say what is wrong.
#[tokio::test]
async fn answers_of_the_proxys_own_may_be_read_across_origins_too() {
    let slow = Upstream::serve(|_, _| async move {
        tokio::time::sleep(Duration::from_secs(9)).await;
        plain(200, "")
    })
    .await;
    let limited = Forward {
        timeout: Some(Duration::from_millis(100)),
        ..forward(SHOP)
    };
    let abort = Fault {
        delay: None,
        abort: Some(FaultAbort {
            answer: AbortAnswer::Http(StatusCode::IM_A_TEAPOT),
            share: PartsPerMillion::ALL,
        }),
    };
    let dead = [mesh::free_address()];
    for (rule, upstreams, status) in [
        (always(limited), &[slow.address][..], 504),
        (always(forward(SHOP)), &dead[..], 503),
        (always(forward(SHOP)), &[][..], 503),
        (
            Rule {
                fault: Some(abort),
                ..always(forward(SHOP))
            },
            &dead[..],
            418,
        ),
    ] {
        let mut rule = rule;
        rule.cors = Some(Cors {
            allow_origins: vec![exact("https://good.test")],
            expose_headers: vec!["x-more".into()],
            ..Cors::default()
        });
        let shop = Shop::with(cluster(SHOP), upstreams, vec![rule]).await;
        for (origin, allowed, exposed) in [
            ("https://good.test", "https://good.test", "x-more"),
            ("https://evil.test", "", ""),
        ] {
            let mut call = get(SHOP, "/");
            let origin = HeaderValue::from_static(origin);
            call.headers_mut().insert("origin", origin);
            let answer = Client::http1(shop.address).await.send(call).await;
            assert_eq!(answer.status, status);
            assert_eq!(
                answer.header("access-control-allow-origin"),
                allowed,
                "{status}"
            );
            assert_eq!(answer.header("access-control-expose-headers"), exposed);
        }
    }
}

#[tokio::test]
async fn mirrors_get_a_copy_and_nobody_waits_for_them() {
    let upstream = Upstream::named("one").await;
    let (seen, mut copies) = tokio::sync::mpsc::unbounded_channel();
    let shadow = Upstream::serve(move |request, _| {
        let seen = seen.clone();
        async move {
            let path = request.uri().path().to_owned();
            let all = http_body_util::BodyExt::collect(request.into_body()).await;
            seen.send((path, all.unwrap().to_bytes())).unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
            plain(500, "")
        }
    })
    .await;
    let mut main = forward(SHOP);
    main.mirrors = vec![Mirror {
        target: Target::Cluster(cluster_name("shadow.test", None)),
        share: PartsPerMillion::ALL,
    }];
    let mut shop = Shop::new(&[], forward(SHOP)).await;
    shop.apply(vec![
        Resource::Cluster(Arc::new(cluster(SHOP))),
        Resource::Cluster(Arc::new(cluster("shadow.test"))),
        endpoints(SHOP, &[upstream.address]),
        endpoints("shadow.test", &[shadow.address]),
        routes(SHOP, vec![always(main)]),
    ])
    .await;
    let started = Instant::now();
    let mut client = Client::http1(shop.address).await;
    let answer = client.send(request("POST", SHOP, "/copy", "payload")).await;
    assert_eq!((answer.status, answer.header("saw-length")), (200, "7"));
    assert!(started.elapsed() < Duration::from_secs(4));
    let (path, body) = copies.recv().await.unwrap();
    assert_eq!((path.as_str(), &body[..]), ("/copy", &b"payload"[..]));
}
