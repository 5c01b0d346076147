//! How long clients may take, as the command line says it.

use std::time::Duration;

use mesh_api::proxy::ProxyRole;

use super::Problems;
use crate::args::TrafficOptions;

/// How long clients may take; `None` for what could not be read.
pub(super) struct ClientTimes {
    pub(super) head: Option<Duration>,
    pub(super) stream: Option<Duration>,
    pub(super) idle: Option<Duration>,
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
        Self {
            head: some_time("header-read-timeout", &traffic.header_read_timeout),
            stream: some_time("stream-idle-timeout", &traffic.stream_idle_timeout),
            idle: match (&traffic.idle_timeout, role) {
                (Some(text), _) => some_time("idle-timeout", text),
                // Proxies that call us close theirs after an hour; the side that sends requests is to be
                // the first, or one of them meets the close.
                (None, ProxyRole::Sidecar) => Some(Duration::from_mins(65)),
                (None, ProxyRole::Gateway) => Some(Duration::from_hours(1)),
            },
        }
    }
}
