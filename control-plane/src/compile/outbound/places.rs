//! Who takes which connections: services, laid over each other place by place.
//!
//! A place is an address, a block of them or any, and a port. What a proxy makes of several
//! places that contain a destination is written at [`AtPort`](mesh_api::destination::AtPort);
//! here several services meet at one place. Protocols and server names tell them apart; where
//! nothing does, the first to come has it, and the other is told.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use mesh_api::listener::{Outbound, Silence, TcpRoutes, TlsRoutes};
use mesh_api::route::Domain;
use mesh_api::units::Port;

use crate::compile::context::Context;
use crate::meta::ObjectKey;
use crate::model::Service;
use crate::model::ownership::holder;

/// Addresses (`None`: any) and a port.
pub(super) type Place = (Option<IpNet>, Port);

/// The single address of a block that is none.
pub(super) fn single(block: &IpNet) -> Option<IpAddr> {
    (block.prefix_len() == block.max_prefix_len()).then(|| block.addr())
}

/// What is taken at each place, and by whom.
#[derive(Default)]
pub(super) struct Places {
    taken: BTreeMap<Place, Taken>,
}

/// What is taken at one place.
pub(super) struct Taken {
    pub(super) outbound: Outbound,
    /// Who came first.
    pub(super) object: ObjectKey,
    /// Whether that is a Service, at an address of its own.
    pub(super) is_services_own: bool,
    names: BTreeMap<(Domain, Option<IpNet>), ObjectKey>,
    bytes: BTreeMap<Option<IpNet>, ObjectKey>,
}

impl Taken {
    fn new(object: ObjectKey, is_services_own: bool) -> Self {
        Self {
            outbound: Outbound {
                http: None,
                tls: TlsRoutes::default(),
                tcp: TcpRoutes::default(),
                silence: Silence::Wait,
            },
            object,
            is_services_own,
            names: BTreeMap::new(),
            bytes: BTreeMap::new(),
        }
    }

    /// Whether bytes that no rule singles out go somewhere.
    pub(super) fn takes_all_bytes(&self) -> bool {
        self.bytes.contains_key(&None)
    }
}

impl Places {
    /// Adds what a service wants at a place. What others have there already is left to them, and
    /// the loss is reported.
    pub(super) fn take(
        &mut self,
        cx: &mut Context<'_>,
        service: &Service,
        place: Place,
        wanted: Outbound,
    ) {
        let address = place.0.as_ref().and_then(single);
        if address.is_some_and(|address| holder(cx.world, service, address).is_some()) {
            // Who claims it is told where objects are looked at one by one.
            return;
        }
        if let Some(owner) = self.workloads_of_a_service(service, place) {
            cx.report_conflict(&service.key, &text(place), &owner);
            return;
        }
        let taken = self.taken.entry(place).or_insert_with(|| {
            let own_address = place.0.is_some_and(|block| single(&block).is_some());
            Taken::new(service.key.clone(), service.is_kubernetes && own_address)
        });
        let Outbound {
            http,
            tls,
            tcp,
            silence,
        } = wanted;
        let there = &mut taken.outbound;
        // The same table, whoever asks: hosts tell services apart in it.
        there.http = there.http.take().or(http);
        if silence == Silence::Bytes {
            there.silence = silence;
        }
        let mut lost: BTreeMap<String, ObjectKey> = BTreeMap::new();
        for rule in tls.rules {
            let keys = rule.sni_hosts.iter().cloned().flat_map(|name| {
                let subnets = each(&rule.destination_subnets);
                subnets.map(move |subnet| (name.clone(), subnet))
            });
            let claim = claim(&mut taken.names, keys, &service.key);
            if claim.is_new {
                there.tls.rules.push(rule);
            }
            let lose = |((name, _), winner)| (format!("{name} on {}", text(place)), winner);
            lost.extend(claim.lost.into_iter().map(lose));
        }
        for rule in tcp.rules {
            let keys = each(&rule.destination_subnets);
            let claim = claim(&mut taken.bytes, keys, &service.key);
            if claim.is_new {
                there.tcp.rules.push(rule);
            }
            lost.extend(
                claim
                    .lost
                    .into_iter()
                    .map(|(_, winner)| (text(place), winner)),
            );
        }
        for (what, winner) in lost {
            cx.report_conflict(&service.key, &what, &winner);
        }
    }

    /// Adds HTTP to any address of a port, for hosts that are no service.
    pub(super) fn http_anywhere(&mut self, port: Port, object: &ObjectKey, wanted: Outbound) {
        let place = (None, port);
        let taken = self
            .taken
            .entry(place)
            .or_insert_with(|| Taken::new(object.clone(), false));
        taken.outbound.http = taken.outbound.http.take().or(wanted.http);
        taken.outbound.silence = Silence::Bytes;
    }

    /// Everything that is taken.
    pub(super) fn into_taken(self) -> BTreeMap<Place, Taken> {
        self.taken
    }

    /// The headless Service one of whose workloads is at this place, if an entry wants it, too.
    fn workloads_of_a_service(&self, service: &Service, place: Place) -> Option<ObjectKey> {
        let taken = self.taken.get(&place)?;
        (taken.is_services_own && !service.is_kubernetes).then(|| taken.object.clone())
    }
}

/// What became of the keys a rule asks for.
struct Claim<K> {
    /// Whether any of them was free.
    is_new: bool,
    /// Those another object has, and which.
    lost: Vec<(K, ObjectKey)>,
}

fn claim<K: Ord>(
    claims: &mut BTreeMap<K, ObjectKey>,
    keys: impl Iterator<Item = K>,
    object: &ObjectKey,
) -> Claim<K> {
    let mut made = Claim {
        is_new: false,
        lost: Vec::new(),
    };
    for key in keys {
        match claims.get(&key) {
            Some(owner) if owner == object => {}
            Some(owner) => made.lost.push((key, owner.clone())),
            None => {
                claims.insert(key, object.clone());
                made.is_new = true;
            }
        }
    }
    made
}

/// Every subnet, or none once.
fn each(subnets: &[IpNet]) -> impl Iterator<Item = Option<IpNet>> {
    let none = subnets.is_empty().then_some(None);
    none.into_iter().chain(subnets.iter().copied().map(Some))
}

fn text((address, port): Place) -> String {
    match address {
        None => format!("port {port} of any address"),
        Some(block) => match single(&block) {
            Some(address) => format!("port {port} of {address}"),
            None => format!("port {port} of {block}"),
        },
    }
}
