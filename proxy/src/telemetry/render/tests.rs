//! Pages as a scrape sees them: sums, escaping, limits, and series that go away.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::workload::{Peer, ServiceIdentity};

use super::*;
use crate::telemetry::metrics::Requests;
use crate::telemetry::series::Registry;
use crate::telemetry::{
    ConnectionRecord, ConnectionStart, Downstream, Protocol, Reporter, RequestSample, ResponseFlag,
    Security, SeriesKey, Service, WorkerTelemetry,
};

fn key(workload: &str) -> SeriesKey {
    SeriesKey {
        reporter: Reporter::Destination,
        source: Arc::new(Peer {
            workload: workload.into(),
            ..Peer::default()
        }),
        destination: Arc::default(),
        service: Service::InboundPassthrough,
        protocol: Protocol::Http,
        security: Security::Plaintext,
    }
}

fn page(telemetry: &Telemetry) -> String {
    let mut page = String::new();
    telemetry.render(&mut page);
    page
}

fn count(worker: &WorkerTelemetry, workload: &str, code: u16) {
    worker.series(&key(workload)).record(&RequestSample {
        code,
        ..RequestSample::default()
    });
}

fn requests(page: &str, workload: &str) -> Vec<String> {
    let label = format!("source_workload=\"{workload}\"");
    page.lines()
        .filter(|line| line.starts_with("istio_requests_total{") && line.contains(&label))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(_, value)| value.to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn workers_are_summed_and_no_line_stands_twice() {
    let telemetry = Telemetry::new();
    let (one, two) = (telemetry.worker(0), telemetry.worker(1));
    count(&one, "a", 200);
    count(&two, "a", 200);
    count(&two, "a", 404);
    // Prints like the name for what is not known.
    count(&one, "", 200);
    count(&one, "unknown", 200);
    let page = page(&telemetry);
    assert_eq!(requests(&page, "a"), ["2", "1"]);
    assert_eq!(requests(&page, "unknown"), ["2"]);
    let mut seen = BTreeSet::new();
    for line in page.lines() {
        let (series, _) = line.rsplit_once(' ').unwrap();
        assert!(
            line.starts_with('#') || seen.insert(series.to_owned()),
            "{line}"
        );
    }
    // One head per name.
    for name in ["istio_requests_total", "istio_request_bytes"] {
        let heads = page.matches(&format!("# TYPE {name} ")).count();
        assert_eq!(heads, 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_label_is_there_and_escaped() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    let peer = Arc::new(Peer {
        workload: "w\"1\\\n\u{1b}".into(),
        namespace: "ns".into(),
        service_account: "sa".into(),
        app: "app".into(),
        version: "v".into(),
        cluster: "c".into(),
        canonical_service: "cs".into(),
        canonical_revision: "cr".into(),
    });
    let key = SeriesKey {
        reporter: Reporter::Destination,
        source: Arc::clone(&peer),
        destination: peer,
        service: Service::Known(Arc::new(ServiceIdentity {
            host: "h".into(),
            name: "n".into(),
            namespace: "s".into(),
        })),
        protocol: Protocol::Http,
        security: Security::MutualTls {
            source: "spiffe://a".into(),
            destination: "spiffe://b".into(),
        },
    };
    let series = worker.series(&key);
    series.record(&RequestSample {
        code: 200,
        ..RequestSample::default()
    });
    let page = page(&telemetry);
    let line = page
        .lines()
        .find(|line| line.starts_with("istio_requests_total{"))
        .unwrap();
    let name = "w\\\"1\\\\\\n\\\\u001b";
    assert_eq!(
        line,
        format!(
            "istio_requests_total{{reporter=\"destination\",source_workload=\"{name}\",\
             source_workload_namespace=\"ns\",source_principal=\"spiffe://a\",\
             source_app=\"app\",source_version=\"v\",source_cluster=\"c\",\
             source_canonical_service=\"cs\",source_canonical_revision=\"cr\",\
             destination_workload=\"{name}\",destination_workload_namespace=\"ns\",\
             destination_principal=\"spiffe://b\",destination_app=\"app\",\
             destination_version=\"v\",destination_cluster=\"c\",\
             destination_canonical_service=\"cs\",destination_canonical_revision=\"cr\",\
             destination_service=\"h\",destination_service_name=\"n\",\
             destination_service_namespace=\"s\",request_protocol=\"http\",\
             connection_security_policy=\"mutual_tls\",response_code=\"200\",\
             grpc_response_status=\"\",response_flags=\"-\"}} 1"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn histograms_are_cumulative_and_agree_with_their_count() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    let series = worker.series(&key("a"));
    for millis in [0, 1, 7, 3_700_000] {
        series.record(&RequestSample {
            code: 200,
            duration: Duration::from_millis(millis),
            request_bytes: millis,
            ..RequestSample::default()
        });
    }
    let page = page(&telemetry);
    for name in ["istio_request_duration_milliseconds", "istio_request_bytes"] {
        let values: Vec<u64> = page
            .lines()
            .filter(|line| line.starts_with(&format!("{name}_bucket")))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert_eq!(values.len(), 20);
        assert_eq!(values[..4], [1, 2, 2, 3]);
        assert_eq!(values[18..], [3, 4]);
        assert!(page.contains(&format!("{name}_count")));
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_series_are_counted_as_unknown() {
    let registry = Arc::new(Registry::<Requests>::with_limit(3));
    let metrics = crate::telemetry::Metrics {
        requests: Arc::clone(&registry),
        ..crate::telemetry::Metrics::default()
    };
    let telemetry = Telemetry {
        metrics,
        ..Telemetry::new()
    };
    let worker = telemetry.worker(0);
    for number in 0..50 {
        count(&worker, &format!("w{number}"), 200);
    }
    let page = page(&telemetry);
    assert_eq!(requests(&page, "w1"), ["1"]);
    assert_eq!(requests(&page, "w9"), Vec::<String>::new());
    assert_eq!(requests(&page, "unknown"), ["47"]);
    assert!(
        page.contains("proxy_metric_series_folded_total 47\n"),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn outcomes_of_a_series_are_bounded() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    let series = worker.series(&key("a"));
    for code in 0..1_000 {
        series.record(&RequestSample {
            code,
            grpc_status: Some(code),
            ..RequestSample::default()
        });
    }
    let page = page(&telemetry);
    let lines = requests(&page, "a");
    assert!(lines.len() <= 80, "{}", lines.len());
    let sum: u64 = lines
        .iter()
        .map(|value| value.parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, 1_000);
}

#[tokio::test(start_paused = true)]
async fn idle_series_go_and_come_back() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    let kept = worker.series(&key("kept"));
    count(&worker, "kept", 200);
    count(&worker, "busy", 200);
    assert_eq!(requests(&page(&telemetry), "kept"), ["1"]);
    for _ in 0..7 {
        tokio::time::advance(Duration::from_mins(10)).await;
        count(&worker, "busy", 200);
        page(&telemetry);
    }
    let later = page(&telemetry);
    assert_eq!(requests(&later, "kept"), Vec::<String>::new());
    assert_eq!(requests(&later, "busy"), ["8"]);
    // Who held on to it counts on, from the start.
    kept.record(&RequestSample {
        code: 200,
        ..RequestSample::default()
    });
    assert!(Rc::ptr_eq(&kept, &worker.series(&key("kept"))));
    count(&worker, "kept", 200);
    assert_eq!(requests(&page(&telemetry), "kept"), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn many_series_are_let_go_and_found_again() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    for _round in 0..2 {
        for number in 0..600 {
            count(&worker, &format!("w{number}"), 200);
        }
    }
    let page = page(&telemetry);
    for number in (0..600).step_by(37) {
        assert_eq!(requests(&page, &format!("w{number}")), ["2"]);
    }
}

#[tokio::test(start_paused = true)]
async fn connections_count_while_they_run_and_when_they_end() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    let key = SeriesKey {
        protocol: Protocol::Tcp,
        ..key("a")
    };
    let start = ConnectionStart {
        downstream: Downstream {
            remote: ([127, 0, 0, 1], 1).into(),
            local: ([127, 0, 0, 1], 2).into(),
            server_name: None,
        },
        cluster: None,
        tried: None,
    };
    let record = ConnectionRecord::start(&worker, worker.tcp_series(&key), &start);
    record.received(10);
    record.sent(300);
    // Long idle, but open: it stays.
    tokio::time::advance(Duration::from_hours(3)).await;
    page(&telemetry);
    tokio::time::advance(Duration::from_hours(3)).await;
    let value = |name: &str, flags: &str| {
        let flags = format!("response_flags=\"{flags}\"");
        let page = page(&telemetry);
        let line = page
            .lines()
            .find(|line| line.starts_with(name) && line.contains(&flags))?;
        assert!(!line.contains("response_code"), "{line}");
        Some(line.rsplit_once(' ')?.1.to_owned())
    };
    assert_eq!(
        value("istio_tcp_connections_opened_total", "-").unwrap(),
        "1"
    );
    assert_eq!(
        value("istio_tcp_connections_closed_total", "-").unwrap(),
        "0"
    );
    assert_eq!(value("istio_tcp_received_bytes_total", "-").unwrap(), "10");
    assert_eq!(value("istio_tcp_sent_bytes_total", "-").unwrap(), "300");
    record.flag(ResponseFlag::UpstreamClosed);
    drop(record);
    assert_eq!(
        value("istio_tcp_connections_closed_total", "UC").unwrap(),
        "1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_peer_is_known_later_is_counted_under_its_name() {
    let telemetry = Telemetry::new();
    let worker = telemetry.worker(0);
    let of = |source: &str| SeriesKey {
        protocol: Protocol::Tcp,
        ..key(source)
    };
    let start = ConnectionStart {
        downstream: Downstream {
            remote: ([127, 0, 0, 1], 1).into(),
            local: ([127, 0, 0, 1], 2).into(),
            server_name: None,
        },
        cluster: None,
        tried: None,
    };
    let unknown = worker.tcp_series(&of("early"));
    let record = ConnectionRecord::start_uncounted(&worker, unknown, &start);
    record.received(10);
    record.count_in(worker.tcp_series(&of("known")));
    record.received(5);
    // The first one stays.
    record.count_in(worker.tcp_series(&of("other")));
    record.finish();
    let seen = page(&telemetry);
    let received = |source: &str| {
        let of = format!("\"{source}\"");
        let mut lines = seen.lines().filter(|line| line.contains(&of));
        lines.find(|line| line.starts_with("istio_tcp_received_bytes_total"))
    };
    assert!(received("known").unwrap().ends_with(" 15"), "{seen}");
    assert!(
        received("early").is_none() && received("other").is_none(),
        "{seen}"
    );

    // Whoever is gone before is counted all the same.
    let brief = ConnectionRecord::start_uncounted(&worker, worker.tcp_series(&of("brief")), &start);
    brief.sent(3);
    drop(brief);
    assert!(page(&telemetry).contains("\"brief\""));
}
