//! Which endpoint takes a request.
//!
//! A worker balances the requests it has: with one or two workers per proxy its own counts say
//! as much as shared ones would, and cost no contended cache line.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use mesh_api::cluster::{ClusterEndpoints, LoadBalancer};

use super::{ClusterState, LocalCluster, LocalEndpoint};
use crate::error::UpstreamFault;

/// How often another endpoint is looked for when one was already tried; then it is accepted.
const REPICKS: usize = 5;

/// How many active requests an endpoint counts for that could not be reached last time.
const UNREACHABLE: u64 = 1 << 32;

/// What of a request or connection may decide on its endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// Where the connection was going before it was redirected.
    pub original_destination: Option<SocketAddr>,
    /// The hash of what the cluster's affinity is by; `None` if the request has none of it.
    pub affinity: Option<u64>,
}

/// The endpoint for a request; `avoid` were tried before.
pub fn pick(
    cluster: &LocalCluster,
    choice: Choice,
    avoid: &[Rc<LocalEndpoint>],
) -> Result<Rc<LocalEndpoint>, UpstreamFault> {
    let state = cluster.state();
    match &state.cluster().endpoints {
        ClusterEndpoints::Refused(answer) => return Err(UpstreamFault::Refused(answer.clone())),
        ClusterEndpoints::OriginalDestination => return original(cluster, choice),
        ClusterEndpoints::Discovered { .. } | ClusterEndpoints::Dns { .. } => {}
    }
    match &state.cluster().balancer {
        LoadBalancer::Passthrough => original(cluster, choice),
        LoadBalancer::ConsistentHash(_) => hashed(cluster, choice, avoid),
        LoadBalancer::LeastRequest { .. }
        | LoadBalancer::RoundRobin { .. }
        | LoadBalancer::Random => {
            let mut found = spread(cluster)?;
            // An endpoint alone in its cluster is found at the first look again; give up early.
            let repicks = if state.candidates().places.len() > 1 {
                REPICKS
            } else {
                0
            };
            for _ in 0..repicks {
                if !was_tried(found, avoid) {
                    break;
                }
                found = spread(cluster)?;
            }
            // The draw may favour one endpoint again and again: one that fails at once looks idle.
            if was_tried(found, avoid) {
                found = untried(cluster, avoid).unwrap_or(found);
            }
            Ok(Rc::clone(found))
        }
    }
}

fn was_tried(endpoint: &Rc<LocalEndpoint>, avoid: &[Rc<LocalEndpoint>]) -> bool {
    avoid.iter().any(|tried| Rc::ptr_eq(tried, endpoint))
}

fn untried<'c>(
    cluster: &'c LocalCluster,
    avoid: &[Rc<LocalEndpoint>],
) -> Option<&'c Rc<LocalEndpoint>> {
    let places = cluster.state().candidates().places.iter();
    places
        .filter_map(|place| cluster.endpoints().get(usize::try_from(*place).ok()?))
        .find(|endpoint| !was_tried(endpoint, avoid))
}

fn original(cluster: &LocalCluster, choice: Choice) -> Result<Rc<LocalEndpoint>, UpstreamFault> {
    choice
        .original_destination
        .map(|address| cluster.original(address))
        .ok_or(UpstreamFault::NoEndpoint)
}

fn spread(cluster: &LocalCluster) -> Result<&Rc<LocalEndpoint>, UpstreamFault> {
    let state = cluster.state();
    let found = match &state.cluster().balancer {
        LoadBalancer::RoundRobin { .. } => in_turn(cluster),
        LoadBalancer::LeastRequest { .. } => least_busy(cluster),
        LoadBalancer::Random | LoadBalancer::Passthrough | LoadBalancer::ConsistentHash(_) => {
            at(cluster, rand::random())
        }
    };
    found.ok_or(UpstreamFault::NoEndpoint)
}

fn at(cluster: &LocalCluster, draw: u64) -> Option<&Rc<LocalEndpoint>> {
    cluster
        .endpoints()
        .get(cluster.state().candidates().at(draw)?)
}

/// Each in turn. Where weights differ, a stride that meets every point of the weights' range
/// once per round and lands far from the last point gives each its exact share, spread out.
fn in_turn(cluster: &LocalCluster) -> Option<&Rc<LocalEndpoint>> {
    let turn = cluster.pools().next_turn();
    let draw = match cluster.state().candidates().sums.last() {
        None => turn,
        Some(total) => turn.wrapping_mul(stride(*total)),
    };
    at(cluster, draw)
}

/// A number without a common divisor with `total`, near its golden section.
fn stride(total: u64) -> u64 {
    let common = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let start = (total / 1_000).saturating_mul(618) + (total % 1_000) * 618 / 1_000;
    let mut near = start.max(1)..=total.max(1);
    near.find(|step| common(*step, total) == 1).unwrap_or(1)
}

/// Of two drawn by weight, the one with fewer active requests for its weight.
fn least_busy(cluster: &LocalCluster) -> Option<&Rc<LocalEndpoint>> {
    let candidates = cluster.state().candidates();
    if candidates.places.len() <= 1 {
        return at(cluster, 0);
    }
    let draw: u64 = rand::random();
    let first = candidates.at(draw >> 32)?;
    let second = if candidates.sums.is_empty() {
        different(cluster.state(), first, draw & 0xffff_ffff)?
    } else {
        candidates.at(draw & 0xffff_ffff)?
    };
    let (first, second) = (
        cluster.endpoints().get(first)?,
        cluster.endpoints().get(second)?,
    );
    // One that could not be reached last time looks idle, because everything on it ends at once.
    // It gets a sixteenth of its turns, until a connection to it opens again.
    let probing = draw & 0xf000_0000 == 0;
    let load = |endpoint: &LocalEndpoint| {
        let unreachable = !probing
            && endpoint
                .state()
                .shared()
                .unreachable
                .load(Ordering::Relaxed);
        u64::from(endpoint.pool().active()) + 1 + if unreachable { UNREACHABLE } else { 0 }
    };
    let weight = |endpoint: &LocalEndpoint| u64::from(endpoint.state().endpoint().weight.max(1));
    // first/weight <= second/weight, without division.
    let first_is_freer = if candidates.sums.is_empty() {
        load(first) <= load(second)
    } else {
        load(first) * weight(second) <= load(second) * weight(first)
    };
    Some(if first_is_freer { first } else { second })
}

/// Another of equally weighted endpoints.
fn different(state: &ClusterState, first: usize, draw: u64) -> Option<usize> {
    let places = &state.candidates().places;
    let others = u64::try_from(places.len()).ok()?.checked_sub(1)?;
    let skip = usize::try_from(draw % others.max(1)).ok()?;
    let mut rest = places
        .iter()
        .filter_map(|place| usize::try_from(*place).ok())
        .filter(|place| *place != first);
    // Long lists: jump instead of walking, at the price of a tiny unevenness.
    if places.len() > 64 {
        return state.candidates().at(draw);
    }
    rest.nth(skip)
}

fn hashed(
    cluster: &LocalCluster,
    choice: Choice,
    avoid: &[Rc<LocalEndpoint>],
) -> Result<Rc<LocalEndpoint>, UpstreamFault> {
    let Some(key) = choice.affinity else {
        return at(cluster, rand::random())
            .map(Rc::clone)
            .ok_or(UpstreamFault::NoEndpoint);
    };
    let ring = cluster.state().ring().ok_or(UpstreamFault::NoEndpoint)?;
    let mut found = None;
    for place in ring.from(key).take(256) {
        let index = usize::try_from(place).map_err(|_cause| UpstreamFault::NoEndpoint)?;
        let endpoint = cluster.endpoints().get(index);
        found = endpoint.or(found);
        if endpoint.is_some_and(|endpoint| !was_tried(endpoint, avoid)) {
            break;
        }
    }
    found.map(Rc::clone).ok_or(UpstreamFault::NoEndpoint)
}
