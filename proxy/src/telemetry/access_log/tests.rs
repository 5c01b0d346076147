//! Lines in both formats, hostile texts, and outputs that stall.

use std::io::{self, Read as _, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, UNIX_EPOCH};

use mesh_api::name::ClusterName;
use proptest::prelude::*;

use super::*;
use crate::telemetry::flags::{ResponseFlag, ResponseFlags};

fn line<'a>(cluster: &'a ClusterName, path: &'a [u8]) -> Line<'a> {
    Line {
        start_time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        method: Some("POST"),
        path: Some(path),
        protocol: Some("HTTP/2"),
        response_code: 503,
        response_flags: ResponseFlags::NONE
            .with(ResponseFlag::ConnectFailure)
            .with(ResponseFlag::RetriesExhausted),
        response_code_details: Some("upstream reset"),
        connection_termination_details: None,
        upstream_transport_failure_reason: Some("connection refused (os error 111)"),
        bytes_received: 12,
        bytes_sent: 34,
        duration: Duration::from_micros(56_999),
        upstream_service_time: None,
        x_forwarded_for: Some(b"1.2.3.4"),
        user_agent: Some(b"a \"b\" \\c"),
        request_id: Some(b"id"),
        authority: Some(b"shop"),
        upstream_host: Some(SocketAddr::from(([10, 0, 0, 1], 80))),
        upstream_cluster: Some(cluster),
        upstream_local_address: None,
        downstream_local_address: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
        downstream_remote_address: Some(SocketAddr::from(([127, 0, 0, 1], 9))),
        requested_server_name: None,
        route_name: Some("default"),
        reason: None,
    }
}

fn cluster() -> ClusterName {
    "outbound|80||shop.local".parse().unwrap()
}

fn text_of(line: &Line<'_>) -> String {
    let mut out = Vec::new();
    text::format(line, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_text_format_is_exact() {
    let cluster = cluster();
    assert_eq!(
        text_of(&line(&cluster, b"/x")),
        "[2023-11-14T22:13:20.123Z] \"POST /x HTTP/2\" 503 UF,URX upstream_reset - \
         \"connection refused (os error 111)\" 12 34 56 - \"1.2.3.4\" \"a \\\"b\\\" \\\\c\" \
         \"id\" \"shop\" \"10.0.0.1:80\" outbound|80||shop.local - 127.0.0.1:8080 127.0.0.1:9 - \
         default\n"
    );
}

#[test]
fn the_json_format_is_exact() {
    let cluster = cluster();
    let mut out = Vec::new();
    json::format(&line(&cluster, b"/x"), &mut out);
    let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let expected = serde_json::json!({
        "start_time": "2023-11-14T22:13:20.123Z", "method": "POST", "path": "/x",
        "protocol": "HTTP/2", "response_code": 503, "response_flags": "UF,URX",
        "response_code_details": "upstream reset", "connection_termination_details": null,
        "upstream_transport_failure_reason": "connection refused (os error 111)",
        "bytes_received": 12, "bytes_sent": 34, "duration": 56, "upstream_service_time": null,
        "x_forwarded_for": "1.2.3.4", "user_agent": "a \"b\" \\c", "request_id": "id",
        "authority": "shop", "upstream_host": "10.0.0.1:80",
        "upstream_cluster": "outbound|80||shop.local", "upstream_local_address": null,
        "downstream_local_address": "127.0.0.1:8080",
        "downstream_remote_address": "127.0.0.1:9", "requested_server_name": null,
        "route_name": "default", "reason": null,
    });
    assert_eq!(parsed, expected);
    assert!(out.ends_with(b"}\n"));
}

proptest! {
    /// Whatever a client sends: one line of visible ASCII, in as many columns as ever.
    #[test]
    fn hostile_bytes_stay_in_their_column(path in prop::collection::vec(any::<u8>(), 0..200)) {
        let cluster = cluster();
        let text = text_of(&line(&cluster, &path));
        prop_assert!(text.trim_end_matches('\n').bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        prop_assert_eq!(text.matches('\n').count(), 1);
        let plain = text_of(&line(&cluster, b"/x"));
        prop_assert_eq!(text.split(' ').count(), plain.split(' ').count());

        let mut out = Vec::new();
        json::format(&line(&cluster, &path), &mut out);
        prop_assert!(out.iter().rev().skip(1).all(|byte| (b' '..=b'~').contains(byte)));
        let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = String::from_utf8_lossy(&path).into_owned();
        prop_assert_eq!(parsed["path"].as_str(), Some(&*expected));
    }
}

#[test]
fn a_long_text_is_cut() {
    let cluster = cluster();
    let text = text_of(&line(&cluster, &vec![b'a'; 100_000]));
    assert!(text.len() < line::MAX_TEXT + 500, "{}", text.len());
}

fn log(output: impl Write + Send + 'static) -> AccessLog {
    AccessLog::start(AccessLogMode::Text, output).unwrap()
}

#[tokio::test]
async fn the_mesh_switches_it_on_and_off_and_between_formats() {
    let (mut reader, writer) = io::pipe().unwrap();
    let log = AccessLog::start(AccessLogMode::Off, writer).unwrap();
    let logger = log.logger();
    let cluster = cluster();
    let say = |path: &str| logger.write(&line(&cluster, path.as_bytes()));
    assert!(!logger.is_on() && log.shared.writer.get().is_none());
    say("/unheard");
    log.follow(Some(AccessLogMode::Text)).unwrap();
    assert!(logger.is_on());
    say("/text");
    log.follow(Some(AccessLogMode::Json)).unwrap();
    say("/json");
    log.follow(Some(AccessLogMode::Off)).unwrap();
    say("/off");
    log.follow(Some(AccessLogMode::Text)).unwrap();
    // What the mesh says nothing about is as it was started.
    log.follow(None).unwrap();
    say("/unsaid");
    assert!(log.flush(Duration::from_secs(10)).await);
    drop((logger, log));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("\"POST /text HTTP/2\""), "{text}");
    assert!(lines[1].contains("\"path\":\"/json\""), "{text}");
}

#[tokio::test]
async fn lines_of_all_workers_arrive_in_the_order_of_each() {
    let (mut reader, writer) = io::pipe().unwrap();
    let log = log(writer);
    let threads: Vec<_> = (0..3)
        .map(|worker| {
            let log = log.clone();
            std::thread::spawn(move || {
                let logger = log.logger();
                let cluster = cluster();
                for number in 0..200 {
                    let path = format!("/{worker}/{number}");
                    logger.write(&line(&cluster, path.as_bytes()));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // The pipe holds less than this: reading and writing go on together.
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert!(log.flush(Duration::from_secs(10)).await);
    assert_eq!(log.dropped(), 0);
    drop(log);
    let text = reading.join().unwrap();
    for worker in 0..3 {
        let own = format!("POST /{worker}/");
        let numbers: Vec<usize> = text
            .lines()
            .filter_map(|line| line.split_once(&own))
            .map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    }
}

/// Blocks in its first write until it is told to go on.
struct Stalled(mpsc::Receiver<()>);

impl Write for Stalled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _released = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_stalled_output_costs_lines_and_never_time() {
    let (release, stalled) = mpsc::channel();
    let log = log(Stalled(stalled));
    let logger = log.logger();
    let cluster = cluster();
    let began = std::time::Instant::now();
    for _ in 0..20_000 {
        logger.write(&line(&cluster, b"/x"));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(log.dropped() > 10_000, "{}", log.dropped());
    assert!(!log.flush(Duration::from_millis(10)).await);
    drop(release);
    assert!(log.flush(Duration::from_secs(10)).await);
}

struct Full;

impl Write for Full {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_is_counted() {
    let log = log(Full);
    let logger = log.logger();
    let cluster = cluster();
    for _ in 0..10 {
        logger.write(&line(&cluster, b"/x"));
    }
    assert!(log.flush(Duration::from_secs(5)).await);
    assert_eq!(log.dropped(), 10);
}
