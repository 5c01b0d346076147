//! Settings of proxies on the wire.

use std::time::Duration;

use super::field::{Result, Wire, field, optional, wire_enum};
use super::scalar::not_zero;
use crate::name::SettingsName;
use crate::proto;
use crate::route::NormalForm;
use crate::settings::{AccessLogMode, ProxySettings};

wire_enum!(NormalForm, proto::PathForm, { AsGiven, Base, MergeSlashes, DecodeAndMergeSlashes });
wire_enum!(AccessLogMode, proto::AccessLogMode, { Off, Text, Json });

pub(super) fn encode(settings: &ProxySettings) -> proto::ProxySettings {
    let ProxySettings {
        name: _,
        paths,
        detection_timeout,
        access_log,
        stream_idle_timeout,
        idle_timeout,
    } = settings;
    proto::ProxySettings {
        paths: paths.to_proto(),
        detection_timeout: detection_timeout.as_ref().map(Wire::to_proto),
        access_log: access_log.as_ref().map(Wire::to_proto),
        stream_idle_timeout: stream_idle_timeout.as_ref().map(Wire::to_proto),
        idle_timeout: idle_timeout.as_ref().map(Wire::to_proto),
    }
}

pub(super) fn decode(name: SettingsName, proto: proto::ProxySettings) -> Result<ProxySettings> {
    let proto::ProxySettings {
        paths,
        detection_timeout,
        access_log,
        stream_idle_timeout,
        idle_timeout,
    } = proto;
    Ok(ProxySettings {
        name,
        paths: field("paths", paths)?,
        detection_timeout: optional("detection_timeout", detection_timeout)?,
        access_log: optional("access_log", access_log)?,
        stream_idle_timeout: some_time("stream_idle_timeout", stream_idle_timeout)?,
        idle_timeout: some_time("idle_timeout", idle_timeout)?,
    })
}

fn some_time(name: &'static str, time: Option<proto::Duration>) -> Result<Option<Duration>> {
    let time: Option<Duration> = optional(name, time)?;
    time.map(|time| not_zero(name, time)).transpose()
}
