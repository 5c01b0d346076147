//! Answers that name the configuration they were routed by, in three places that must agree.
//!
//! Version `k` sets a response header, chooses the subset (even: v1, odd: v2) and sets a request
//! header that the backend echoes. An answer in which the three disagree was routed by two
//! configurations at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, response};
use tokio::sync::watch;

/// The response header with the version's number.
pub(super) const VERSION: &str = "x-config-version";

/// The request header with the version's number.
pub(super) const SEEN: &str = "x-config-seen";

/// The versions seen in answers. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Versions {
    /// Whether the number says which subset must have answered.
    chooses_subset: bool,
    newest: Arc<watch::Sender<Option<Sighting>>>,
    disagreeing: Arc<AtomicU64>,
}

/// The newest version, and when it was seen first.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    number: u64,
    first: Instant,
}

impl Versions {
    pub(super) fn new(chooses_subset: bool) -> Self {
        Self {
            chooses_subset,
            newest: Arc::new(watch::Sender::new(None)),
            disagreeing: Arc::default(),
        }
    }

    /// Judges one answer; made to be called from a plan's check.
    pub(super) fn judge(&self, parts: &response::Parts, body: &Bytes) -> Result<(), String> {
        let judged = self.agreed(&parts.headers, body);
        if judged.is_err() {
            self.disagreeing.fetch_add(1, Ordering::Relaxed);
        }
        let number = judged?;
        let first = Instant::now();
        self.newest.send_if_modified(|newest| {
            let newer = newest.is_none_or(|sighting| sighting.number < number);
            if newer {
                *newest = Some(Sighting { number, first });
            }
            newer
        });
        Ok(())
    }

    /// The one version that an answer speaks of.
    fn agreed(&self, headers: &HeaderMap, body: &Bytes) -> Result<u64, String> {
        let number = single(headers, VERSION)?;
        let number: u64 = number
            .parse()
            .map_err(|error| format!("{VERSION} is {number:?}: {error}"))?;
        let echoed = format!("\"{SEEN}\":\"{number}\"");
        if !body
            .windows(echoed.len())
            .any(|part| part == echoed.as_bytes())
        {
            let body = String::from_utf8_lossy(body);
            return Err(format!("{VERSION} is {number}, but the backend saw {body}"));
        }
        let subset = single(headers, "x-shop-version")?;
        if self.chooses_subset && subset != subset_of(number) {
            return Err(format!(
                "{VERSION} is {number}, but subset {subset} answered"
            ));
        }
        Ok(number)
    }

    /// Answers that spoke of no version, or of two.
    pub(super) fn disagreeing(&self) -> u64 {
        self.disagreeing.load(Ordering::Relaxed)
    }

    /// Waits for the first answer of a version or a newer one; answers when that was.
    pub(super) async fn reached(&self, number: u64, within: Duration) -> anyhow::Result<Instant> {
        let mut newest = self.newest.subscribe();
        let reached = |seen: &Option<Sighting>| seen.is_some_and(|seen| seen.number >= number);
        let sighting = tokio::time::timeout(within, newest.wait_for(reached))
            .await
            .with_context(|| format!("no answer of version {number} within {within:?}"))??;
        sighting
            .map(|sighting| sighting.first)
            .context("no version was seen")
    }
}

/// The subset that a version chooses.
pub(super) fn subset_of(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "v1" } else { "v2" }
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|error| format!("{name}: {error}")),
        (None, _) => Err(format!("there is no {name}")),
        (Some(_), Some(_)) => Err(format!("there are several {name}")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn judged(version: &'static str, seen: &str, subset: &'static str) -> Result<u64, String> {
        let mut headers = HeaderMap::new();
        headers.insert(VERSION, HeaderValue::from_static(version));
        headers.insert("x-shop-version", HeaderValue::from_static(subset));
        let body = format!("{{\"headers\":{{\"{SEEN}\":\"{seen}\"}}}}");
        Versions::new(true).agreed(&headers, &body.into())
    }

    #[test]
    fn three_places_must_agree() {
        assert_eq!(judged("12", "12", "v1"), Ok(12));
        assert_eq!(judged("13", "13", "v2"), Ok(13));
        assert!(judged("12", "13", "v1").is_err());
        assert!(judged("12", "121", "v1").is_err());
        assert!(judged("12", "12", "v2").is_err());
        assert!(judged("twelve", "twelve", "v1").is_err());
    }

    #[test]
    fn no_version_and_two_versions_are_both_wrong() {
        let versions = Versions::new(false);
        let mut headers = HeaderMap::new();
        assert!(versions.agreed(&headers, &Bytes::new()).is_err());
        headers.append(VERSION, HeaderValue::from_static("1"));
        headers.append(VERSION, HeaderValue::from_static("2"));
        let body = Bytes::from_static(b"\"x-config-seen\":\"1\"");
        assert!(
            versions
                .agreed(&headers, &body)
                .unwrap_err()
                .contains("several")
        );
    }
}
