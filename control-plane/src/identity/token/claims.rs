//! What a token says of itself. Not proven by us; only the API server does that. But what does not
//! even say the right things need not be shown to it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Clocks may differ by so much before a token that has expired is not shown to the API server.
const SKEW: Duration = Duration::from_mins(1);
/// Who signs is a URL or a short name.
const LONGEST_ISSUER: usize = 1024;

/// The claims we look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) audiences: Vec<String>,
    /// Whose it is, of a service account's: `NAMESPACE/NAME`.
    pub(super) account: String,
    /// Whether it says which pod it is bound to.
    pub(super) bound: bool,
    expires: Option<u64>,
}

/// The part before the claims.
#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    exp: Option<u64>,
    iss: String,
    sub: String,
    #[serde(default, rename = "kubernetes.io")]
    kubernetes: Value,
}

impl Claims {
    /// `None` if this has not the form of a service-account token: three parts, an algorithm that
    /// signs, somebody who issued it, and a service account it is about.
    pub(super) fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let Header { alg } = read(header)?;
        // RS256, ES256, PS256 …: with a key of its own, and not with one that we would have, too.
        let signs = ["RS", "ES", "PS", "Ed"]
            .iter()
            .any(|one| alg.starts_with(one));
        if !signs || decode(signature)?.is_empty() {
            return None;
        }
        let payload: Payload = read(payload)?;
        let is_issuer = !payload.iss.is_empty()
            && payload.iss.len() <= LONGEST_ISSUER
            && payload.iss.bytes().all(|one| one.is_ascii_graphic());
        let account = payload.sub.strip_prefix("system:serviceaccount:")?;
        let (namespace, name) = account.split_once(':')?;
        if !is_issuer || namespace.is_empty() || name.is_empty() {
            return None;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let audiences = match payload.aud.as_array() {
            Some(audiences) => audiences.iter().filter_map(text).collect(),
            None => text(&payload.aud).into_iter().collect(),
        };
        let of_pod = |field: &str| {
            let value = payload.kubernetes.pointer(field).and_then(Value::as_str);
            value.is_some_and(|value| !value.is_empty())
        };
        Some(Self {
            audiences,
            account: format!("{namespace}/{name}"),
            bound: of_pod("/pod/name") && of_pod("/pod/uid"),
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

    /// The same, if it is so whatever the clocks are.
    pub(super) fn surely_expired(&self, now: SystemTime) -> Option<Duration> {
        self.expired(now).filter(|ago| *ago > SKEW)
    }

    fn end(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.expires?))
    }
}

fn read<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&decode(part)?).ok()
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
