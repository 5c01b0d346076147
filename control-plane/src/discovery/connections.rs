//! The connections of the stream's socket: who has how many, and who has to go when there are too
//! many.
//!
//! A connection is *anonymous* until a stream on it has proved whose it is, and again when that
//! stream has ended. Anonymous ones have a deadline, a share per address and a share of the whole;
//! where one is full the oldest goes, so that whoever comes is always heard. Proved ones are
//! bounded by the seats of pods ([`super::seats`]).

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::authenticate::{Refusal, Refusals};
use super::capacity::Capacity;
use crate::allowance::{Allowances, source};

/// How long a connection may be open without a stream. A proxy opens one at once.
pub(super) const WITHOUT_STREAM: Duration = Duration::from_secs(15);
/// Streams that may be refused on one connection. A proxy opens another.
const REFUSED_STREAMS: u32 = 8;

/// Why a connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowded {
    /// Its address opens connections too fast.
    Arrivals,
    /// Its address has more without a stream than its share, and this is the oldest.
    Address,
    /// There are too many without a stream, and this is the oldest.
    Anonymous,
    /// There are too many, and this is the oldest of the address that has most.
    All,
    /// It had no stream for too long.
    Idle,
    /// Too many of its streams were refused.
    Refused,
}

impl Crowded {
    /// In one word, for metrics.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Arrivals => "connections_too_fast",
            Self::Address => "connections_of_one_address",
            Self::Anonymous => "connections_without_stream",
            Self::All => "connections",
            Self::Idle => "no_stream",
            Self::Refused => "refused_too_often",
        }
    }

    /// As a sentence.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Arrivals => "its address opens connections faster than 32 a second",
            Self::Address => {
                "its address has too many connections without a stream, and this was the oldest"
            }
            Self::Anonymous => {
                "there are too many connections without a stream, and this was the oldest"
            }
            Self::All => {
                "there are too many connections, and this was the oldest of the address that has \
                 most; more memory or files let more in"
            }
            Self::Idle => "it had no stream for 15 seconds; a proxy opens one at once",
            Self::Refused => "8 streams were refused on it; a proxy opens another connection",
        }
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    capacity: Capacity,
    refusals: Arc<Refusals>,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Open>,
    /// The anonymous ones, the oldest first.
    anonymous: BTreeMap<(Instant, u64), IpAddr>,
    of_address: HashMap<IpAddr, Counts>,
    arrivals: Allowances<IpAddr>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: usize,
    anonymous: usize,
}

#[derive(Debug)]
struct Open {
    address: SocketAddr,
    from: IpAddr,
    streams: u32,
    refused: u32,
    /// Since when it has no stream, if it has none.
    anonymous: Option<Instant>,
    end: CancellationToken,
}

impl Connections {
    pub(super) fn new(capacity: Capacity, refusals: Arc<Refusals>) -> Arc<Self> {
        capacity.publish();
        let now = Instant::now();
        Arc::new(Self {
            capacity,
            refusals,
            table: Mutex::new(Table {
                next: 0,
                open: BTreeMap::new(),
                anonymous: BTreeMap::new(),
                of_address: HashMap::new(),
                arrivals: Allowances::new(capacity.arrivals, now),
            }),
        })
    }

    /// Takes note of a connection that was just accepted; `None` if it has to be closed. Others may
    /// have to go for it.
    pub(super) fn admit(self: &Arc<Self>, address: SocketAddr) -> Option<Connection> {
        let now = Instant::now();
        let mut gone = Vec::new();
        let admitted = {
            let mut table = self.table.lock();
            let from = source(address.ip());
            if table.arrivals.of(from, now).take(now) {
                table.make_room(from, self.capacity, &mut gone);
                Some(table.open(address, from, now))
            } else {
                gone.push((address, Crowded::Arrivals));
                None
            }
        };
        self.tell(gone);
        let (id, end) = admitted?;
        Some(Connection {
            entry: Arc::new(Entry {
                id,
                address,
                end,
                connections: Arc::clone(self),
            }),
        })
    }

    /// Closes what has had no stream for too long, again and again.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.close_idle(Instant::now());
        }
    }

    fn close_idle(&self, now: Instant) {
        let mut gone = Vec::new();
        {
            let mut table = self.table.lock();
            while let Some(((since, id), _)) = table.anonymous.first_key_value() {
                let id = *id;
                if now.saturating_duration_since(*since) < WITHOUT_STREAM {
                    break;
                }
                table.close(id, Crowded::Idle, &mut gone);
            }
            table.publish();
        }
        self.tell(gone);
    }

    /// Counts and logs outside of the lock.
    fn tell(&self, gone: Vec<(SocketAddr, Crowded)>) {
        for (address, why) in gone {
            self.refusals.note(&Refusal::Crowded(why), Some(address));
        }
    }
}

impl Table {
    fn open(
        &mut self,
        address: SocketAddr,
        from: IpAddr,
        now: Instant,
    ) -> (u64, CancellationToken) {
        let id = self.next;
        self.next += 1;
        let end = CancellationToken::new();
        let open = Open {
            address,
            from,
            streams: 0,
            refused: 0,
            anonymous: Some(now),
            end: end.clone(),
        };
        self.open.insert(id, open);
        self.anonymous.insert((now, id), from);
        let counts = self.of_address.entry(from).or_default();
        counts.all += 1;
        counts.anonymous += 1;
        (id, end)
    }

    fn make_room(
        &mut self,
        from: IpAddr,
        capacity: Capacity,
        gone: &mut Vec<(SocketAddr, Crowded)>,
    ) {
        let own = self.of_address.get(&from).copied().unwrap_or_default();
        if own.anonymous >= capacity.without_stream_each {
            let mut all = self.anonymous.iter();
            let oldest = all.find_map(|((_, id), one)| (*one == from).then_some(*id));
            self.close_if_any(oldest, Crowded::Address, gone);
        }
        if self.anonymous.len() >= capacity.without_stream {
            let oldest = self.anonymous.keys().next().map(|(_, id)| *id);
            self.close_if_any(oldest, Crowded::Anonymous, gone);
        }
        if self.open.len() < capacity.connections {
            return;
        }
        let oldest = self.anonymous.keys().next().map(|(_, id)| *id);
        let oldest = oldest.or_else(|| {
            let most = self.of_address.iter().max_by_key(|(_, counts)| counts.all);
            // Where nobody has more than one, ending one only makes it come back for another's.
            let (most, _) = most.filter(|(_, counts)| counts.all > 1)?;
            let mut all = self.open.iter();
            all.find_map(|(id, open)| (open.from == *most).then_some(*id))
        });
        self.close_if_any(oldest, Crowded::All, gone);
    }

    fn close_if_any(
        &mut self,
        id: Option<u64>,
        why: Crowded,
        gone: &mut Vec<(SocketAddr, Crowded)>,
    ) {
        if let Some(id) = id {
            self.close(id, why, gone);
        }
    }

    fn close(&mut self, id: u64, why: Crowded, gone: &mut Vec<(SocketAddr, Crowded)>) {
        if let Some(open) = self.remove(id) {
            open.end.cancel();
            gone.push((open.address, why));
        }
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        self.name(id);
        let open = self.open.remove(&id)?;
        if let Some(counts) = self.of_address.get_mut(&open.from) {
            counts.all -= 1;
            if counts.all == 0 {
                self.of_address.remove(&open.from);
            }
        }
        Some(open)
    }

    /// It is not anonymous any more.
    fn name(&mut self, id: u64) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        let Some(since) = open.anonymous.take() else {
            return;
        };
        self.anonymous.remove(&(since, id));
        if let Some(counts) = self.of_address.get_mut(&open.from) {
            counts.anonymous -= 1;
        }
    }

    fn publish(&self) {
        for (state, count) in [
            ("all", self.open.len()),
            ("without_stream", self.anonymous.len()),
        ] {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            metrics::gauge!("mesh_stream_connections", "state" => state).set(f64::from(count));
        }
    }
}

/// One connection. When the last copy of it is dropped it is forgotten.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    entry: Arc<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    address: SocketAddr,
    end: CancellationToken,
    connections: Arc<Connections>,
}

impl Connection {
    /// Where it comes from.
    pub(super) fn address(&self) -> SocketAddr {
        self.entry.address
    }

    /// Cancelled when it has to go.
    pub(super) fn end(&self) -> &CancellationToken {
        &self.entry.end
    }

    /// A stream was refused on it.
    pub(super) fn refused(&self) {
        let mut gone = Vec::new();
        let connections = &self.entry.connections;
        {
            let mut table = connections.table.lock();
            let Some(open) = table.open.get_mut(&self.entry.id) else {
                return;
            };
            open.refused += 1;
            if open.refused > REFUSED_STREAMS {
                table.close(self.entry.id, Crowded::Refused, &mut gone);
            }
        }
        connections.tell(gone);
    }

    /// A stream on it has proved whose it is, and lasts as long as what is returned.
    pub(super) fn proved(&self) -> Proved {
        let mut table = self.entry.connections.table.lock();
        table.name(self.entry.id);
        if let Some(open) = table.open.get_mut(&self.entry.id) {
            open.streams += 1;
            open.refused = 0;
        }
        Proved(self.clone())
    }
}

/// A proved stream on a connection.
#[derive(Debug)]
pub(super) struct Proved(Connection);

impl Drop for Proved {
    fn drop(&mut self) {
        let Entry {
            id, connections, ..
        } = &*self.0.entry;
        let now = Instant::now();
        let mut table = connections.table.lock();
        let Some(open) = table.open.get_mut(id) else {
            return;
        };
        open.streams -= 1;
        if open.streams == 0 && open.anonymous.is_none() {
            open.anonymous = Some(now);
            let from = open.from;
            table.anonymous.insert((now, *id), from);
            if let Some(counts) = table.of_address.get_mut(&from) {
                counts.anonymous += 1;
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.connections.table.lock().remove(self.id));
    }
}

#[cfg(test)]
mod tests;
