//! Settings of proxies on the wire.

use super::field::{Result, Wire, field, wire_enum};
use crate::name::SettingsName;
use crate::proto;
use crate::route::NormalForm;
use crate::settings::ProxySettings;

wire_enum!(NormalForm, proto::PathForm, { AsGiven, Base, MergeSlashes, DecodeAndMergeSlashes });

pub(super) fn encode(settings: &ProxySettings) -> proto::ProxySettings {
    let ProxySettings { name: _, paths } = settings;
    proto::ProxySettings {
        paths: paths.to_proto(),
    }
}

pub(super) fn decode(name: SettingsName, proto: proto::ProxySettings) -> Result<ProxySettings> {
    let proto::ProxySettings { paths } = proto;
    Ok(ProxySettings {
        name,
        paths: field("paths", paths)?,
    })
}
