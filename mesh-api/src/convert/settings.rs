//! Settings of proxies on the wire.

use super::field::{Result, Wire, field, optional, wire_enum};
use crate::name::SettingsName;
use crate::proto;
use crate::route::NormalForm;
use crate::settings::ProxySettings;

wire_enum!(NormalForm, proto::PathForm, { AsGiven, Base, MergeSlashes, DecodeAndMergeSlashes });

pub(super) fn encode(settings: &ProxySettings) -> proto::ProxySettings {
    let ProxySettings {
        name: _,
        paths,
        detection_timeout,
    } = settings;
    proto::ProxySettings {
        paths: paths.to_proto(),
        detection_timeout: detection_timeout.as_ref().map(Wire::to_proto),
    }
}

pub(super) fn decode(name: SettingsName, proto: proto::ProxySettings) -> Result<ProxySettings> {
    let proto::ProxySettings {
        paths,
        detection_timeout,
    } = proto;
    Ok(ProxySettings {
        name,
        paths: field("paths", paths)?,
        detection_timeout: optional("detection_timeout", detection_timeout)?,
    })
}
