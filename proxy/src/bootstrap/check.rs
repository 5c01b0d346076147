//! From the command line's text to [`Settings`], or every mistake in it at once.

mod times;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::workload::WorkloadId;
use mesh_runtime::logging::Levels;

use super::concurrency::default_concurrency;
use super::{AtDeadline, Http10, Settings};
use crate::args::duration;
use crate::args::{AccessLogArg, ApplicationOptions, IdentityOptions, ModeArg, Options, Serving};
use crate::control::ControlPlane;
use crate::pod::PodSettings;
use crate::pod::kubelet::Kubelet;
use crate::pod::metrics::AppMetrics;
use crate::pod::probes::AppProbes;
use crate::telemetry::access_log::AccessLogMode;
use crate::telemetry::scopes;
use times::ClientTimes;

/// More workers than this is a slip of the finger.
const MOST_WORKERS: usize = 256;

/// What is wrong with the command line: each line names an option and the way out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidSettings(pub Vec<String>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// The settings of a command line. Touches nothing but the data directory, which it creates.
pub(crate) fn settings(serving: Serving) -> Result<Settings, InvalidSettings> {
    let (role, options) = match serving {
        Serving::Sidecar(options) => (ProxyRole::Sidecar, options),
        Serving::Gateway(options) => (ProxyRole::Gateway, options),
    };
    let mut problems = Problems::default();
    let settings = read(role, *options, &mut problems);
    match settings {
        Some(settings) if problems.0.is_empty() => Ok(settings),
        Some(_) | None => Err(InvalidSettings(problems.0)),
    }
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, option: &str, value: impl fmt::Display, what: impl fmt::Display) {
        self.0.push(format!("--{option} {value}: {what}"));
    }

    fn parse<T: FromStr>(&mut self, option: &str, text: &str, what: &str) -> Option<T> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.add(option, text, what);
        }
        parsed
    }

    fn duration(&mut self, option: &str, text: &str) -> Option<Duration> {
        let parsed = duration::parse(text);
        if parsed.is_none() {
            self.add(option, text, duration::EXPECTED);
        }
        parsed
    }
}

fn read(role: ProxyRole, options: Options, problems: &mut Problems) -> Option<Settings> {
    let Options {
        identity,
        traffic,
        stopping,
        application,
        logs,
    } = options;
    let workload: Option<WorkloadId> =
        problems.parse("workload", &identity.workload, "expected NAMESPACE/NAME");
    let address = address(&identity.address, problems);
    let control_plane = control_plane(&identity, problems);
    let mode = mode(role, traffic.mode, problems);
    let concurrency = match &traffic.concurrency {
        None => Some(default_concurrency()),
        Some(text) => {
            let what = "expected a number of threads from 1 to 256";
            let number: Option<NonZeroUsize> = problems.parse("concurrency", text, what);
            if number.is_some_and(|number| number.get() > MOST_WORKERS) {
                problems.add("concurrency", text, what);
            }
            number
        }
    };
    let what = "expected a number of connections, at least 1";
    let max_connections: Option<NonZeroUsize> =
        problems.parse("max-connections", &traffic.max_connections, what);
    let times = ClientTimes::read(role, &traffic, problems);
    let detect_timeout = problems.duration("detect-timeout", &traffic.detect_timeout);
    let min_drain = problems.duration("min-drain", &stopping.min_drain);
    let drain_timeout = problems.duration("drain-timeout", &stopping.drain_timeout);
    let pod = pod(&application, problems);
    let log_format = problems.parse("log-format", &logs.log_format, "expected text or json");
    let log_level = Levels::parse(&logs.log_level, &scopes::SCOPES);
    if let Err(error) = &log_level {
        problems.add("log-level", &logs.log_level, error);
    }
    if let Err(error) = create_private(&identity.data_dir) {
        let what = format!("{error}; give a directory this user may create and write to");
        problems.add("data-dir", identity.data_dir.display(), what);
    }
    Some(Settings {
        role,
        mode,
        workload: workload?,
        address: address?,
        control_plane: control_plane?,
        data_dir: identity.data_dir,
        concurrency: concurrency?,
        access_log: match logs.access_log {
            AccessLogArg::Off => AccessLogMode::Off,
            AccessLogArg::Text => AccessLogMode::Text,
            AccessLogArg::Json => AccessLogMode::Json,
        },
        min_drain: min_drain?,
        drain_timeout: drain_timeout?,
        at_deadline: if stopping.exit_on_zero_active_connections {
            AtDeadline::Wait
        } else {
            AtDeadline::Cut
        },
        max_connections: max_connections?.get(),
        header_read_timeout: times.head?,
        stream_idle_timeout: times.stream?,
        idle_timeout: times.idle?,
        detect_timeout: detect_timeout.map(|timeout| (!timeout.is_zero()).then_some(timeout))?,
        http10: if traffic.http10 {
            Http10::Accepted
        } else {
            Http10::Refused
        },
        pod,
        bind_source: !traffic.no_bind_source,
        log_format: log_format?,
        log_level: log_level.ok()?,
        exit_on_stdin_close: stopping.exit_on_stdin_close,
    })
}

/// What the injector hands on about the application.
fn pod(options: &ApplicationOptions, problems: &mut Problems) -> PodSettings {
    let mut read = |option: &str, from: &str, problem: String| {
        problems.0.push(format!(
            "--{option} (or {from} in the environment): {problem}"
        ));
    };
    let mut settings = PodSettings::default();
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    if let Some(text) = given(&options.app_probers) {
        match AppProbes::parse(&text) {
            Ok(probes) => settings.probes = probes,
            Err(problem) => read("app-probers", "ISTIO_KUBE_APP_PROBERS", problem),
        }
    }
    if let Some(text) = given(&options.app_metrics) {
        match AppMetrics::parse(&text) {
            Ok(metrics) => settings.metrics = metrics,
            Err(problem) => read("app-metrics", "ISTIO_PROMETHEUS_ANNOTATIONS", problem),
        }
    }
    let mut added = Vec::new();
    for text in options
        .kubelet_addresses
        .iter()
        .filter(|text| !text.is_empty())
    {
        let block = text.parse::<IpNet>().ok();
        match block.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) {
            Some(block) => added.push(block),
            None => read(
                "kubelet-addresses",
                "MESH_KUBELET_ADDRESSES",
                format!("{text}: expected addresses and blocks, as 10.0.0.7,10.1.0.0/16"),
            ),
        }
    }
    let mut node = None;
    if let Some(text) = given(&options.host_ip) {
        match text.trim().parse() {
            Ok(address) => node = Some(address),
            Err(_not_one) => read("host-ip", "HOST_IP", format!("{text}: expected an address")),
        }
    }
    settings.kubelet = Kubelet::new(node, added, Path::new("/proc"));
    settings
}

fn mode(role: ProxyRole, mode: ModeArg, problems: &mut Problems) -> CaptureMode {
    match (mode, role) {
        (ModeArg::Explicit, _) => CaptureMode::Explicit,
        (ModeArg::Capture, ProxyRole::Sidecar) => CaptureMode::OriginalDestination,
        (ModeArg::Capture, ProxyRole::Gateway) => {
            problems.add(
                "mode",
                "capture",
                "nothing is redirected to a gateway; leave it out",
            );
            CaptureMode::OriginalDestination
        }
    }
}

fn address(text: &str, problems: &mut Problems) -> Option<IpAddr> {
    let what = "expected the IP address of one workload, 10.0.0.7 or 127.80.1.1 for example";
    let address: IpAddr = problems.parse("address", text, what)?;
    if address.is_unspecified() || address.is_multicast() {
        problems.add("address", text, what);
        return None;
    }
    Some(address)
}

fn control_plane(options: &IdentityOptions, problems: &mut Problems) -> Option<ControlPlane> {
    let (roots, token) = (&options.control_plane_root, &options.token);
    match ControlPlane::new(&options.control_plane, roots.clone(), token.clone()) {
        Ok(control_plane) => Some(control_plane),
        Err(invalid) => {
            problems.add(invalid.option, invalid.value, invalid.problem);
            None
        }
    }
}

/// What a proxy remembers is nobody else's business: 0700.
fn create_private(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    if std::fs::metadata(dir)?.permissions().readonly() {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn parse(words: &[&str]) -> Result<Settings, InvalidSettings> {
        let Command::Serve(serving) = Args::try_parse_from(words).unwrap().command else {
            panic!("{words:?} serves nothing");
        };
        settings(serving)
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("new/data");
        let settings = parse(&[
            "proxy",
            "sidecar",
            "--workload=shop/backend-1",
            "--address=127.80.1.1",
            "--control-plane=http://127.0.0.1:15010/",
            "--data-dir",
            data.to_str().unwrap(),
        ])
        .unwrap();
        assert!(data.is_dir());
        assert_eq!(settings.role, ProxyRole::Sidecar);
        assert_eq!(settings.mode, CaptureMode::Explicit);
        assert_eq!(settings.control_plane.url(), "http://127.0.0.1:15010");
        assert_eq!(settings.max_connections, 50_000);
        assert_eq!(settings.detect_timeout, Some(Duration::from_secs(5)));
        assert_eq!(settings.min_drain, Duration::from_secs(5));
        assert_eq!(
            settings.upstream_source(),
            Some("127.80.1.1".parse().unwrap())
        );
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let error = parse(&[
            "proxy",
            "gateway",
            "--workload=ingress",
            "--address=0.0.0.0",
            "--control-plane=127.0.0.1:15010",
            "--data-dir=/dev/null/x",
            "--mode=capture",
            "--concurrency=0",
            "--max-connections=many",
            "--header-read-timeout=0s",
            "--idle-timeout=0s",
            "--detect-timeout=5",
            "--min-drain=-1s",
            "--drain-timeout=9999999999h",
            "--log-format=yaml",
            r#"--app-probers={"/app-health/web/livez":{"httpGet":{"port":"web"}}}"#,
            "--app-metrics={",
        ])
        .unwrap_err()
        .to_string();
        for option in [
            "--workload ingress: expected NAMESPACE/NAME",
            "--address 0.0.0.0",
            "--control-plane 127.0.0.1:15010: expected http://HOST:PORT",
            "--data-dir /dev/null/x",
            "--mode capture",
            "--concurrency 0",
            "--max-connections many",
            "--header-read-timeout 0s",
            "--idle-timeout 0s",
            "--detect-timeout 5",
            "--min-drain -1s",
            "--drain-timeout 9999999999h",
            "--log-format yaml: expected text or json",
            "ISTIO_KUBE_APP_PROBERS in the environment): /app-health/web/livez: port web",
            "--app-metrics (or ISTIO_PROMETHEUS_ANNOTATIONS",
        ] {
            assert!(error.contains(option), "{option} is not in:\n{error}");
        }
        assert_eq!(error.lines().count(), 15, "{error}");
    }

    #[test]
    fn capture_uses_the_sources_the_rules_let_through() {
        let dir = tempfile::tempdir().unwrap();
        let settings = parse(&[
            "proxy",
            "sidecar",
            "--workload=shop/backend-1",
            "--address=10.0.0.7",
            "--control-plane=http://127.0.0.1:15010",
            "--mode=capture",
            "--data-dir",
            dir.path().to_str().unwrap(),
        ])
        .unwrap();
        assert_eq!(settings.upstream_source(), None);
        let application = settings.application_source("10.0.0.7".parse().unwrap());
        assert_eq!(application, Some("127.0.0.6".parse().unwrap()));
        assert_eq!(settings.admin_address(15000).to_string(), "127.0.0.1:15000");
        let probes: Vec<String> = settings
            .probe_addresses(15021)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(probes, ["0.0.0.0:15021", "[::]:15021"]);
        let explicit = |address: &str| {
            let settings = Settings {
                mode: CaptureMode::Explicit,
                address: address.parse().unwrap(),
                ..settings.clone()
            };
            let probes = settings.probe_addresses(1);
            probes.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(explicit("127.80.1.1"), ["127.80.1.1:1"]);
        assert_eq!(explicit("10.0.0.7"), ["10.0.0.7:1", "127.0.0.1:1"]);
    }
}
