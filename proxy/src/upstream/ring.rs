//! Consistent hashing: a ring on which every endpoint stands many times.
//!
//! A change of one endpoint moves only the requests that were its own. Both of Istio's
//! algorithms are served by the ring; a Maglev table size is the number of entries.

use std::sync::Arc;

use super::EndpointState;

/// More entries than this cost memory without making shares more even.
const MAX_ENTRIES: u64 = 1 << 20;

/// Points on the ring in order, with the place of the endpoint that owns them.
#[derive(Debug)]
pub struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// A ring of at least `minimum` points, shared out by weight.
    pub(crate) fn new<'e>(
        endpoints: impl Iterator<Item = (u32, &'e Arc<EndpointState>)>,
        minimum: u64,
    ) -> Self {
        let endpoints: Vec<(u32, &Arc<EndpointState>)> = endpoints.collect();
        let weight = |endpoint: &EndpointState| u64::from(endpoint.endpoint().weight.max(1));
        let total: u64 = endpoints.iter().map(|(_, one)| weight(one)).sum();
        let size = minimum.clamp(1, MAX_ENTRIES);
        // A power of two per unit of weight: it seldom changes when an endpoint comes or goes, so
        // that those that stay keep their points.
        let per_unit = size.div_ceil(total.max(1)).next_power_of_two();
        let mut points = Vec::new();
        for (place, endpoint) in endpoints {
            let share = if total <= size {
                weight(endpoint) * per_unit
            } else {
                (size * weight(endpoint)).div_ceil(total.max(1)).max(1)
            };
            let seed = hash(endpoint.text().as_bytes());
            points.extend((0..share).map(|copy| (mix(seed ^ mix(copy)), place)));
        }
        points.sort_unstable();
        points.dedup_by_key(|(point, _)| *point);
        Self { points }
    }

    /// The endpoint at or after `key` on the ring, then the ones behind it.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = u32> {
        let start = self.points.partition_point(|(point, _)| *point < key);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, place)| *place)
    }
}

/// A hash that is the same in every process, so that several proxies agree (FNV-1a, finished).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(folded)
}

/// Spreads a number over all bits (the finalizer of `SplitMix64`).
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use mesh_api::endpoint::{Endpoint, EndpointAddress, Health};
    use mesh_api::workload::{Labels, Locality, Peer};

    use super::*;

    fn endpoint(port: u16, weight: u32) -> Arc<EndpointState> {
        Arc::new(EndpointState::new(Arc::new(Endpoint {
            address: EndpointAddress::Socket(SocketAddr::from(([127, 0, 0, 1], port))),
            labels: Labels::default(),
            weight,
            health: Health::Healthy,
            locality: Locality::default(),
            network: "".into(),
            mesh_tls: false,
            peer: Peer::default(),
        })))
    }

    #[test]
    fn keys_stay_where_they_are_when_an_endpoint_leaves() {
        let all: Vec<(u32, Arc<EndpointState>)> = (0_u32..)
            .zip((1..=5).map(|port| endpoint(port, 1)))
            .collect();
        let ring = |skip: Option<u32>| {
            let kept = all.iter().filter(|(place, _)| Some(*place) != skip);
            Ring::new(kept.map(|(place, endpoint)| (*place, endpoint)), 1024)
        };
        let (whole, less) = (ring(None), ring(Some(2)));
        let mut shares = [0_u32; 5];
        for number in 0_u32..5_000 {
            let key = hash(&number.to_be_bytes());
            let place = whole.from(key).next().unwrap();
            shares[place as usize] += 1;
            if place != 2 {
                assert_eq!(less.from(key).next(), Some(place));
            }
            // The rest of the walk meets the others.
            let met: std::collections::BTreeSet<u32> = whole.from(key).collect();
            assert_eq!(met.len(), 5);
        }
        assert!(
            shares.iter().all(|share| (600..1_500).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn weights_are_shares_of_the_ring_and_an_empty_ring_has_nobody() {
        let heavy = [(0, endpoint(1, 3)), (1, endpoint(2, 1))];
        let ring = Ring::new(heavy.iter().map(|(place, one)| (*place, one)), 4096);
        let hits = (0_u32..4_000)
            .filter(|number| ring.from(hash(&number.to_be_bytes())).next() == Some(0));
        assert!((2_700..3_300).contains(&hits.count()));
        assert_eq!(Ring::new(std::iter::empty(), 1024).from(7).next(), None);
    }
}
