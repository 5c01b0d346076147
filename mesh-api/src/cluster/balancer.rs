//! Load balancing settings (`DestinationRule.trafficPolicy.loadBalancer`).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::units::PartsPerMillion;

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LoadBalancer {
    /// Two random endpoints, the one with fewer active requests (Istio's default).
    LeastRequest {
        /// Slow start.
        warmup: Option<Warmup>,
    },
    /// In turn, by weight.
    RoundRobin {
        /// Slow start.
        warmup: Option<Warmup>,
    },
    /// Any, by weight.
    Random,
    /// Where the connection was going.
    Passthrough,
    /// By a hash of the request.
    ConsistentHash(ConsistentHash),
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self::LeastRequest { warmup: None }
    }
}

/// Slow start of new endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Warmup {
    /// How long it takes.
    pub duration: Duration,
    /// The share of traffic at the beginning.
    pub minimum: PartsPerMillion,
    /// The exponent's inverse, in thousandths; 1000 is linear.
    pub aggression_permille: u32,
}

/// Consistent hashing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ConsistentHash {
    /// What is hashed.
    pub affinity: Affinity,
    /// How.
    pub algorithm: HashAlgorithm,
}

/// What of a request is hashed; a request without it goes anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Affinity {
    /// A header.
    Header(Arc<str>),
    /// A cookie; made by the proxy if `ttl` is given and the request has none.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Its path.
        path: Option<Arc<str>>,
        /// Its life; zero is a session cookie.
        ttl: Option<Duration>,
        /// Further attributes.
        attributes: Vec<CookieAttribute>,
    },
    /// The client's address.
    SourceIp,
    /// A query parameter.
    QueryParameter(Arc<str>),
}

/// One attribute of a cookie the proxy makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct CookieAttribute {
    /// Its name, `SameSite` for example.
    pub name: Arc<str>,
    /// Its value; empty for a flag.
    pub value: Arc<str>,
}

/// The hash algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HashAlgorithm {
    /// A ring with at least this many entries.
    Ring {
        /// `minimumRingSize`.
        minimum_size: u64,
    },
    /// A Maglev table of this size.
    Maglev {
        /// `tableSize`; a prime.
        table_size: u64,
    },
}

/// Preference by place (`localityLbSetting`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LocalityPolicy {
    /// All endpoints alike.
    #[default]
    Off,
    /// Near endpoints first; others when those fail.
    Failover(Failover),
    /// Fixed shares.
    Distribute(Vec<LocalityDistribution>),
}

/// Failover between places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Failover {
    /// `failover`: the region to go to from a region.
    pub regions: Vec<(Arc<str>, Arc<str>)>,
    /// `failoverPriority`: ordered label keys, or `key=value`.
    pub label_priority: Vec<Arc<str>>,
}

/// Shares for clients of one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct LocalityDistribution {
    /// `region/zone/subzone`, `*` for any.
    pub from: Arc<str>,
    /// Where to, in per cent; the sum is 100.
    pub to: Vec<(Arc<str>, u32)>,
}
