//! Reads the first message of a stream.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::limits::{MAX_NAME_BYTES, PROTOCOL_REVISION};
use mesh_api::proto;
use mesh_api::version::Version;

use super::subscription::Subscription;
use super::view::{Held, View};
use super::{Capture, Introduction, ProtocolError, Role};

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
        role: read_role(role)?,
        capture: read_capture(capture_mode)?,
        software: proxy_version.chars().take(MAX_SOFTWARE).collect(),
    };
    let subscription = Subscription::read(subscription, &names)?;
    Ok((introduction, subscription, read_held(held)?))
}

fn read_role(role: i32) -> Result<Role, ProtocolError> {
    match proto::Role::try_from(role) {
        Ok(proto::Role::Sidecar) => Ok(Role::Sidecar),
        Ok(proto::Role::Gateway) => Ok(Role::Gateway),
        Ok(proto::Role::Unspecified) | Err(_) => Err(ProtocolError::Field {
            field: "role",
            reason: format!("{role} is not a role; expected 1 (sidecar) or 2 (gateway)"),
        }),
    }
}

fn read_capture(mode: i32) -> Result<Capture, ProtocolError> {
    match proto::CaptureMode::try_from(mode) {
        Ok(proto::CaptureMode::Explicit) => Ok(Capture::Explicit),
        Ok(proto::CaptureMode::OriginalDestination) => Ok(Capture::OriginalDestination),
        Ok(proto::CaptureMode::Unspecified) | Err(_) => Err(ProtocolError::Field {
            field: "capture_mode",
            reason: format!(
                "{mode} is not a capture mode; expected 1 (explicit) or 2 (original destination)"
            ),
        }),
    }
}

/// A proxy of another version may hold names of kinds this server does not know; they are taken
/// note of, so that it can be told to drop them.
fn read_held(held: Vec<proto::HeldResource>) -> Result<View, ProtocolError> {
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
