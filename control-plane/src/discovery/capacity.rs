//! How many connections the stream's socket takes, from what the process has.

use mesh_runtime::{files, memory};

use crate::allowance::Rate;

/// What a connection with a stream costs, about: TLS and HTTP/2 buffers, and what a session notes.
const BYTES_EACH: u64 = 128 << 10;
/// What is assumed where nothing can be found out.
const UNKNOWN_MEMORY: u64 = 1 << 30;
/// Connections from one address, each of which costs a handshake.
const ARRIVALS: Rate = Rate::new(32, 256);

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Of all kinds.
    pub(super) connections: usize,
    /// Of those without a stream: nobody has proved yet who it is.
    pub(super) without_stream: usize,
    /// Of those, from one address.
    pub(super) without_stream_each: usize,
    /// How many may come from one address.
    pub(super) arrivals: Rate,
}

impl Capacity {
    /// What this process can bear.
    pub(super) fn of_process() -> Self {
        let files = files::raise_limit();
        let memory = memory::available();
        Self::of(files, memory.unwrap_or(UNKNOWN_MEMORY))
    }

    /// Three quarters of the files, and half of the memory; a quarter of that for those who have
    /// not said yet who they are.
    fn of(files: u64, memory: u64) -> Self {
        let by_files = files - files / 4;
        let by_memory = memory / 2 / BYTES_EACH;
        let connections = by_files.min(by_memory).clamp(64, 1 << 16);
        let connections = usize::try_from(connections).unwrap_or(64);
        let without_stream = (connections / 4).clamp(16, 1024);
        Self {
            connections,
            without_stream,
            without_stream_each: (without_stream / 4).min(64),
            arrivals: ARRIVALS,
        }
    }

    /// The same, without shares of single addresses: on one machine all have the same.
    pub(super) fn on_one_machine(self) -> Self {
        Self {
            without_stream_each: self.without_stream,
            arrivals: Rate::new(u32::MAX, u32::MAX),
            ..self
        }
    }

    /// Tells how many there may be.
    pub(super) fn publish(self) {
        for (state, limit) in [
            ("all", self.connections),
            ("without_stream", self.without_stream),
            ("without_stream_of_one_address", self.without_stream_each),
        ] {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            metrics::gauge!("mesh_stream_connections_limit", "state" => state)
                .set(f64::from(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcer_of_files_and_memory_decides() {
        let of = |files, memory| {
            let Capacity {
                connections,
                without_stream,
                without_stream_each,
                arrivals: _,
            } = Capacity::of(files, memory);
            (connections, without_stream, without_stream_each)
        };
        assert_eq!(of(1024, 1 << 40), (768, 192, 48));
        assert_eq!(of(1 << 20, 2 << 30), (8192, 1024, 64));
        assert_eq!(
            of(0, 0),
            (64, 16, 4),
            "nothing at all would be a fault of its own"
        );
        assert_eq!(of(u64::MAX, u64::MAX), (65536, 1024, 64));
    }
}
