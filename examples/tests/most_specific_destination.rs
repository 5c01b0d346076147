//! The routing look-up against a plain reference: random services and service entries, compiled
//! by the real compiler and answered by the proxy's own look-up, against the rules as they are
//! written down for users.
//!
//! `MESH_TEST_SEED` repeats a run; a run prints its seed before anything can fail.

#![cfg(test)]

#[path = "most_specific_destination/real.rs"]
mod real;
#[path = "most_specific_destination/reference.rs"]
mod reference;
#[path = "most_specific_destination/town.rs"]
mod town;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use town::{Town, pick};

/// Random meshes.
const TOWNS: usize = 500;
/// Random calls in each.
const CALLS: usize = 240;

/// What a client says first.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// HTTP, with this Host header.
    Http(String),
    /// A TLS greeting, perhaps with a server name.
    Tls(Option<String>),
    /// Neither.
    Bytes,
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) to: SocketAddr,
    pub(crate) says: Says,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It goes to this cluster, as requests or as bytes.
    Cluster { name: String, as_http: bool },
    /// It goes where it was going, as bytes or request by request.
    Through,
    /// It is answered 502.
    BadGateway,
    /// It is closed.
    Closed,
}

impl Outcome {
    fn kind(&self) -> &'static str {
        match self {
            Self::Cluster { as_http: true, .. } => "requests to a cluster",
            Self::Cluster { as_http: false, .. } => "bytes to a cluster",
            Self::Through => "through",
            Self::BadGateway => "502",
            Self::Closed => "closed",
        }
    }
}

fn call(random: &mut StdRng, town: &Town) -> Call {
    let address: IpAddr = pick(random, town::DESTINATIONS).parse().unwrap();
    let port = pick(random, &town::PORTS);
    let says = match random.random_range(0..10) {
        0..4 => Says::Http(town.host_header(random)),
        4..7 => Says::Tls(Some(town.server_name(random))),
        7 => Says::Tls(None),
        _ => Says::Bytes,
    };
    Call {
        to: SocketAddr::new(address, port),
        says,
    }
}

#[test]
fn a_hundred_thousand_calls_go_where_the_rules_say() {
    let seed = std::env::var("MESH_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random::<u64>);
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut reasons: BTreeMap<&'static str, usize> = BTreeMap::new();
    let (mut calls, mut differences) = (0, Vec::new());
    for number in 0..TOWNS {
        let town = Town::random(&mut random, number % 2 == 0);
        let real = real::Proxy::of(&town);
        for _ in 0..CALLS {
            let call = call(&mut random, &town);
            let (expected, reason) = reference::outcome(&town, &call);
            let seen = real.outcome(&call);
            calls += 1;
            let policy = if town.registry_only {
                "REGISTRY_ONLY"
            } else {
                "ALLOW_ANY"
            };
            *outcomes
                .entry(format!("{policy}: {}", expected.kind()))
                .or_default() += 1;
            *reasons.entry(reason).or_default() += 1;
            if seen != expected {
                differences.push(format!(
                    "{call:?}\n  rules: {expected:?}\n  seen: {seen:?}\n{town:#?}"
                ));
            }
            real.check_silence(&town, &call);
        }
    }
    println!(
        "seed {seed}: {calls} calls, {} differences",
        differences.len()
    );
    for (what, count) in outcomes.iter().map(|(what, count)| (what.as_str(), count)) {
        println!("{count:>8}  {what}");
    }
    for (what, count) in &reasons {
        println!("{count:>8}  decided by {what}");
    }
    assert!(
        differences.is_empty(),
        "seed {seed}: {} of {calls} differ; the first:\n{}",
        differences.len(),
        differences.first().unwrap()
    );
    assert!(calls >= 100_000);
    // Nothing that is claimed above was left untried.
    assert_eq!(outcomes.len(), 8, "{outcomes:?}");
    assert_eq!(reasons.len(), reference::REASONS.len(), "{reasons:?}");
    for (what, count) in &reasons {
        assert!(*count >= 100, "{what}: {count}");
    }
}
