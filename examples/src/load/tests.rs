//! Load against a scripted server: what counts, what does not, and that nothing is retried.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;

use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_runtime::Drain;
use tokio::net::TcpListener;

use super::*;

/// Answers v1 to three requests out of four; `/close` ends the connection in good order
/// after each answer, `/fail` is 503, `/slow` takes 50 ms.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _peer) = listener.accept().await.unwrap();
            let seen = Arc::clone(&counter);
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let number = seen.fetch_add(1, Ordering::SeqCst);
                async move {
                    let version = if number % 4 == 3 { "v2" } else { "v1" };
                    let body = format!("{{\"next\":{{\"version\":\"{version}\"}}}}");
                    let mut response = Response::new(Full::new(bytes::Bytes::from(body)));
                    response
                        .headers_mut()
                        .insert("x-version", version.parse().unwrap());
                    match request.uri().path() {
                        "/close" => {
                            response
                                .headers_mut()
                                .insert("connection", "close".parse().unwrap());
                        }
                        "/fail" => *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE,
                        "/slow" => tokio::time::sleep(Duration::from_millis(50)).await,
                        _ => {}
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                drop(
                    builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn counts_shares_over_both_protocols() {
    let (address, seen) = server().await;
    let plan = Plan::new(address, "shop", "/")
        .requests(400)
        .share_by_header("x-version");
    let report = run(plan.clone().connections(4)).await;
    assert_eq!((report.requests, report.failed), (400, 0), "{report}");
    assert!((report.share("v2") - 25.0).abs() < 0.01, "{report}");
    assert_eq!(report.latency.len(), 400);
    let mut plan = plan.http2(8).connections(2);
    plan.share_by = Some(ShareBy::JsonField("/next/version".to_owned()));
    let report = run(plan).await;
    assert_eq!(
        (report.requests, report.failed, report.reconnects),
        (400, 0, 0),
        "{report}"
    );
    assert!((report.share("v1") - 75.0).abs() < 0.01, "{report}");
    assert_eq!(seen.load(Ordering::SeqCst), 800);
}

#[tokio::test]
async fn an_orderly_close_is_no_failure_and_sends_nothing_twice() {
    let (address, seen) = server().await;
    let report = run(Plan::new(address, "shop", "/close").requests(50)).await;
    assert_eq!((report.requests, report.failed), (50, 0), "{report}");
    assert_eq!(seen.load(Ordering::SeqCst), 50);
}

#[tokio::test]
async fn failures_have_reasons() {
    let (address, seen) = server().await;
    let report = run(Plan::new(address, "shop", "/fail").requests(20)).await;
    assert_eq!(
        (report.failed, report.statuses[&503], report.reasons.len()),
        (20, 20, 8)
    );
    assert_eq!(seen.load(Ordering::SeqCst), 20);
    let mut expected = Plan::new(address, "shop", "/fail").requests(5);
    expected.expect_status = Some(503);
    assert_eq!(run(expected).await.failed, 0);
    let picky = Plan::new(address, "shop", "/")
        .check(|parts, _body| Err(format!("{} is not to my taste", parts.status)));
    assert!(run(picky).await.reasons[0].contains("not to my taste"));
    let mut slow = Plan::new(address, "shop", "/slow").requests(2);
    slow.timeout = Duration::from_millis(5);
    assert!(run(slow).await.reasons[0].contains("no answer in 5ms"));
    let nobody = Plan::new(([127, 0, 0, 1], 1).into(), "shop", "/");
    assert!(run(nobody).await.reasons[0].contains("cannot connect to 127.0.0.1:1"));
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate_and_counts_the_waiting() {
    let (address, _seen) = server().await;
    let mut plan = Plan::new(address, "shop", "/slow").requests(10);
    plan.rate = Some(100.0);
    let report = run(plan).await;
    // One connection answers every 50 ms; requests are due every 10 ms, so the last one
    // waited some 400 ms before it was even sent.
    assert!(report.latency.max() > 350_000, "{report}");
}

#[tokio::test]
async fn runs_until_stopped_and_can_be_watched() {
    let (address, _seen) = server().await;
    let drain = Drain::new();
    let tally = Tally::default();
    let mut plan = Plan::new(address, "shop", "/").connections(2);
    plan.amount = Amount::UntilStopped;
    let (watched, stop) = (tally.clone(), drain.watch());
    let running = tokio::spawn(async move { run_with(plan, &watched, stop).await });
    while tally.snapshot().requests < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let early = tally.snapshot();
    while tally.snapshot().requests < early.requests + 50 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let part = tally.snapshot().since(&early);
    assert!(
        part.requests >= 50 && part.latency.len() == part.requests,
        "{part}"
    );
    assert_eq!(part.statuses[&200], part.requests);
    drain.trigger();
    running.await.unwrap();
    let end = tally.snapshot();
    assert!(end.requests >= 100 && end.failed == 0, "{end}");
    assert_eq!(tally.snapshot().elapsed, end.elapsed);
}
