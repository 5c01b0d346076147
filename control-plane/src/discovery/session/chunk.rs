//! A change as messages, none much larger than a chunk.

use mesh_api::limits::PUSH_CHUNK_BYTES;
use mesh_api::proto::{self, server_message};
use mesh_api::version::SnapshotVersion;

use super::difference::Difference;

/// What an entry costs on the wire beside its texts.
const OVERHEAD: usize = 24;

/// The messages of one push; the last one is marked complete.
pub(super) fn messages(
    nonce: u64,
    version: SnapshotVersion,
    change: &Difference<'_>,
) -> Vec<proto::ServerMessage> {
    let empty = || proto::Push {
        nonce,
        snapshot_version: version.to_string(),
        ..proto::Push::default()
    };
    let mut done = Vec::new();
    let mut current = empty();
    let mut size = 0;
    let mut room = |current: &mut proto::Push, needed: usize| {
        if size > 0 && size + needed > PUSH_CHUNK_BYTES {
            done.push(std::mem::replace(current, empty()));
            size = 0;
        }
        size += needed;
    };
    for encoded in &change.set {
        let resource = encoded.to_wire();
        room(
            &mut current,
            resource.name.len() + resource.body.len() + OVERHEAD,
        );
        current.resources.push(resource);
    }
    let removed = change.removed.iter().map(ToString::to_string);
    for name in removed.chain(change.foreign.iter().cloned()) {
        room(&mut current, name.len() + OVERHEAD);
        current.removed.push(name);
    }
    current.complete = true;
    done.push(current);
    done.into_iter()
        .map(|push| proto::ServerMessage {
            message: Some(server_message::Message::Push(push)),
        })
        .collect()
}
