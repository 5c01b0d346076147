//! What a token says of itself. Not proven by us; only the API server does that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Value, json};

/// The claims we look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) audiences: Vec<String>,
    expires: Option<u64>,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    exp: Option<u64>,
}

impl Claims {
    /// `None` if this has not the form of a service-account token.
    pub(super) fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        if signature.is_empty() {
            return None;
        }
        let payload: Payload = serde_json::from_slice(&decode(payload)?).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let audiences = match payload.aud.as_array() {
            Some(audiences) => audiences.iter().filter_map(text).collect(),
            None => text(&payload.aud).into_iter().collect(),
        };
        Some(Self {
            audiences,
            expires: payload.exp,
        })
    }

    /// How long it is good for; nothing if it does not say.
    pub(super) fn left(&self, now: SystemTime) -> Duration {
        self.end()
            .and_then(|end| end.duration_since(now).ok())
            .unwrap_or_default()
    }

    /// How long it has been no good.
    pub(super) fn expired(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(self.end()?).ok()
    }

    fn end(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.expires?))
    }
}

/// Base64 of URLs, without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut standard: String = text
        .chars()
        .map(|letter| match letter {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    let bytes: ByteString = serde_json::from_value(json!(standard)).ok()?;
    Some(bytes.0)
}
