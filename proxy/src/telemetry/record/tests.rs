//! One request from start to end, as the metrics and the log see it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use mesh_api::workload::{Peer, ServiceIdentity};
use mesh_runtime::ScrapeSection as _;
use parking_lot::Mutex;

use super::*;
use crate::telemetry::{
    AccessLog, AccessLogMode, Reporter, Security, SeriesKey, Service, Telemetry,
};

/// What a log wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn key(protocol: Protocol) -> SeriesKey {
    SeriesKey {
        reporter: Reporter::Source,
        source: Arc::new(Peer {
            workload: "frontend".into(),
            ..Peer::default()
        }),
        destination: Arc::default(),
        service: Service::Known(Arc::new(ServiceIdentity {
            host: "backend.shop.svc.cluster.local".into(),
            name: "backend".into(),
            namespace: "shop".into(),
        })),
        protocol,
        security: Security::Plaintext,
    }
}

fn downstream() -> Downstream {
    Downstream {
        remote: SocketAddr::from(([127, 0, 0, 7], 4000)),
        local: SocketAddr::from(([127, 0, 0, 8], 8080)),
        server_name: None,
    }
}

fn request() -> http::request::Parts {
    let request = Request::builder()
        .method("GET")
        .uri("/a?b=c")
        .header("host", "backend:8080")
        .header("user-agent", "ua/1")
        .body(())
        .unwrap();
    request.into_parts().0
}

fn response(status: u16) -> http::response::Parts {
    let response = Response::builder()
        .status(status)
        .header("server", "x")
        .body(())
        .unwrap();
    response.into_parts().0
}

fn value(page: &str, name: &str, labels: &[&str]) -> Option<String> {
    page.lines()
        .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))
        .and_then(|line| line.rsplit_once(' '))
        .map(|(_, value)| value.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_request_is_counted_when_it_is_finished() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    let series = worker.series(&key(Protocol::Http));
    let mut record = RequestRecord::start(&worker, series, &downstream(), &request());
    record.request_meter().chunk(&[0; 100]);
    tokio::time::advance(Duration::from_millis(7)).await;
    record.response_head(&response(200));
    record.response_chunk(&Bytes::from_static(b"0123456789"));
    let mut page = String::new();
    telemetry.render(&mut page);
    assert_eq!(value(&page, "istio_requests_total", &[]), None);

    record.finish();
    record.finish();
    drop(record);
    let mut page = String::new();
    telemetry.render(&mut page);
    let labels = [
        "reporter=\"source\"",
        "source_workload=\"frontend\"",
        "source_version=\"unknown\"",
        "destination_service=\"backend.shop.svc.cluster.local\"",
        "request_protocol=\"http\"",
        "response_code=\"200\"",
        "grpc_response_status=\"\"",
        "response_flags=\"-\"",
        "connection_security_policy=\"unknown\"",
    ];
    assert_eq!(value(&page, "istio_requests_total", &labels).unwrap(), "1");
    let duration = "istio_request_duration_milliseconds";
    assert_eq!(
        value(&page, &format!("{duration}_sum"), &labels).unwrap(),
        "7.000"
    );
    let at = |le: &str| {
        value(
            &page,
            &format!("{duration}_bucket"),
            &[&format!("le=\"{le}\"")],
        )
    };
    assert_eq!(
        (at("5").unwrap(), at("10").unwrap()),
        ("0".into(), "1".into())
    );
    // As many bytes as were on the wire: the first line, two headers with four bytes each, the end.
    let head = "GET /a?b=c HTTP/1.1\r\n".len() + (4 + 12 + 4) + (10 + 4 + 4) + 2;
    let sum = value(&page, "istio_request_bytes_sum", &labels).unwrap();
    assert_eq!(sum, (head + 100).to_string());
    assert_eq!(
        value(&page, "istio_response_bytes_sum", &labels).unwrap(),
        "21"
    );
    assert!(!page.contains("istio_request_messages_total"));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_dropped_was_left_by_its_client() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    let series = worker.series(&key(Protocol::Http));
    let start = || RequestRecord::start(&worker, Rc::clone(&series), &downstream(), &request());
    drop(start());
    let mut record = start();
    record.flag(ResponseFlag::ConnectFailure);
    record.response_head(&response(503));
    drop(record);
    let mut page = String::new();
    telemetry.render(&mut page);
    for labels in [
        ["response_code=\"0\"", "response_flags=\"DC\""],
        ["response_code=\"503\"", "response_flags=\"UF,DC\""],
    ] {
        assert_eq!(value(&page, "istio_requests_total", &labels).unwrap(), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_status_and_messages_are_counted() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    let series = worker.series(&key(Protocol::Grpc));
    let mut record = RequestRecord::start(&worker, series, &downstream(), &request());
    record.request_meter().chunk(&[0, 0, 0, 0, 1, 7, 0, 0, 0]);
    record.request_meter().chunk(&[0, 0]);
    record.response_head(&response(200));
    record.response_chunk(&[0, 0, 0, 0, 0]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("14"));
    record.trailers(&trailers);
    record.finish();
    let mut page = String::new();
    telemetry.render(&mut page);
    let labels = ["response_code=\"200\"", "grpc_response_status=\"14\""];
    for (name, count) in [
        ("istio_requests_total", "1"),
        ("istio_request_messages_total", "2"),
        ("istio_response_messages_total", "1"),
    ] {
        assert_eq!(value(&page, name, &labels).unwrap(), count, "{name}");
    }
}

#[tokio::test]
async fn the_line_says_what_happened() {
    let written = Written::default();
    let log = AccessLog::start(AccessLogMode::Text, written.clone()).unwrap();
    let telemetry = Telemetry::new().with_access_log(Some(log));
    let worker = telemetry.worker(0);
    let series = worker.series(&key(Protocol::Http));
    let mut record = RequestRecord::start(&worker, series, &downstream(), &request());
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", HeaderValue::from_static("id-1"));
    record.set_forwarded(&headers);
    record.set_route(&"canary".into());
    record.set_cluster(
        &"outbound|8080|v1|backend.shop.svc.cluster.local"
            .parse()
            .unwrap(),
    );
    record.set_upstream(SocketAddr::from(([10, 0, 0, 1], 80)), None);
    record.set_details("via_upstream");
    record.set_service_time(Duration::from_millis(3));
    record.response_head(&response(200));
    record.response_chunk(b"12345");
    record.finish();
    assert!(
        telemetry
            .access_log()
            .unwrap()
            .flush(Duration::from_secs(5))
            .await
    );
    let text = String::from_utf8(written.0.lock().clone()).unwrap();
    let (time, line) = text.split_once("] ").unwrap();
    assert!(time.starts_with("[20") && time.ends_with('Z'), "{time}");
    // The duration is the one thing that varies.
    let line: Vec<&str> = line.trim_end().split(' ').collect();
    let (before, after) = line.split_at(10);
    assert_eq!(
        before.join(" "),
        "\"GET /a?b=c HTTP/1.1\" 200 - via_upstream - \"-\" 0 5"
    );
    assert_eq!(
        after[1..].join(" "),
        "3 \"-\" \"ua/1\" \"id-1\" \"backend:8080\" \"10.0.0.1:80\" \
         outbound|8080|v1|backend.shop.svc.cluster.local - 127.0.0.8:8080 127.0.0.7:4000 - canary"
    );
}

#[tokio::test]
async fn the_line_of_what_could_not_be_read_invents_nothing() {
    let written = Written::default();
    let log = AccessLog::start(AccessLogMode::Text, written.clone()).unwrap();
    let telemetry = Telemetry::new().with_access_log(Some(log));
    let worker = telemetry.worker(0);
    let series = worker.series(&key(Protocol::Http));
    let mut record = RequestRecord::unparsed(&worker, series, &downstream());
    record.flag(ResponseFlag::DownstreamProtocolError);
    record.set_details("http1.codec_error");
    record.response_head(&response(400));
    record.finish();
    let flushed = telemetry
        .access_log()
        .unwrap()
        .flush(Duration::from_secs(5));
    assert!(flushed.await);
    let text = String::from_utf8(written.0.lock().clone()).unwrap();
    let (_, line) = text.split_once("] ").unwrap();
    let begins = "\"- - -\" 400 DPE http1.codec_error - \"-\" 0 0 ";
    assert!(line.starts_with(begins), "{line}");
    let ends = " - \"-\" \"-\" \"-\" \"-\" \"-\" - - 127.0.0.8:8080 127.0.0.7:4000 - -\n";
    assert!(line.ends_with(ends), "{line}");
}

#[test]
fn a_record_is_small() {
    assert!(
        size_of::<RequestRecord>() <= 160,
        "{}",
        size_of::<RequestRecord>()
    );
}
