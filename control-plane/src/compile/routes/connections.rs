//! Which connections routes for TCP and TLS take, in a form that can be compared.
//!
//! Proxies look for the most specific block of addresses, then for the most specific server name,
//! and only then at the order. So a route hides one behind it where it names the same block and the
//! same server name; and a TCP route for every connection ends the list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::route::Domain;

use super::statics::{Statics, Via};
use crate::crd::object::Resource;
use crate::crd::virtual_service::{
    L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute, VirtualServiceSpec,
};

type Object = Resource<VirtualServiceSpec>;

/// Where connections go: the server name (`None`: they have none to look at) and the block of
/// addresses (`None`: anywhere).
type Place = (Option<Domain>, Option<IpNet>);

/// Connections of some clients to one place.
#[derive(Clone, Debug)]
struct Claim {
    clients: Statics,
    place: Place,
}

/// A route no connection ever reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// The route.
    pub(crate) field: String,
    /// The routes before it that take all that it is for.
    pub(crate) by: Vec<String>,
}

/// The block of addresses a text names; an address is one of its own.
pub(crate) fn block(text: &str) -> Option<IpNet> {
    let block = text.parse::<IpNet>().ok();
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    Some(block.or_else(address)?.trunc())
}

/// The TCP and TLS routes of a virtual service that others before them hide from all their clients.
pub(crate) fn hidden(object: &Object) -> Vec<Hidden> {
    let tcp = object.spec.tcp.iter().map(|route| {
        let claims = of_tcp(object, route);
        (claims, leads_somewhere(&route.route))
    });
    let tls = object.spec.tls.iter().map(|route| {
        let claims = of_tls(object, route);
        (claims, leads_somewhere(&route.route))
    });
    let mut all = hidden_among("spec.tcp", tcp);
    all.extend(hidden_among("spec.tls", tls));
    all
}

fn hidden_among(list: &str, routes: impl Iterator<Item = (Vec<Claim>, bool)>) -> Vec<Hidden> {
    let mut taken: Taken<String> = Taken::default();
    let mut hidden = Vec::new();
    for (index, (claims, leads_somewhere)) in routes.enumerate() {
        let field = format!("{list}[{index}]");
        let takers = claims.iter().map(|one| taken.taker(one, Statics::include));
        let takers: Option<BTreeSet<&String>> = takers.collect();
        match takers.filter(|takers| !takers.is_empty()) {
            Some(takers) => hidden.push(Hidden {
                by: takers.into_iter().cloned().collect(),
                field,
            }),
            None if leads_somewhere => taken.add(&field, claims),
            None => {}
        }
    }
    hidden
}

/// Whether TCP routes of other virtual services hide one from all its clients that come these
/// ways.
pub(crate) fn is_hidden_behind(
    others: &[&Arc<Object>],
    (object, index): (&Object, usize),
    vias: &[Via<'_>],
) -> bool {
    let mut taken: Taken<()> = Taken::default();
    for other in others {
        let routes = other.spec.tcp.iter();
        for route in routes.filter(|route| leads_somewhere(&route.route)) {
            let claims = of_tcp(other, route).into_iter();
            let come = claims.filter(|one| vias.iter().any(|via| one.clients.come(via)));
            taken.add(&(), come);
        }
    }
    let claims = object.spec.tcp.get(index);
    let claims = claims
        .map(|route| of_tcp(object, route))
        .unwrap_or_default();
    let mut claims = claims.iter();
    claims.all(|one| taken.taker(one, Statics::include_clients).is_some())
}

/// A route that leads nowhere is left out, so that it hides nothing.
fn leads_somewhere(list: &[RouteDestination]) -> bool {
    list.len() == 1 || list.iter().any(|one| one.weight > 0)
}

fn of_tcp(object: &Object, route: &TcpRoute) -> Vec<Claim> {
    let one = |one: &L4MatchAttributes| {
        let clients = Statics::of(object, one);
        let blocks = blocks(&one.destination_subnets).into_iter();
        let claim = move |block| Claim {
            clients: clients.clone(),
            place: (None, block),
        };
        blocks.map(claim)
    };
    if route.matches.is_empty() {
        return one(&L4MatchAttributes::default()).collect();
    }
    route.matches.iter().flat_map(one).collect()
}

fn of_tls(object: &Object, route: &TlsRoute) -> Vec<Claim> {
    let one = |one: &TlsMatchAttributes| {
        let clients = Statics::of(object, one);
        let names = one.sni_hosts.iter().filter_map(|name| Domain::parse(name));
        let names: Vec<Domain> = names.collect();
        let claim = move |block: Option<IpNet>| {
            let claim = |name: &Domain| Claim {
                clients: clients.clone(),
                place: (Some(name.clone()), block),
            };
            names.iter().map(claim).collect::<Vec<_>>()
        };
        blocks(&one.destination_subnets).into_iter().flat_map(claim)
    };
    route.matches.iter().flat_map(one).collect()
}

/// The blocks a match names; one that names none is for any address, and one none of whose blocks
/// can be read for no address at all.
fn blocks(written: &[String]) -> Vec<Option<IpNet>> {
    if written.is_empty() {
        return vec![None];
    }
    let read = written.iter().filter_map(|text| block(text));
    read.map(Some).collect()
}

/// Who takes the connections to each place.
#[derive(Debug)]
struct Taken<T>(BTreeMap<Place, Vec<(T, Statics)>>);

impl<T> Default for Taken<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone> Taken<T> {
    fn add(&mut self, by: &T, claims: impl IntoIterator<Item = Claim>) {
        for Claim { clients, place } in claims {
            let takers = self.0.entry(place).or_default();
            if !takers.iter().any(|(_, taken)| taken.include(&clients)) {
                takers.push((by.clone(), clients));
            }
        }
    }

    fn taker(&self, claim: &Claim, include: impl Fn(&Statics, &Statics) -> bool) -> Option<&T> {
        let (name, _) = &claim.place;
        let same = self.0.get(&claim.place);
        // Nothing comes after a TCP route for every connection.
        let all = self.0.get(&(None, None)).filter(|_| name.is_none());
        let mut takers = all.into_iter().chain(same).flatten();
        let taker = takers.find(|(_, clients)| include(clients, &claim.clients));
        taker.map(|(by, _)| by)
    }
}
