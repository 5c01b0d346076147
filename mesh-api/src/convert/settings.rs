//! Settings of proxies on the wire.

use super::field::{Result, Wire, field, optional, wire_enum};
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
    } = settings;
    proto::ProxySettings {
        paths: paths.to_proto(),
        detection_timeout: detection_timeout.as_ref().map(Wire::to_proto),
        access_log: access_log.as_ref().map(Wire::to_proto),
    }
}

pub(super) fn decode(name: SettingsName, proto: proto::ProxySettings) -> Result<ProxySettings> {
    let proto::ProxySettings {
        paths,
        detection_timeout,
        access_log,
    } = proto;
    Ok(ProxySettings {
        name,
        paths: field("paths", paths)?,
        detection_timeout: optional("detection_timeout", detection_timeout)?,
        access_log: optional("access_log", access_log)?,
    })
}
