//! The rules, as plainly as they can be said: everything that claims a call is collected, and the
//! most specific claim wins. No maps, no order of look-ups, nothing of the implementation.

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;

use super::town::{Declared, HOME, Kind, Route, Speaks, Town};
use super::{Call, Outcome, Says};

/// What may decide on a call.
pub(crate) const REASONS: [&str; 10] = [
    "a server name, exactly",
    "a server name, by wildcard",
    "a Host header",
    "a Host header nobody has",
    "a single address",
    "a block",
    "a subnet of a route",
    "a whole port",
    "a Service's address, not HTTP",
    "nothing",
];

#[derive(Clone, Debug)]
enum Takes {
    Name(String),
    Http,
    Bytes,
}

/// Something that wants calls.
#[derive(Clone, Debug)]
struct Claim {
    block: Option<IpNet>,
    subnet: Option<u8>,
    takes: Takes,
    /// `None`: where it was going.
    to: Option<String>,
    /// Smaller is older.
    age: (usize, usize),
}

/// What becomes of a call, and why.
pub(crate) fn outcome(town: &Town, call: &Call) -> (Outcome, &'static str) {
    let address = call.to.ip().to_canonical();
    let claims = claims(town, call.to.port());
    let best = claims
        .iter()
        .filter(|claim| claim.block.is_none_or(|block| block.contains(&address)))
        .filter_map(|claim| Some((rank(claim, &call.says)?, claim)))
        .max_by_key(|(rank, _)| *rank);
    let Some((_, claim)) = best else {
        return (unknown(town, call), "nothing");
    };
    let to = |name: &String| Outcome::Cluster {
        name: name.clone(),
        as_http: false,
    };
    match (&claim.takes, &call.says) {
        (Takes::Http, Says::Http(host)) => match host_of(town, call.to.port(), host) {
            Some(name) => (
                Outcome::Cluster {
                    name,
                    as_http: true,
                },
                "a Host header",
            ),
            None => (unknown(town, call), "a Host header nobody has"),
        },
        (Takes::Name(pattern), _) => (
            claim.to.as_ref().map_or(Outcome::Through, to),
            if pattern.starts_with('*') {
                "a server name, by wildcard"
            } else {
                "a server name, exactly"
            },
        ),
        (_, _) => match (&claim.to, claim.block, claim.subnet) {
            (None, _, _) => (Outcome::Through, "a Service's address, not HTTP"),
            (Some(name), None, _) => (to(name), "a whole port"),
            (Some(name), Some(block), None) if is_single(&block) => (to(name), "a single address"),
            (Some(name), Some(_), None) => (to(name), "a block"),
            (Some(name), Some(_), Some(_)) => (to(name), "a subnet of a route"),
        },
    }
}

/// Whether any HTTP or TLS port is declared for this single address, so that silence is waited
/// out there.
pub(crate) fn may_wait(town: &Town, call: &Call) -> bool {
    let address = call.to.ip().to_canonical();
    seen(town).iter().any(|one| {
        let here = |(port, speaks): &(u16, Speaks)| {
            *port == call.to.port() && matches!(speaks, Speaks::Http | Speaks::Tls)
        };
        one.ports.iter().any(here)
            && blocks(one)
                .iter()
                .any(|block| is_single(block) && block.contains(&address))
    })
}

/// How specific a claim is for what is said: prefix, the subnet of its route, name, protocol, age.
type Rank = (i16, i16, (u8, usize), Reverse<(usize, usize)>);

fn rank(claim: &Claim, says: &Says) -> Option<Rank> {
    let kind = match (&claim.takes, says) {
        (Takes::Name(pattern), Says::Tls(Some(name))) => match pattern.strip_prefix('*') {
            Some(suffix) if name.len() > suffix.len() && name.ends_with(suffix) => {
                (2, suffix.len())
            }
            None if pattern == name => (3, 0),
            Some(_) | None => return None,
        },
        (Takes::Http, Says::Http(_)) => (1, 0),
        (Takes::Bytes, _) => (0, 0),
        (Takes::Name(_) | Takes::Http, _) => return None,
    };
    let prefix = claim.block.map_or(-1, |block| block.prefix_len().into());
    let subnet = claim.subnet.map_or(-1, i16::from);
    Some((prefix, subnet, kind, Reverse(claim.age)))
}

/// The policy for unknown traffic.
fn unknown(town: &Town, call: &Call) -> Outcome {
    match (town.registry_only, &call.says) {
        (false, _) => Outcome::Through,
        (true, Says::Http(_)) => Outcome::BadGateway,
        (true, Says::Tls(_) | Says::Bytes) => Outcome::Closed,
    }
}

/// What the client sees: Services first, then by age.
fn seen(town: &Town) -> Vec<&Declared> {
    let mut seen: Vec<&Declared> = town.declared.iter().filter(|one| one.is_seen()).collect();
    seen.sort_by_key(|one| (!one.is_service(), one.created, &one.name));
    seen
}

fn is_single(block: &IpNet) -> bool {
    block.prefix_len() == block.max_prefix_len()
}

fn blocks(one: &Declared) -> Vec<IpNet> {
    let parse = |text: &&str| {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .unwrap()
    };
    one.addresses.iter().map(parse).collect()
}

fn claims(town: &Town, port: u16) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (age, one) in seen(town).into_iter().enumerate() {
        let Some((_, speaks)) = one.ports.iter().find(|(number, _)| *number == port) else {
            continue;
        };
        let blocks = blocks(one);
        if blocks.is_empty() {
            for (at, rule) in rules(town, one, port, *speaks, Where::Anywhere)
                .into_iter()
                .enumerate()
            {
                rule.claim(None, (age, at), &mut claims);
            }
        }
        for block in &blocks {
            if is_single(block) {
                if !one.is_service() && is_of_a_service(town, block.addr(), port) {
                    continue;
                }
                for (at, rule) in rules(town, one, port, *speaks, Where::Alone)
                    .into_iter()
                    .enumerate()
                {
                    rule.claim(Some(*block), (age, at), &mut claims);
                }
                if one.is_service() && *speaks == Speaks::Http {
                    claims.push(Claim {
                        block: Some(*block),
                        subnet: None,
                        takes: Takes::Bytes,
                        to: None,
                        age: (usize::MAX, 0),
                    });
                }
            } else {
                // Routes with subnets of their own apply there instead of in the block.
                for (at, rule) in rules(town, one, port, *speaks, Where::Block)
                    .into_iter()
                    .enumerate()
                {
                    let within = if rule.subnets.is_empty() {
                        Some(*block)
                    } else {
                        None
                    };
                    rule.claim(within, (age, at), &mut claims);
                }
            }
        }
    }
    claims
}

/// Whether an address is a Service's own, seen or not, or at this port that of a workload of a
/// headless Service that is seen.
fn is_of_a_service(town: &Town, address: IpAddr, port: u16) -> bool {
    town.declared.iter().any(|one| {
        let counts = match one.kind {
            Kind::Service => true,
            Kind::Headless => one.is_seen() && one.ports.iter().any(|(number, _)| *number == port),
            Kind::Entry | Kind::EntryWhereItWasGoing => false,
        };
        counts && blocks(one).iter().any(|block| block.addr() == address)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Alone,
    Block,
    Anywhere,
}

#[derive(Clone, Debug)]
struct Rule {
    takes: Vec<Takes>,
    subnets: Vec<IpNet>,
    to: Option<String>,
}

impl Rule {
    fn new(takes: Takes, to: &str) -> Self {
        Self {
            takes: vec![takes],
            subnets: Vec::new(),
            to: Some(to.to_owned()),
        }
    }

    fn of(route: &Route) -> Self {
        let (host, port) = &route.to;
        let names = route
            .names
            .iter()
            .map(|name| Takes::Name((*name).to_owned()));
        Self {
            takes: if route.names.is_empty() {
                vec![Takes::Bytes]
            } else {
                names.collect()
            },
            subnets: route
                .subnets
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            to: Some(format!("outbound|{port}||{host}")),
        }
    }

    fn claim(&self, block: Option<IpNet>, age: (usize, usize), claims: &mut Vec<Claim>) {
        for takes in &self.takes {
            let mut push = |block, subnet| {
                claims.push(Claim {
                    block,
                    subnet,
                    takes: takes.clone(),
                    to: self.to.clone(),
                    age,
                });
            };
            if self.subnets.is_empty() {
                push(block, None);
            }
            for subnet in &self.subnets {
                match block {
                    None => push(Some(*subnet), Some(subnet.prefix_len())),
                    Some(block) if subnet.contains(&block) => {
                        push(Some(block), Some(subnet.prefix_len()));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// What a port of a service takes at a kind of address.
fn rules(town: &Town, one: &Declared, port: u16, speaks: Speaks, at: Where) -> Vec<Rule> {
    let own = format!("outbound|{port}||{}", one.host);
    let http = Rule::new(Takes::Http, &own);
    let bytes = Rule::new(Takes::Bytes, &own);
    match speaks {
        Speaks::Http => vec![http],
        Speaks::Tcp => bytes_of(town, one, port, bytes),
        Speaks::Tls => {
            let mut rules = names_of(town, one, port, &own);
            if at == Where::Alone {
                rules.push(bytes);
            }
            rules
        }
        Speaks::Undeclared => {
            let goes_anyway = matches!(one.kind, Kind::Headless | Kind::EntryWhereItWasGoing);
            let mut rules = if at == Where::Anywhere && !goes_anyway {
                names_of(town, one, port, &own)
            } else {
                bytes_of(town, one, port, bytes)
            };
            rules.push(http);
            rules
        }
    }
}

/// The routes of virtual services for a host: its own, else those of the nearest wildcard.
fn routes<'t>(
    town: &'t Town,
    one: &Declared,
    port: u16,
    list: fn(&super::town::Routed) -> &Vec<Route>,
) -> &'t [Route] {
    let mut covering: Vec<_> = town
        .routed
        .iter()
        .filter(|routed| routed.port == port && !list(routed).is_empty())
        .filter(|routed| match routed.host.strip_prefix('*') {
            Some(suffix) => {
                routed.host == one.host
                    || one.host.trim_start_matches('*').ends_with(suffix)
                        && one.host.trim_start_matches('*').len() >= suffix.len()
                        && (one.host.starts_with('*') || one.host.len() > suffix.len())
            }
            None => routed.host == one.host,
        })
        .collect();
    covering.sort_by_key(|routed| Reverse((!routed.host.starts_with('*'), routed.host.len())));
    covering.first().map_or(&[], |routed| list(routed))
}

fn bytes_of(town: &Town, one: &Declared, port: u16, otherwise: Rule) -> Vec<Rule> {
    let mut rules = Vec::new();
    for route in routes(town, one, port, |routed| &routed.tcp) {
        rules.push(Rule::of(route));
        if route.subnets.is_empty() {
            return rules;
        }
    }
    rules.push(otherwise);
    rules
}

fn names_of(town: &Town, one: &Declared, port: u16, own: &str) -> Vec<Rule> {
    let routes = routes(town, one, port, |routed| &routed.tls);
    let mut rules: Vec<Rule> = routes.iter().map(Rule::of).collect();
    let is_named =
        |route: &Route| route.names.contains(&one.host.as_str()) && route.subnets.is_empty();
    if !routes.iter().any(is_named) {
        rules.push(Rule::new(Takes::Name(one.host.clone()), own));
    }
    rules
}

/// The cluster of the service a Host header means at a port.
fn host_of(town: &Town, port: u16, header: &str) -> Option<String> {
    let mut best = None;
    for (age, one) in seen(town).into_iter().enumerate() {
        let http = |(number, speaks): &(u16, Speaks)| {
            *number == port && matches!(speaks, Speaks::Http | Speaks::Undeclared)
        };
        if !one.ports.iter().any(http) {
            continue;
        }
        for (further, name) in names(town, one) {
            let exact = match name.strip_prefix('*') {
                None if name == header => usize::MAX,
                Some(suffix) if header.len() > suffix.len() && header.ends_with(suffix) => {
                    suffix.len()
                }
                None | Some(_) => continue,
            };
            // Full names come before what else a service is called.
            let rank = (exact, usize::from(!further), Reverse(age));
            best = best.max(Some((rank, &one.host)));
        }
    }
    best.map(|(_, host)| format!("outbound|{port}||{host}"))
}

/// What a service is called, and whether that is another name than its full one.
fn names(town: &Town, one: &Declared) -> Vec<(bool, String)> {
    let mut names = vec![(false, one.host.clone())];
    if one.is_service() {
        let (name, namespace) = (&one.name, one.namespace);
        let mut short = vec![
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}"),
        ];
        if namespace == HOME {
            short.push(name.clone());
        }
        if one.kind == Kind::Headless {
            let mut below: Vec<String> = short.iter().map(|name| format!("*.{name}")).collect();
            below.push(format!("*.{}", one.host));
            short.extend(below);
        }
        names.extend(short.into_iter().map(|name| (true, name)));
    }
    if one.kind != Kind::Headless {
        // An entry is not called by the address of a Service.
        let of_service = |address| {
            let services = town.declared.iter().filter(|one| one.kind == Kind::Service);
            services
                .flat_map(blocks)
                .any(|block| block.addr() == address)
        };
        let single = blocks(one)
            .into_iter()
            .filter(|block| is_single(block) && (one.is_service() || !of_service(block.addr())));
        names.extend(single.map(|block| match block.addr() {
            IpAddr::V4(address) => (true, address.to_string()),
            IpAddr::V6(address) => (true, format!("[{address}]")),
        }));
    }
    names
}
