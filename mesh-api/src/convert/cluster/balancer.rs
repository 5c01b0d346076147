//! Load balancing settings on the wire.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{
    Affinity, ConsistentHash, CookieAttribute, Failover, HashAlgorithm, LoadBalancer,
    LocalityDistribution, LocalityPolicy, Warmup,
};
use crate::convert::field::{
    Invalid, Result, Wire, field, list, list_to_proto, member, non_empty, optional, required,
};
use crate::proto;
use crate::proto::consistent_hash as hash;
use crate::proto::load_balancer::Algorithm;
use crate::proto::locality_policy::Policy;

/// Larger rings and tables cost more memory than they can be worth.
const MAX_RING: u64 = 8_388_608;
const MAX_TABLE: u64 = 5_000_011;

impl Wire for LoadBalancer {
    type Proto = proto::LoadBalancer;

    fn to_proto(&self) -> proto::LoadBalancer {
        let weighted = |warmup: &Option<Warmup>| proto::Weighted {
            warmup: warmup.as_ref().map(Wire::to_proto),
        };
        let algorithm = match self {
            Self::LeastRequest { warmup } => Algorithm::LeastRequest(weighted(warmup)),
            Self::RoundRobin { warmup } => Algorithm::RoundRobin(weighted(warmup)),
            Self::Random => Algorithm::Random(proto::Unit {}),
            Self::Passthrough => Algorithm::Passthrough(proto::Unit {}),
            Self::ConsistentHash(hash) => Algorithm::ConsistentHash(hash.to_proto()),
        };
        proto::LoadBalancer {
            algorithm: Some(algorithm),
        }
    }

    fn from_proto(proto: proto::LoadBalancer) -> Result<Self> {
        let proto::LoadBalancer { algorithm } = proto;
        let warmup = |member: &'static str, proto::Weighted { warmup }: proto::Weighted| {
            optional("warmup", warmup).map_err(|invalid| invalid.within(member))
        };
        member("algorithm", algorithm, |algorithm| match algorithm {
            Algorithm::LeastRequest(weighted) => Ok(Self::LeastRequest {
                warmup: warmup("least_request", weighted)?,
            }),
            Algorithm::RoundRobin(weighted) => Ok(Self::RoundRobin {
                warmup: warmup("round_robin", weighted)?,
            }),
            Algorithm::Random(proto::Unit {}) => Ok(Self::Random),
            Algorithm::Passthrough(proto::Unit {}) => Ok(Self::Passthrough),
            Algorithm::ConsistentHash(hash) => {
                field("consistent_hash", hash).map(Self::ConsistentHash)
            }
        })
    }
}

impl Wire for Warmup {
    type Proto = proto::Warmup;

    fn to_proto(&self) -> proto::Warmup {
        let Self {
            duration,
            minimum,
            aggression_permille,
        } = self;
        proto::Warmup {
            duration: Some(duration.to_proto()),
            minimum_ppm: minimum.to_proto(),
            aggression_permille: *aggression_permille,
        }
    }

    fn from_proto(proto: proto::Warmup) -> Result<Self> {
        let proto::Warmup {
            duration,
            minimum_ppm,
            aggression_permille,
        } = proto;
        if aggression_permille == 0 {
            return Err(Invalid::at("aggression_permille", "it must be at least 1"));
        }
        Ok(Self {
            duration: required("duration", duration)?,
            minimum: field("minimum_ppm", minimum_ppm)?,
            aggression_permille,
        })
    }
}

impl Wire for ConsistentHash {
    type Proto = proto::ConsistentHash;

    fn to_proto(&self) -> proto::ConsistentHash {
        let Self {
            affinity,
            algorithm,
        } = self;
        proto::ConsistentHash {
            affinity: Some(affinity.to_proto()),
            algorithm: Some(algorithm.to_proto()),
        }
    }

    fn from_proto(proto: proto::ConsistentHash) -> Result<Self> {
        let proto::ConsistentHash {
            affinity,
            algorithm,
        } = proto;
        Ok(Self {
            affinity: required("affinity", affinity)?,
            algorithm: required("algorithm", algorithm)?,
        })
    }
}

impl Wire for Affinity {
    type Proto = hash::Affinity;

    fn to_proto(&self) -> hash::Affinity {
        match self {
            Self::Header(name) => hash::Affinity::Header(name.to_proto()),
            Self::Cookie {
                name,
                path,
                ttl,
                attributes,
            } => hash::Affinity::Cookie(proto::Cookie {
                name: name.to_proto(),
                path: path.as_ref().map(Wire::to_proto),
                ttl: ttl.as_ref().map(Wire::to_proto),
                attributes: list_to_proto(attributes),
            }),
            Self::SourceIp => hash::Affinity::SourceIp(proto::Unit {}),
            Self::QueryParameter(name) => hash::Affinity::QueryParameter(name.to_proto()),
        }
    }

    fn from_proto(proto: hash::Affinity) -> Result<Self> {
        match proto {
            hash::Affinity::Header(name) => non_empty("header", name).map(Self::Header),
            hash::Affinity::Cookie(cookie) => {
                from_cookie(cookie).map_err(|invalid| invalid.within("cookie"))
            }
            hash::Affinity::SourceIp(proto::Unit {}) => Ok(Self::SourceIp),
            hash::Affinity::QueryParameter(name) => {
                non_empty("query_parameter", name).map(Self::QueryParameter)
            }
        }
    }
}

fn from_cookie(proto: proto::Cookie) -> Result<Affinity> {
    let proto::Cookie {
        name,
        path,
        ttl,
        attributes,
    } = proto;
    let ttl: Option<Duration> = optional("ttl", ttl)?;
    Ok(Affinity::Cookie {
        name: non_empty("name", name)?,
        path: optional("path", path)?,
        ttl,
        attributes: list("attributes", attributes)?,
    })
}

impl Wire for CookieAttribute {
    type Proto = proto::CookieAttribute;

    fn to_proto(&self) -> proto::CookieAttribute {
        let Self { name, value } = self;
        proto::CookieAttribute {
            name: name.to_proto(),
            value: value.to_proto(),
        }
    }

    fn from_proto(proto: proto::CookieAttribute) -> Result<Self> {
        let proto::CookieAttribute { name, value } = proto;
        Ok(Self {
            name: non_empty("name", name)?,
            value: value.into(),
        })
    }
}

impl Wire for HashAlgorithm {
    type Proto = hash::Algorithm;

    fn to_proto(&self) -> hash::Algorithm {
        match self {
            Self::Ring { minimum_size } => hash::Algorithm::Ring(proto::Ring {
                minimum_size: *minimum_size,
            }),
            Self::Maglev { table_size } => hash::Algorithm::Maglev(proto::Maglev {
                table_size: *table_size,
            }),
        }
    }

    fn from_proto(proto: hash::Algorithm) -> Result<Self> {
        match proto {
            hash::Algorithm::Ring(proto::Ring { minimum_size }) if minimum_size <= MAX_RING => {
                Ok(Self::Ring { minimum_size })
            }
            hash::Algorithm::Ring(proto::Ring { minimum_size }) => Err(Invalid::at(
                "minimum_size",
                format_args!("{minimum_size} is too large; at most {MAX_RING} is allowed"),
            )
            .within("ring")),
            hash::Algorithm::Maglev(proto::Maglev { table_size })
                if table_size <= MAX_TABLE && is_prime(table_size) =>
            {
                Ok(Self::Maglev { table_size })
            }
            hash::Algorithm::Maglev(proto::Maglev { table_size }) => Err(Invalid::at(
                "table_size",
                format_args!("{table_size} is not a prime of at most {MAX_TABLE}"),
            )
            .within("maglev")),
        }
    }
}

/// By trial division: the numbers are small.
fn is_prime(number: u64) -> bool {
    number >= 2 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

impl Wire for LocalityPolicy {
    type Proto = proto::LocalityPolicy;

    fn to_proto(&self) -> proto::LocalityPolicy {
        let policy = match self {
            Self::Off => Policy::Off(proto::Unit {}),
            Self::Failover(failover) => Policy::Failover(failover.to_proto()),
            Self::Distribute(rules) => Policy::Distribute(proto::Distribute {
                rules: list_to_proto(rules),
            }),
        };
        proto::LocalityPolicy {
            policy: Some(policy),
        }
    }

    fn from_proto(proto: proto::LocalityPolicy) -> Result<Self> {
        let proto::LocalityPolicy { policy } = proto;
        member("policy", policy, |policy| match policy {
            Policy::Off(proto::Unit {}) => Ok(Self::Off),
            Policy::Failover(failover) => field("failover", failover).map(Self::Failover),
            Policy::Distribute(proto::Distribute { rules }) => list("rules", rules)
                .map(Self::Distribute)
                .map_err(|invalid| invalid.within("distribute")),
        })
    }
}

impl Wire for Failover {
    type Proto = proto::Failover;

    fn to_proto(&self) -> proto::Failover {
        let Self {
            regions,
            label_priority,
        } = self;
        proto::Failover {
            regions: list_to_proto(regions),
            label_priority: list_to_proto(label_priority),
        }
    }

    fn from_proto(proto: proto::Failover) -> Result<Self> {
        let proto::Failover {
            regions,
            label_priority,
        } = proto;
        Ok(Self {
            regions: list("regions", regions)?,
            label_priority: list("label_priority", label_priority)?,
        })
    }
}

/// From a region to a region.
impl Wire for (Arc<str>, Arc<str>) {
    type Proto = proto::RegionFailover;

    fn to_proto(&self) -> proto::RegionFailover {
        let (from, to) = self;
        proto::RegionFailover {
            from: from.to_proto(),
            to: to.to_proto(),
        }
    }

    fn from_proto(proto: proto::RegionFailover) -> Result<Self> {
        let proto::RegionFailover { from, to } = proto;
        Ok((from.into(), to.into()))
    }
}

/// A share, in per cent, for a locality.
impl Wire for (Arc<str>, u32) {
    type Proto = proto::LocalityShare;

    fn to_proto(&self) -> proto::LocalityShare {
        let (locality, percent) = self;
        proto::LocalityShare {
            locality: locality.to_proto(),
            percent: *percent,
        }
    }

    fn from_proto(proto: proto::LocalityShare) -> Result<Self> {
        let proto::LocalityShare { locality, percent } = proto;
        Ok((locality.into(), percent))
    }
}

impl Wire for LocalityDistribution {
    type Proto = proto::LocalityDistribution;

    fn to_proto(&self) -> proto::LocalityDistribution {
        let Self { from, to } = self;
        proto::LocalityDistribution {
            from: from.to_proto(),
            to: list_to_proto(to),
        }
    }

    fn from_proto(proto: proto::LocalityDistribution) -> Result<Self> {
        let proto::LocalityDistribution { from, to } = proto;
        let to: Vec<(Arc<str>, u32)> = list("to", to)?;
        let sum: u64 = to.iter().map(|(_, percent)| u64::from(*percent)).sum();
        if sum != 100 {
            return Err(Invalid::at(
                "to",
                format_args!("the shares add up to {sum} per cent, not to 100"),
            ));
        }
        Ok(Self {
            from: from.into(),
            to,
        })
    }
}
