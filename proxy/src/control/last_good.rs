//! The last applied configuration on disk, so that a proxy that starts while the control plane
//! is gone serves what it served before.
//!
//! One file: a line that says what it is and whose, a checksum, and the resources as they travel
//! on the wire. It is written beside its place and renamed into it, so that a crash leaves the
//! old one or the new one. A file that is damaged, of another format or of another proxy is
//! not used, and the reason is logged.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_api::convert;
use mesh_api::encoded::Encoded;
use mesh_api::error::Rejection;
use mesh_api::limits::MAX_PUSH_BYTES;
use mesh_api::proto;
use mesh_api::snapshot::{Delta, Snapshot};
use mesh_api::version::Version;
use mesh_runtime::{Backoff, durable};
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Identity;

const FILE: &str = "last-good-config";
const FORMAT: &str = "mesh-last-good-config 1";
/// Snapshots that come faster than this are not all written; the newest always is.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// The first wait after a failure, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// The gauge that is 1 while the newest configuration could not be stored.
const UNSTORED: &str = "proxy_last_good_unstored";
/// The file may be larger than a push only by its line and checksum.
const MAX_FILE_BYTES: u64 = MAX_PUSH_BYTES as u64 + 64 * 1024;

/// Why there is no last good configuration.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is not such a file, or one of another format.
    #[error("{0} is not a configuration of the format this proxy writes; it is not used")]
    Format(PathBuf),
    /// It was written by another proxy.
    #[error("{path} was written by {other}; it is not used")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        other: String,
    },
    /// Its checksum is wrong.
    #[error("{0} is damaged; it is not used")]
    Damaged(PathBuf),
    /// What it holds is refused by this version of the proxy.
    #[error("{path} holds what this proxy refuses: {first}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// The first thing wrong with it.
        first: String,
    },
}

/// The place of one proxy's last good configuration.
#[derive(Clone, Debug)]
pub struct LastGood {
    path: PathBuf,
    owner: String,
}

impl LastGood {
    /// The place in `directory` for the proxy with this identity.
    pub fn new(directory: &Path, identity: &Identity) -> Self {
        let Identity {
            workload,
            role,
            capture_mode,
            software: _,
        } = identity;
        Self {
            path: directory.join(FILE),
            owner: format!("{workload} {} {}", role.name(), capture_mode.name()),
        }
    }

    /// The configuration kept, or `None` if none ever was.
    pub fn load(&self) -> Result<Option<Snapshot>, LastGoodError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.io(error))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(LastGoodError::Format(self.path.clone()));
        }
        self.decode(&bytes).map(Some)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Snapshot, LastGoodError> {
        let format = || LastGoodError::Format(self.path.clone());
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (line, rest) = end
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or_else(format)?;
        let line = std::str::from_utf8(line).map_err(|_error| format())?;
        let owner = line
            .strip_prefix(FORMAT)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(format)?;
        let damaged = || LastGoodError::Damaged(self.path.clone());
        let (checksum, body) = rest
            .strip_prefix(b"\n")
            .and_then(|rest| rest.split_first_chunk::<8>())
            .ok_or_else(damaged)?;
        if Version::of_body(body).0 != u64::from_be_bytes(*checksum) {
            return Err(damaged());
        }
        if owner != self.owner {
            return Err(LastGoodError::Foreign {
                path: self.path.clone(),
                other: owner.to_owned(),
            });
        }
        let kept = proto::Push::decode(body).map_err(|_error| damaged())?;
        rebuild(kept.resources).map_err(|rejections| LastGoodError::Refused {
            path: self.path.clone(),
            first: rejections
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        })
    }

    /// Writes a configuration. Blocks: not for a runtime's thread.
    pub fn store(&self, snapshot: &Snapshot) -> Result<(), LastGoodError> {
        let bytes = self.encode(snapshot);
        durable::replace(&self.path, &bytes).map_err(|error| self.io(error))
    }

    fn encode(&self, snapshot: &Snapshot) -> Vec<u8> {
        let resources = snapshot
            .iter()
            .map(|(_, entry)| proto::Resource {
                // The version it was pushed with; a policy that could not be decoded stands
                // here as the refusal it became, under the version of what it was.
                version: entry.version.0,
                ..Encoded::new(&entry.resource).to_wire()
            })
            .collect();
        let body = proto::Push {
            snapshot_version: snapshot.version().to_string(),
            resources,
            complete: true,
            ..proto::Push::default()
        }
        .encode_to_vec();
        let mut bytes = format!("{FORMAT} {}\n", self.owner).into_bytes();
        bytes.extend(Version::of_body(&body).0.to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn io(&self, error: io::Error) -> LastGoodError {
        LastGoodError::Io {
            path: self.path.clone(),
            error,
        }
    }

    /// Stores whatever `newest` holds, soon and not too often, until its sender is gone. What
    /// cannot be stored now is tried again until it can be, and a gauge says so meanwhile.
    pub async fn keep(self, mut newest: watch::Receiver<Option<Arc<Snapshot>>>) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        metrics::gauge!(UNSTORED).set(0.0);
        while newest.changed().await.is_ok() {
            loop {
                let Some(snapshot) = newest.borrow_and_update().clone() else {
                    break;
                };
                let began = Instant::now();
                let place = self.clone();
                let stored = tokio::task::spawn_blocking(move || place.store(&snapshot)).await;
                match stored {
                    Ok(Ok(())) => {
                        if backoff.attempts() > 0 {
                            tracing::info!("the last good configuration is kept again");
                        }
                        backoff.reset();
                        metrics::gauge!(UNSTORED).set(0.0);
                        tokio::time::sleep_until(began + WRITE_INTERVAL).await;
                        break;
                    }
                    Ok(Err(error)) => {
                        metrics::counter!("proxy_last_good_write_failures_total").increment(1);
                        metrics::gauge!(UNSTORED).set(1.0);
                        // A full disk stays full for a while: said once.
                        if backoff.attempts() == 0 {
                            tracing::warn!(
                                %error,
                                "the last good configuration could not be kept, and a restart \
                                 would lack it; it is tried again until it can be"
                            );
                        }
                        tokio::time::sleep(backoff.next_delay(rand::random())).await;
                    }
                    Err(stopped) => {
                        tracing::debug!(%stopped, "the runtime is stopping");
                        return;
                    }
                }
            }
        }
    }
}

/// Decodes resources whose versions are those they were pushed with.
fn rebuild(resources: Vec<proto::Resource>) -> Result<Snapshot, Vec<Rejection>> {
    let mut delta = Delta::default();
    for mut resource in resources {
        let pushed = Version(resource.version);
        resource.version = Version::of_body(&resource.body).0;
        let mut entry = convert::decode(&resource).map_err(|rejection| vec![rejection])?;
        entry.version = pushed;
        delta.set.push(entry);
    }
    Snapshot::default().apply(delta)
}

#[cfg(test)]
mod tests;
