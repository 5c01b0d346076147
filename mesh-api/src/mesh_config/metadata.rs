//! Variables of a proxy's environment, and those among them whose values have a form.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::span::Span;

/// How long an HTTP connection may have no request, and a stream of gRPC no message. Istio's word.
pub const IDLE_TIMEOUT: &str = "ISTIO_META_IDLE_TIMEOUT";
/// How long a client may send nothing of a body it announced, or take nothing of an answer. Istio
/// has no word for it but Envoy's field `stream_idle_timeout`.
pub const STREAM_IDLE_TIMEOUT: &str = "MESH_STREAM_IDLE_TIMEOUT";
/// Lengths of time above zero that the settings of the mesh give to running proxies.
pub const TIMES: [&str; 2] = [IDLE_TIMEOUT, STREAM_IDLE_TIMEOUT];

/// A length of time above zero: nothing waits for ever.
pub fn time(text: &str) -> Result<Duration, String> {
    let time: Span = text.parse().map_err(|error| format!("{error}"))?;
    if time.0.is_zero() {
        return Err(format!(
            "{text:?} would be no time at all; write a duration above zero, such as 1h"
        ));
    }
    Ok(time.0)
}

/// Reads variables; what is wrong with one is an error at its key.
pub(super) fn variables<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_map(Variables)
}

struct Variables;

impl<'de> Visitor<'de> for Variables {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut variables = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let is_time = TIMES.contains(&name.as_str());
            let value = map.next_value_seed(OneValue { is_time })?;
            variables.insert(name, value);
        }
        Ok(variables)
    }
}

struct OneValue {
    is_time: bool,
}

impl<'de> DeserializeSeed<'de> for OneValue {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let value = <String as serde::Deserialize>::deserialize(deserializer)?;
        if self.is_time {
            time(&value).map_err(D::Error::custom)?;
        }
        Ok(value)
    }
}
