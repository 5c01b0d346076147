//! The scrape page of the standard metrics, in Prometheus' text format.

use std::fmt::Write as _;

use mesh_runtime::ScrapeSection;
use tokio::time::Instant;

use super::Telemetry;
use super::cells::{BOUND_TEXTS, HistogramTotal};
use super::flags::ResponseFlags;
use super::metrics::{ConnectionCells, RequestCells, RequestOutcome};
use super::series::Totals;

impl ScrapeSection for Telemetry {
    fn render(&self, out: &mut String) {
        let now = Instant::now();
        let requests = self.metrics.requests.collect(now, RequestTotal::add);
        render_requests(&requests, out);
        let connections = self.metrics.connections.collect(now, ConnectionTotal::add);
        render_connections(&connections, out);
        let folded = self.metrics.requests.folded() + self.metrics.connections.folded();
        counter_head(
            out,
            "proxy_metric_series_folded_total",
            "Times a request or connection was counted as unknown because there were too many series.",
        );
        sample(out, "proxy_metric_series_folded_total", "", folded);
        if let Some(log) = &self.access_log {
            counter_head(
                out,
                "proxy_access_log_dropped_total",
                "Access log lines that could not be written in time.",
            );
            sample(out, "proxy_access_log_dropped_total", "", log.dropped());
        }
    }
}

/// What all workers counted for one outcome of requests.
#[derive(Debug, Default)]
struct RequestTotal {
    requests: u64,
    duration: HistogramTotal,
    request_bytes: HistogramTotal,
    response_bytes: HistogramTotal,
    request_messages: u64,
    response_messages: u64,
}

impl RequestTotal {
    fn add(&mut self, cells: &RequestCells) {
        self.requests += cells.requests.value();
        self.duration.add(&cells.duration);
        self.request_bytes.add(&cells.request_bytes);
        self.response_bytes.add(&cells.response_bytes);
        self.request_messages += cells.request_messages.value();
        self.response_messages += cells.response_messages.value();
    }
}

/// What all workers counted for one outcome of connections.
#[derive(Debug, Default)]
struct ConnectionTotal {
    opened: u64,
    closed: u64,
    received: u64,
    sent: u64,
}

impl ConnectionTotal {
    fn add(&mut self, cells: &ConnectionCells) {
        self.opened += cells.opened.value();
        self.closed += cells.closed.value();
        self.received += cells.received.value();
        self.sent += cells.sent.value();
    }
}

/// As printed: a quote inside a label's value is escaped, so no value can look like this.
const GRPC: &str = "request_protocol=\"grpc\"";

/// How the sum of a histogram is printed.
#[derive(Clone, Copy)]
enum Unit {
    /// Kept in microseconds, printed in milliseconds.
    Milliseconds,
    Bytes,
}

fn render_requests(all: &Totals<RequestOutcome, RequestTotal>, out: &mut String) {
    let lines: Vec<(String, &RequestTotal)> = all
        .iter()
        .flat_map(|(labels, totals)| {
            totals
                .iter()
                .map(move |(outcome, total)| (request_labels(labels, outcome), total))
        })
        .collect();
    if lines.is_empty() {
        return;
    }
    counter(out, "istio_requests_total", "Requests.", &lines, |total| {
        total.requests
    });
    histogram(
        out,
        (
            "istio_request_duration_milliseconds",
            "Duration of requests.",
        ),
        Unit::Milliseconds,
        &lines,
        |total| &total.duration,
    );
    histogram(
        out,
        ("istio_request_bytes", "Bytes of requests."),
        Unit::Bytes,
        &lines,
        |total| &total.request_bytes,
    );
    histogram(
        out,
        ("istio_response_bytes", "Bytes of responses."),
        Unit::Bytes,
        &lines,
        |total| &total.response_bytes,
    );
    let messages: Vec<(String, &RequestTotal)> = lines
        .into_iter()
        .filter(|(labels, _)| labels.contains(GRPC))
        .collect();
    if messages.is_empty() {
        return;
    }
    counter(
        out,
        "istio_request_messages_total",
        "gRPC messages of requests.",
        &messages,
        |total| total.request_messages,
    );
    counter(
        out,
        "istio_response_messages_total",
        "gRPC messages of responses.",
        &messages,
        |total| total.response_messages,
    );
}

fn render_connections(all: &Totals<ResponseFlags, ConnectionTotal>, out: &mut String) {
    let lines: Vec<(String, &ConnectionTotal)> = all
        .iter()
        .flat_map(|(labels, totals)| {
            totals
                .iter()
                .map(move |(flags, total)| (format!("{labels},response_flags=\"{flags}\""), total))
        })
        .collect();
    if lines.is_empty() {
        return;
    }
    for (name, help, value) in [
        (
            "istio_tcp_connections_opened_total",
            "Connections opened.",
            (|total| total.opened) as fn(&ConnectionTotal) -> u64,
        ),
        (
            "istio_tcp_connections_closed_total",
            "Connections closed.",
            |total| total.closed,
        ),
        (
            "istio_tcp_sent_bytes_total",
            "Bytes sent to clients.",
            |total| total.sent,
        ),
        (
            "istio_tcp_received_bytes_total",
            "Bytes received from clients.",
            |total| total.received,
        ),
    ] {
        counter(out, name, help, &lines, value);
    }
}

fn request_labels(labels: &str, outcome: &RequestOutcome) -> String {
    let RequestOutcome {
        code,
        grpc_status,
        flags,
    } = outcome;
    let mut text = String::with_capacity(labels.len() + 80);
    // Writing to a String cannot fail, here and below.
    let _written = write!(
        text,
        "{labels},response_code=\"{code}\",grpc_response_status=\""
    );
    if let Some(status) = grpc_status {
        let _written = write!(text, "{status}");
    }
    let _written = write!(text, "\",response_flags=\"{flags}\"");
    text
}

fn counter<T>(
    out: &mut String,
    name: &str,
    help: &str,
    lines: &[(String, &T)],
    value: impl Fn(&T) -> u64,
) {
    counter_head(out, name, help);
    for (labels, total) in lines {
        sample(out, name, labels, value(total));
    }
}

fn histogram<T>(
    out: &mut String,
    (name, help): (&str, &str),
    unit: Unit,
    lines: &[(String, &T)],
    value: impl Fn(&T) -> &HistogramTotal,
) {
    let _written = write!(out, "# HELP {name} {help}\n# TYPE {name} histogram\n");
    for (labels, total) in lines {
        let HistogramTotal { buckets, sum } = value(total);
        let mut count = 0_u64;
        let bounds = BOUND_TEXTS.into_iter().chain(["+Inf"]);
        for (bucket, bound) in buckets.iter().zip(bounds) {
            count += bucket;
            let _written = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let _written = match unit {
            Unit::Bytes => writeln!(out, "{name}_sum{{{labels}}} {sum}"),
            Unit::Milliseconds => writeln!(
                out,
                "{name}_sum{{{labels}}} {}.{:03}",
                sum / 1_000,
                sum % 1_000
            ),
        };
        let _written = writeln!(out, "{name}_count{{{labels}}} {count}");
    }
}

fn counter_head(out: &mut String, name: &str, help: &str) {
    let _written = write!(out, "# HELP {name} {help}\n# TYPE {name} counter\n");
}

fn sample(out: &mut String, name: &str, labels: &str, value: u64) {
    let _written = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

#[cfg(test)]
mod tests;
