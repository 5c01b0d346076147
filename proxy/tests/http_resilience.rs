//! What happens when upstreams fail, stall, reset or are full.

#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/servers.rs"]
mod servers;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;

use std::time::{Duration, Instant};

use http::{HeaderValue, Response};
use http_support::{Client, Upstream, body, get, plain, request};
use mesh::free_address;
use mesh_api::route::{Backoff, Forward, RetryCondition, RetryPolicy};
use shop::{SHOP, Shop, always, cluster, forward};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn on(conditions: &[RetryCondition]) -> RetryPolicy {
    RetryPolicy {
        attempts: 2,
        on: conditions.iter().copied().collect(),
        backoff: Backoff {
            base: Duration::from_millis(1),
            max: Duration::from_millis(10),
        },
        ..RetryPolicy::off()
    }
}

fn retrying(retry: RetryPolicy) -> Forward {
    Forward {
        retry,
        ..forward(SHOP)
    }
}

/// Answers `status` to the first `failures` requests, then 200 and how often it was tried.
#[cfg(test)]
async fn flaky(failures: usize, status: u16) -> Upstream {
    Upstream::serve(move |request, number| async move {
        let attempt = request.headers().get("x-envoy-attempt-count").cloned();
        let all = http_body_util::BodyExt::collect(request.into_body())
            .await
            .unwrap()
            .to_bytes();
        if number <= failures {
            return plain(status, "not yet");
        }
        let mut response = Response::new(body(all));
        response.headers_mut().insert("attempt", attempt.unwrap());
        response
    })
    .await
}

#[tokio::test]
async fn statuses_are_tried_again_where_the_policy_says_so() {
    let mut statuses = on(&[RetryCondition::RetriableStatusCodes]);
    statuses.statuses = vec![418];
    for (status, policy, answered) in [
        (503, on(&[RetryCondition::GatewayError]), true),
        (500, on(&[RetryCondition::ServerError]), true),
        (409, on(&[RetryCondition::Retriable4xx]), true),
        (418, statuses, true),
        (500, on(&[RetryCondition::GatewayError]), false),
        (503, RetryPolicy::mesh_default(), false),
    ] {
        let upstream = flaky(2, status).await;
        let shop = Shop::new(&[upstream.address], retrying(policy)).await;
        let mut client = Client::http1(shop.address).await;
        let answer = client
            .send(request("POST", SHOP, "/", "a body of some length"))
            .await;
        if answered {
            assert_eq!(
                (answer.status, answer.text()),
                (200, "a body of some length")
            );
            assert_eq!(
                (upstream.requests(), answer.header("attempt")),
                (3, "3"),
                "{status}"
            );
        } else {
            assert_eq!((answer.status, upstream.requests()), (status, 1));
        }
    }
}

#[tokio::test]
async fn the_last_answer_goes_out_when_tries_are_used_up() {
    let upstream = Upstream::status(503).await;
    let policy = on(&[RetryCondition::GatewayError]);
    let shop = Shop::new(&[upstream.address], retrying(policy)).await;
    assert_eq!(shop.get("/").await.status, 503);
    assert_eq!(upstream.requests(), 3);
    shop.counted(503, "URX").await;
}

#[tokio::test]
async fn a_dead_endpoint_is_skipped_by_default() {
    let upstream = Upstream::named("alive").await;
    let addresses = [upstream.address, free_address()];
    let shop = Shop::new(&addresses, retrying(RetryPolicy::mesh_default())).await;
    for _ in 0..10 {
        assert_eq!(shop.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn no_connection_is_503_uf() {
    let shop = Shop::new(&[free_address()], retrying(RetryPolicy::off())).await;
    let answer = shop.get("/").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("reset reason: connection failure"),
        "{answer:?}"
    );
    shop.counted(503, "UF").await;
    let shop = Shop::new(&[free_address()], retrying(RetryPolicy::mesh_default())).await;
    assert_eq!(shop.get("/").await.status, 503);
    shop.counted(503, "UF,URX").await;
}

/// Reads a request and closes without an answer.
async fn closing() -> servers::Server {
    servers::serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        drop(stream.read(&mut buffer).await);
    })
    .await
}

#[tokio::test]
async fn a_connection_lost_before_the_answer_is_not_tried_again_unless_asked_for() {
    let server = closing().await;
    let shop = Shop::new(&[server.address], retrying(RetryPolicy::mesh_default())).await;
    assert_eq!(shop.get("/").await.status, 503);
    assert_eq!(server.connections(), 1);
    shop.counted(503, "UC").await;
    let server = closing().await;
    let shop = Shop::new(&[server.address], retrying(on(&[RetryCondition::Reset]))).await;
    assert_eq!(shop.get("/").await.status, 503);
    assert_eq!(server.connections(), 3);
}

/// Sleeps before its first `slow` answers.
async fn sleepy(slow: usize) -> Upstream {
    Upstream::serve(move |_, number| async move {
        if number <= slow {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        plain(200, "awake")
    })
    .await
}

#[tokio::test]
async fn slow_tries_and_slow_requests_end_in_time() {
    let upstream = sleepy(1).await;
    let policy = RetryPolicy {
        per_try_timeout: Some(Duration::from_millis(200)),
        ..on(&[RetryCondition::GatewayError])
    };
    let shop = Shop::new(&[upstream.address], retrying(policy)).await;
    assert_eq!(shop.get("/").await.text(), "awake");

    let upstream = sleepy(9).await;
    let slow = Forward {
        timeout: Some(Duration::from_millis(300)),
        ..forward(SHOP)
    };
    let shop = Shop::new(&[upstream.address], slow).await;
    for body in ["", "with a body"] {
        let started = Instant::now();
        let mut client = Client::http1(shop.address).await;
        let answer = client.send(request("POST", SHOP, "/", body)).await;
        assert_eq!(
            (answer.status, answer.text()),
            (504, "upstream request timeout")
        );
        let took = started.elapsed();
        assert!(
            took >= Duration::from_millis(300) && took < Duration::from_secs(3),
            "{took:?}"
        );
    }
    shop.counted(504, "UT").await;
}

#[tokio::test]
async fn grpc_statuses_in_the_head_are_tried_again_by_default() {
    let upstream = Upstream::serve(|_, number| async move {
        let mut response = plain(200, "");
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        let status = if number == 1 { "14" } else { "0" };
        headers.insert("grpc-status", HeaderValue::from_static(status));
        response
    })
    .await;
    let mut http2 = cluster(SHOP);
    http2.protocol = mesh_api::cluster::UpstreamProtocol::Http2;
    let rules = vec![always(retrying(RetryPolicy::mesh_default()))];
    let shop = Shop::with(http2, &[upstream.address], rules).await;
    let mut client = Client::http2(shop.address).await;
    let mut call = request("POST", SHOP, "/pkg.Shop/List", "");
    let grpc = HeaderValue::from_static("application/grpc");
    call.headers_mut().insert("content-type", grpc);
    let answer = client.send(call).await;
    assert_eq!(
        (answer.header("grpc-status"), upstream.requests()),
        ("0", 2)
    );
    let labels = ["request_protocol=\"grpc\"", "grpc_response_status=\"0\""];
    shop.proxy
        .metric_reaches("istio_requests_total", &labels, 1.0)
        .await;
}

#[tokio::test]
async fn a_response_that_breaks_off_never_looks_complete() {
    let server = servers::serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        if stream.read(&mut buffer).await.is_ok() {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
            drop(stream.write_all(head).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let shop = Shop::new(&[server.address], forward(SHOP)).await;
    let answer = shop.get("/").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.is_err(), "{answer:?}");
    let answer = Client::http2(shop.address).await.get(SHOP, "/").await;
    assert!(answer.body.is_err(), "{answer:?}");
    shop.counted(200, "UC").await;
}

#[tokio::test]
async fn the_timeout_holds_for_the_body_of_the_response_too() {
    let server = servers::serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        if stream.read(&mut buffer).await.is_ok() {
            drop(
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
                    .await,
            );
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
    })
    .await;
    let slow = Forward {
        timeout: Some(Duration::from_millis(300)),
        ..forward(SHOP)
    };
    let shop = Shop::new(&[server.address], slow).await;
    let started = Instant::now();
    let answer = shop.get("/").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.is_err() && started.elapsed() < Duration::from_secs(5),
        "{answer:?}"
    );
    shop.counted(200, "UT").await;
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_and_its_upstream_is_let_go() {
    let upstream = sleepy(9).await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let mut client = Client::http1(shop.address).await;
    let hasty = tokio::time::timeout(Duration::from_millis(200), client.open(get(SHOP, "/")));
    assert!(hasty.await.is_err());
    drop(client);
    shop.counted(0, "DC").await;
}

#[tokio::test]
async fn an_upstream_that_closes_after_every_answer_costs_no_request() {
    // Closes without saying so: the proxy finds out when it is about to use the connection.
    let server = servers::serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        if stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
            drop(
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await,
            );
        }
    })
    .await;
    let shop = Shop::new(&[server.address], forward(SHOP)).await;
    let mut client = Client::http1(shop.address).await;
    for round in 0..50 {
        let answer = client.get(SHOP, "/").await;
        assert_eq!((answer.status, answer.text()), (200, "ok"), "round {round}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_body_too_large_to_keep_goes_through_but_is_not_sent_twice() {
    let upstream = flaky(1, 503).await;
    let policy = on(&[RetryCondition::GatewayError]);
    let shop = Shop::new(&[upstream.address], retrying(policy)).await;
    let mut client = Client::http1(shop.address).await;
    let answer = client
        .send(request("POST", SHOP, "/", vec![b'x'; 2 << 20]))
        .await;
    assert_eq!((answer.status, upstream.requests()), (503, 1));
    let again = client
        .send(request("POST", SHOP, "/", vec![b'x'; 2 << 20]))
        .await;
    assert_eq!((again.status, again.text().len()), (200, 2 << 20));
}

/// A gRPC call that runs out of time at the proxy ends with `DEADLINE_EXCEEDED`, whose time it was
/// not mattering: the route's, a try's or the client's.
#[tokio::test]
async fn a_grpc_call_that_runs_out_of_time_says_so() {
    let upstream = sleepy(9).await;
    let limit = Duration::from_millis(200);
    let route = Forward {
        timeout: Some(limit),
        ..forward(SHOP)
    };
    let each = retrying(RetryPolicy {
        attempts: 0,
        per_try_timeout: Some(limit),
        ..on(&[])
    });
    for (forward, asked) in [(route, "9S"), (each, "9S"), (forward(SHOP), "200m")] {
        let shop = Shop::new(&[upstream.address], forward).await;
        let mut call = request("POST", SHOP, "/pkg.Shop/List", "");
        for (name, value) in [
            ("content-type", "application/grpc"),
            ("grpc-timeout", asked),
        ] {
            let value = HeaderValue::from_static(value);
            call.headers_mut().insert(name, value);
        }
        let answer = Client::http2(shop.address).await.send(call).await;
        assert_eq!((answer.status, answer.header("grpc-status")), (200, "4"));
        shop.proxy
            .metric_reaches("istio_requests_total", &["grpc_response_status=\"4\""], 1.0)
            .await;
    }
}

#[tokio::test]
async fn a_grpc_stream_that_runs_out_of_time_says_so_in_its_trailers() {
    let upstream = Upstream::serve(|_, _| async move {
        let first = futures_util::stream::once(async {
            Ok(http_body::Frame::data(bytes::Bytes::from_static(&[
                0, 0, 0, 0, 0,
            ])))
        });
        let frames = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        let stream = http_body_util::StreamBody::new(frames);
        let mut response = Response::new(http_body_util::BodyExt::boxed(stream));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", grpc);
        response
    })
    .await;
    let mut http2 = cluster(SHOP);
    http2.protocol = mesh_api::cluster::UpstreamProtocol::Http2;
    let limited = Forward {
        timeout: Some(Duration::from_millis(300)),
        ..forward(SHOP)
    };
    let shop = Shop::with(http2, &[upstream.address], vec![always(limited)]).await;
    let mut call = request("POST", SHOP, "/pkg.Shop/Watch", "");
    let grpc = HeaderValue::from_static("application/grpc");
    call.headers_mut().insert("content-type", grpc);
    let answer = Client::http2(shop.address).await.send(call).await;
    assert_eq!(answer.text().len(), 5);
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "4");
    let labels = ["grpc_response_status=\"4\"", "response_flags=\"UT\""];
    shop.proxy
        .metric_reaches("istio_requests_total", &labels, 1.0)
        .await;
}

/// What an application asks of its own sidecar, in the headers Envoy documents.
#[tokio::test]
async fn an_application_may_ask_for_a_timeout_and_for_retries() {
    let asking = |fields: &[(&'static str, &'static str)]| {
        let mut call = get(SHOP, "/");
        for (name, value) in fields {
            call.headers_mut()
                .insert(*name, HeaderValue::from_static(value));
        }
        call
    };
    let slow = sleepy(9).await;
    let shop = Shop::new(&[slow.address], forward(SHOP)).await;
    let mut client = Client::http1(shop.address).await;
    let timeout = ("x-envoy-upstream-rq-timeout-ms", "200");
    assert_eq!(client.send(asking(&[timeout])).await.status, 504);

    let upstream = flaky(2, 503).await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let mut client = Client::http1(shop.address).await;
    let wishes = [("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "4")];
    let answer = client.send(asking(&wishes)).await;
    assert_eq!((answer.status, answer.header("attempt")), (200, "3"));

    // They end here, whether acted on or not.
    let upstream = Upstream::named("one").await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let all = [timeout, ("x-envoy-hedge-on-per-try-timeout", "true")];
    let answer = Client::http1(shop.address).await.send(asking(&all)).await;
    assert_eq!(answer.status, 200);
    let passed_on: Vec<_> = answer
        .headers
        .keys()
        .filter(|name| {
            name.as_str().starts_with("saw-x-envoy-") && !name.as_str().ends_with("attempt-count")
        })
        .collect();
    assert!(passed_on.is_empty(), "{passed_on:?}");
}
