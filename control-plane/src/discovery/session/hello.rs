//! Reads the first message of a stream.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::limits::{MAX_HELD, MAX_NAME_BYTES, PROTOCOL_REVISION};
use mesh_api::proto;
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::version::Version;

use super::subscription::Subscription;
use super::view::{Held, View};
use super::{Introduction, ProtocolError};

/// The longest software version that is kept.
const MAX_SOFTWARE: usize = 200;

pub(super) fn read(
    hello: proto::Hello,
) -> Result<(Introduction, Subscription, View), ProtocolError> {
    let proto::Hello {
        workload,
        role,
        capture_mode,
        proxy_version,
        protocol_revision,
        subscription,
        names,
        held,
    } = hello;
    if protocol_revision < PROTOCOL_REVISION {
        return Err(ProtocolError::Revision(protocol_revision));
    }
    let introduction = Introduction {
        workload: workload.parse().map_err(|error| ProtocolError::Field {
            field: "workload",
            reason: format!("{error}"),
        })?,
        role: ProxyRole::from_wire(role).map_err(|error| ProtocolError::Field {
            field: "role",
            reason: error.to_string(),
        })?,
        capture: CaptureMode::from_wire(capture_mode).map_err(|error| ProtocolError::Field {
            field: "capture_mode",
            reason: error.to_string(),
        })?,
        software: proxy_version.chars().take(MAX_SOFTWARE).collect(),
    };
    let subscription = Subscription::read(subscription, &names)?;
    Ok((introduction, subscription, read_held(held)?))
}

/// A proxy of another version may hold names of kinds this server does not know; they are taken
/// note of, so that it can be told to drop them.
fn read_held(held: Vec<proto::HeldResource>) -> Result<View, ProtocolError> {
    if held.len() > MAX_HELD {
        return Err(ProtocolError::TooMany {
            field: "held",
            limit: MAX_HELD,
        });
    }
    let mut known = BTreeMap::new();
    let mut foreign = BTreeSet::new();
    for proto::HeldResource { name, version } in held {
        if name.len() > MAX_NAME_BYTES {
            return Err(ProtocolError::Field {
                field: "held",
                reason: format!(
                    "a name has at most {MAX_NAME_BYTES} bytes, not {}",
                    name.len()
                ),
            });
        }
        match name.parse() {
            Ok(name) => {
                let held = Held {
                    version: Version(version),
                    references: None,
                };
                known.insert(name, held);
            }
            Err(_) => {
                foreign.insert(name);
            }
        }
    }
    Ok(View {
        held: known,
        unlearned: true,
        foreign,
    })
}
