//! Both halves of the configuration protocol against each other: the control plane's session and
//! the proxy's, with every message in the hands of the test, so that it can be delayed, lost with
//! its stream, or refused.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test may end in a panic"
)]

#[path = "session_pair/pair.rs"]
mod pair;
#[path = "session_pair/town.rs"]
mod town;

use pair::{Origin, Pair};
use proptest::prelude::*;
use town::{Part, Town};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A service comes or goes.
    Toggle(usize),
    /// A part of a service changes.
    Change(usize, Part),
    /// A service's route leads to another service's cluster.
    Lead(usize, usize),
    /// A part of a service is spoilt on its way into the wire format, or whole again.
    Spoil(usize, Part),
    /// The proxy cannot apply the newest version of a part, or can again.
    Refuse(usize, Part),
    /// What the server was told to send is compiled and handed to the session.
    Publish,
    /// The oldest message on its way to the proxy arrives.
    ToProxy,
    /// The oldest message on its way to the server arrives.
    ToServer,
    /// The stream breaks; everything on its way is lost.
    Break,
    /// A stream is opened, to the same server or to one that was restarted; it learns what to
    /// send before or after the Hello.
    Open { informed: bool },
    /// The proxy restarts, with or without what it kept.
    RestartProxy { kept: bool },
    /// The proxy asks for a workload.
    Want(u8),
    /// What is asked for is looked for slowly, or at once.
    Slowly(bool),
    /// The server tries again what was refused.
    Retry,
}

fn part() -> impl Strategy<Value = Part> {
    prop::sample::select(vec![
        Part::Endpoints,
        Part::Cluster,
        Part::Routes,
        Part::Listener,
    ])
}

fn event() -> impl Strategy<Value = Event> {
    let service = 0..town::SERVICES;
    prop_oneof![
        3 => service.clone().prop_map(Event::Toggle),
        6 => (service.clone(), part()).prop_map(|(service, part)| Event::Change(service, part)),
        2 => (service.clone(), service.clone()).prop_map(|(from, to)| Event::Lead(from, to)),
        1 => (service.clone(), part()).prop_map(|(service, part)| Event::Spoil(service, part)),
        1 => (service, part()).prop_map(|(service, part)| Event::Refuse(service, part)),
        8 => Just(Event::Publish),
        14 => Just(Event::ToProxy),
        10 => Just(Event::ToServer),
        1 => Just(Event::Break),
        3 => any::<bool>().prop_map(|informed| Event::Open { informed }),
        1 => any::<bool>().prop_map(|kept| Event::RestartProxy { kept }),
        1 => (0_u8..4).prop_map(Event::Want),
        1 => any::<bool>().prop_map(Event::Slowly),
        1 => Just(Event::Retry),
    ]
}

fn happen(pair: &mut Pair, event: &Event) {
    match *event {
        Event::Toggle(service) => pair.town.toggle(service),
        Event::Change(service, part) => pair.town.change(service, part),
        Event::Lead(from, to) => pair.town.lead(from, to),
        Event::Spoil(service, part) => pair.town.spoil(service, part),
        Event::Refuse(service, part) => pair.refuse(service, part),
        Event::Publish => pair.publish(),
        Event::ToProxy => {
            pair.deliver_to_proxy();
        }
        Event::ToServer => {
            pair.deliver_to_server();
        }
        Event::Break => pair.break_stream(),
        Event::Open { informed } => pair.open(informed),
        Event::RestartProxy { kept } => pair.restart_proxy(kept),
        Event::Want(address) => pair.want(address),
        Event::Slowly(slowly) => pair.slowly = slowly,
        Event::Retry => pair.retry(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever happens, and wherever it is cut off: both sides agree in the end, on everything
    /// but what was refused, and then are silent.
    #[test]
    fn both_sides_agree_in_the_end(events in prop::collection::vec(event(), 1..120)) {
        let mut pair = Pair::new(Town::default());
        pair.open(true);
        for event in &events {
            happen(&mut pair, event);
        }
        pair.settle();
        pair.assert_agreed();

        // What was in the way is gone: now without exception.
        pair.town.repair();
        pair.accept_everything();
        pair.publish();
        pair.retry();
        pair.settle();
        pair.assert_equal();

        // A new stream, a restarted server, a proxy that starts from its disk: not a word.
        for origin in [Origin::SameProxy, Origin::KeptOnDisk] {
            let silent = pair.reconnect(origin);
            prop_assert!(silent, "something was sent although nothing had changed");
            pair.assert_equal();
        }
    }

    /// The same without trouble: no exceptions are needed.
    #[test]
    fn a_calm_day_ends_in_equality(changes in prop::collection::vec(
        (0..town::SERVICES, part(), any::<bool>(), 0_usize..6), 1..60)) {
        let mut pair = Pair::new(Town::default());
        pair.open(true);
        for (service, part, toggle, delivered) in changes {
            if toggle {
                pair.town.toggle(service);
            }
            pair.town.change(service, part);
            pair.publish();
            for _ in 0..delivered {
                pair.deliver_to_proxy();
                pair.deliver_to_server();
            }
        }
        pair.settle();
        pair.assert_equal();
        prop_assert_eq!(pair.refusals, 0);
    }
}

#[test]
fn endpoints_pass_a_push_that_is_not_answered() {
    let mut pair = Pair::new(Town::full());
    pair.open(true);
    pair.settle();
    pair.town.change(0, Part::Routes);
    pair.publish();
    // The push is on its way; nobody answers it.
    pair.town.change(1, Part::Endpoints);
    pair.publish();
    assert_eq!(pair.in_flight(), 2);
    let second = pair.last_push().unwrap();
    let names: Vec<&str> = second
        .resources
        .iter()
        .map(|resource| &*resource.name)
        .collect();
    assert_eq!(names, [Town::name(1, Part::Endpoints).to_string()]);
    assert!(second.removed.is_empty());
    // A third has to wait, and carries the newest only.
    for _ in 0..5 {
        pair.town.change(2, Part::Routes);
        pair.town.change(2, Part::Endpoints);
        pair.publish();
    }
    assert_eq!(pair.in_flight(), 2);
    let before = pair.pushes;
    pair.settle();
    pair.assert_equal();
    assert!(pair.pushes - before <= 2, "states in between were sent");
}

#[test]
fn endpoints_go_on_while_a_spoilt_resource_is_withheld() {
    let mut pair = Pair::new(Town::full());
    pair.open(true);
    pair.settle();
    pair.town.spoil(0, Part::Routes);
    pair.publish();
    pair.settle();
    assert_eq!(pair.refusals, 1);
    let (_, rejection) = pair.last_refusal.clone().unwrap();
    assert_eq!(
        rejection.resource.to_string(),
        Town::name(0, Part::Routes).to_string()
    );
    pair.town.change(0, Part::Endpoints);
    pair.town.change(3, Part::Routes);
    pair.publish();
    pair.settle();
    pair.assert_agreed();
    assert_eq!(pair.refusals, 1, "what was refused was sent again");
}

#[test]
fn an_old_route_keeps_what_it_leads_to() {
    let mut pair = Pair::new(Town::full());
    pair.town.lead(0, 1);
    pair.open(true);
    pair.settle();
    // It leads elsewhere now, which the proxy refuses, and its former target goes away.
    pair.town.lead(0, 2);
    pair.publish();
    pair.refuse(0, Part::Routes);
    pair.town.toggle(1);
    pair.settle();
    let stays = |pair: &Pair, part| {
        let name = Town::name(1, part);
        pair.held().any(|(held, _)| *held == name)
    };
    assert_eq!(pair.refusals, 1);
    assert!(stays(&pair, Part::Cluster) && stays(&pair, Part::Endpoints));
    assert!(!stays(&pair, Part::Routes) && !stays(&pair, Part::Listener));
    pair.assert_agreed();
    // Another server knows nothing about the old route but its version.
    pair.break_stream();
    pair.settle();
    assert_eq!(pair.refusals, 2);
    assert!(stays(&pair, Part::Cluster) && stays(&pair, Part::Endpoints));
    pair.accept_everything();
    pair.retry();
    pair.settle();
    pair.assert_equal();
}

#[test]
fn endpoints_that_passed_a_refused_push_are_not_sent_again() {
    let mut pair = Pair::new(Town::full());
    pair.open(true);
    pair.settle();
    pair.town.change(0, Part::Endpoints);
    pair.town.spoil(1, Part::Routes);
    pair.publish();
    pair.town.change(0, Part::Endpoints);
    pair.publish();
    assert_eq!(pair.in_flight(), 2);
    pair.settle();
    assert_eq!((pair.refusals, pair.pushes), (1, 3));
    pair.assert_agreed();
}

#[test]
fn nothing_refers_to_endpoints_that_may_never_arrive() {
    let mut town = Town::default();
    town.toggle(0);
    town.toggle(3);
    town.spoil(0, Part::Endpoints);
    let mut pair = Pair::new(town);
    pair.open(true);
    // New endpoints of a service that the first push introduces follow it; both are refused.
    pair.town.spoil(3, Part::Endpoints);
    pair.publish();
    assert_eq!(pair.in_flight(), 2);
    pair.settle();
    assert_eq!(pair.refusals, 2);
    pair.town.repair();
    pair.publish();
    pair.settle();
    // Without being told to try again: only the endpoints themselves were withheld.
    pair.assert_equal();
}

#[test]
fn a_change_and_a_deletion_made_meanwhile_arrive_and_nothing_else() {
    let mut pair = Pair::new(Town::full());
    pair.open(true);
    pair.settle();
    pair.break_stream();
    pair.town.change(1, Part::Cluster);
    pair.town.toggle(2);
    pair.publish();
    pair.open(true);
    let push = pair.last_push().unwrap();
    let set: Vec<&str> = push.resources.iter().map(|one| &*one.name).collect();
    assert_eq!(set, [Town::name(1, Part::Cluster).to_string()]);
    let mut gone = push.removed.clone();
    gone.sort();
    let mut expected: Vec<String> = [Part::Endpoints, Part::Cluster, Part::Routes, Part::Listener]
        .into_iter()
        .map(|part| Town::name(2, part).to_string())
        .collect();
    expected.sort();
    assert_eq!(gone, expected);
    pair.settle();
    pair.assert_equal();
}

#[test]
fn a_large_push_is_cut_up_and_a_part_of_it_changes_nothing() {
    let mut town = Town::full();
    town.inflate();
    let mut pair = Pair::new(town);
    pair.open(true);
    pair.deliver_to_server();
    assert!(pair.messages_to_proxy() > 2, "the push was not cut up");
    while pair.messages_to_proxy() > 1 {
        pair.deliver_to_proxy();
        assert_eq!(pair.applied, 0);
    }
    pair.break_stream();
    assert_eq!(pair.held().count(), 0);
    pair.open(false);
    pair.settle();
    pair.assert_equal();
    assert_eq!(pair.applied, 1);
}

#[test]
fn a_proxy_that_is_to_have_nothing_is_told_so_once() {
    let mut pair = Pair::new(Town::default());
    pair.open(true);
    pair.deliver_to_server();
    let push = pair.last_push().unwrap();
    assert!(push.complete && push.resources.is_empty() && push.removed.is_empty());
    pair.settle();
    let before = pair.pushes;
    pair.publish();
    pair.settle();
    assert_eq!(pair.pushes, before);
    assert_eq!(pair.applied, 0);
}

#[test]
fn a_workload_is_asked_for_given_and_forgotten() {
    let mut pair = Pair::new(Town::full());
    pair.open(true);
    pair.settle();
    pair.want(0);
    pair.settle();
    let name = town::workload_name(0);
    assert!(pair.held().any(|(held, _)| *held == name));
    // It is asked for again in the next Hello, and therefore stays.
    assert!(pair.reconnect(Origin::KeptOnDisk));
    assert!(pair.held().any(|(held, _)| *held == name));
}

#[test]
fn workloads_that_are_looked_for_slowly_stay_meanwhile_and_go_together() {
    let mut pair = Pair::new(Town::full());
    pair.open(true);
    pair.settle();
    pair.want(0);
    pair.want(1);
    pair.settle();
    let held = |pair: &Pair| {
        let names = [0, 1].map(town::workload_name);
        let held = names.map(|name| pair.held().any(|(held, _)| *held == name));
        held.into_iter().filter(|held| *held).count()
    };
    assert_eq!(held(&pair), 2);
    pair.break_stream();
    pair.town.desert();
    pair.slowly = true;
    pair.open(true);
    for _ in 0..5 {
        pair.town.change(0, Part::Routes);
        pair.publish();
        while pair.deliver_to_proxy() | pair.deliver_to_server() {}
        assert_eq!(held(&pair), 2);
    }
    let before = pair.pushes;
    pair.settle();
    pair.assert_equal();
    assert_eq!((held(&pair), pair.pushes), (0, before + 1));
}
