//! How long clients may take, as the command line says it.

use std::time::Duration;

use mesh_api::proxy::ProxyRole;

use super::Problems;
use crate::args::TrafficOptions;
use crate::bootstrap::MeshTime;

/// How long clients may take; `None` for what could not be read.
pub(super) struct ClientTimes {
    pub(super) head: Option<Duration>,
    pub(super) stream: Option<MeshTime>,
    pub(super) idle: Option<MeshTime>,
}

impl ClientTimes {
    /// Reads what was said about them.
    pub(super) fn read(role: ProxyRole, traffic: &TrafficOptions, problems: &mut Problems) -> Self {
        let mut some_time = |option: &'static str, text: &str| {
            let time = problems.duration(option, text);
            if time == Some(Duration::ZERO) {
                let what = "a client needs some time; expected a duration above zero";
                problems.add(option, text, what);
            }
            time
        };
        let head = some_time("header-read-timeout", &traffic.header_read_timeout);
        let mut or_of_the_mesh = |option, text: &Option<String>, default| match text.as_deref() {
            // As the environment has what is not set there.
            None | Some("") => Some(MeshTime { own: None, default }),
            Some(text) => some_time(option, text).map(|own| MeshTime {
                own: Some(own),
                default,
            }),
        };
        let stream = Duration::from_mins(5);
        let idle = match role {
            // Proxies that call us close theirs after an hour; the side that sends requests is to be
            // the first, or one of them meets the close.
            ProxyRole::Sidecar => Duration::from_mins(65),
            ProxyRole::Gateway => Duration::from_hours(1),
        };
        Self {
            head,
            stream: or_of_the_mesh("stream-idle-timeout", &traffic.stream_idle_timeout, stream),
            idle: or_of_the_mesh("idle-timeout", &traffic.idle_timeout, idle),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};
    use crate::bootstrap::check;

    #[test]
    fn a_time_of_its_own_counts_before_that_of_the_mesh() {
        let dir = tempfile::tempdir().unwrap();
        let start = |role: &str, more: &[&str]| {
            let mut words = vec![
                "proxy",
                role,
                "--workload=shop/backend-1",
                "--address=127.80.1.1",
                "--control-plane=http://127.0.0.1:15010/",
                "--data-dir",
                dir.path().to_str().unwrap(),
            ];
            words.extend(more);
            let Command::Serve(serving) = Args::try_parse_from(words).unwrap().command else {
                panic!("nothing is served");
            };
            check::settings(serving).unwrap()
        };
        let (mesh, minutes) = (Some(Duration::from_mins(7)), Duration::from_mins);
        let sidecar = start("sidecar", &["--idle-timeout=1h30m"]);
        assert_eq!(sidecar.idle_timeout.beside(mesh), minutes(90));
        assert_eq!(sidecar.stream_idle_timeout.beside(mesh), minutes(7));
        assert_eq!(sidecar.stream_idle_timeout.beside(None), minutes(5));
        let gateway = start("gateway", &["--stream-idle-timeout", ""]);
        assert_eq!(gateway.idle_timeout.beside(None), minutes(60));
        assert_eq!(gateway.stream_idle_timeout.beside(mesh), minutes(7));
    }
}
