//! Rules of a WorkloadGroup: a template without an address, and one kind of probe.

use super::{Checker, Validate, count};
use crate::workload_group::{ReadinessProbe, WorkloadGroupSpec};

impl Validate for WorkloadGroupSpec {
    fn validate(&self, check: &mut Checker) {
        check.optional("metadata", self.metadata.as_ref(), |check, metadata| {
            check.field("labels", |check| check.labels(&metadata.labels));
        });
        check.field("template", |check| {
            if self.template.address.is_some() {
                check.field("address", |check| {
                    check.error_hint("is that of each workload, not of the group", "remove it");
                });
            }
            self.template.check_but_address(check);
        });
        check.optional("probe", self.probe.as_ref(), |check, probe| {
            probe.check(check);
        });
    }
}

impl ReadinessProbe {
    fn check(&self, check: &mut Checker) {
        let set = [
            self.http_get.is_some(),
            self.tcp_socket.is_some(),
            self.exec.is_some(),
            self.grpc.is_some(),
        ];
        if count(set) != 1 {
            check.error_hint(
                "needs exactly one way to ask",
                "set one of httpGet, tcpSocket, exec and grpc",
            );
        }
        for (name, number) in [
            ("initialDelaySeconds", self.initial_delay_seconds),
            ("timeoutSeconds", self.timeout_seconds),
            ("periodSeconds", self.period_seconds),
            ("successThreshold", self.success_threshold),
            ("failureThreshold", self.failure_threshold),
        ] {
            if number.is_some_and(|number| number < 0) {
                check.field(name, |check| check.error("is less than 0"));
            }
        }
        check.optional("httpGet", self.http_get.as_ref(), |check, probe| {
            check.field("port", |check| check.port(probe.port));
            check.optional("scheme", probe.scheme.as_ref(), |check, scheme| {
                if !matches!(scheme.as_str(), "HTTP" | "HTTPS") {
                    check.error_hint(format!("{scheme:?} is not a scheme"), "use HTTP or HTTPS");
                }
            });
            check.each("httpHeaders", &probe.http_headers, |check, header| {
                check.field("name", |check| check.plain_header_name(&header.name));
                check.field("value", |check| check.header_value(&header.value));
            });
        });
        check.optional("grpc", self.grpc.as_ref(), |check, probe| {
            check.optional("port", probe.port.as_ref(), |check, port| {
                check.port(*port);
            });
        });
        check.optional("tcpSocket", self.tcp_socket.as_ref(), |check, probe| {
            check.field("port", |check| check.port(probe.port));
        });
        check.optional("exec", self.exec.as_ref(), |check, probe| {
            if probe.command.is_empty() {
                check.field("command", |check| check.error("is required"));
            }
            check.no_empty_text("command", &probe.command);
        });
    }
}
