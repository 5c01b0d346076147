//! Precedence, step by step; the whole against a plain reference is tested where configuration
//! is compiled, too.

use super::*;
use crate::listener::{GatewayListener, RouteSelection, TcpRule, TlsRule};
use crate::name::{ClusterName, ListenerName, PolicyName, RouteScope};
use crate::route::{Domain, Target};
use crate::units::Port;

fn gateway(protocol: GatewayProtocol) -> ListenerKind {
    let policy = PolicyName("p".into());
    ListenerKind::Gateway(GatewayListener { policy, protocol })
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

/// Destinations that can be told apart by a number.
fn to(number: u16) -> Arc<Destinations> {
    let name = ClusterName::Inbound { port: port(number) };
    Arc::new(Destinations::one(Target::Cluster(name)))
}

fn blocks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn tcp(subnets: &[&str], number: u16) -> TcpRule {
    TcpRule {
        destination_subnets: blocks(subnets),
        destinations: to(number),
    }
}

fn tls(names: &[&str], subnets: &[&str], number: u16) -> TlsRule {
    TlsRule {
        sni_hosts: names
            .iter()
            .filter_map(|name| Domain::parse(name))
            .collect(),
        destination_subnets: blocks(subnets),
        destinations: to(number),
    }
}

fn bytes(rules: Vec<TcpRule>) -> Outbound {
    Outbound::tcp(TcpRoutes { rules })
}

fn names(rules: Vec<TlsRule>) -> Outbound {
    Outbound::tls(TlsRoutes { rules })
}

fn http(number: u16) -> Outbound {
    Outbound::http(RouteSelection::Scope(RouteScope::port(port(number))))
}

fn table(listeners: &[(Option<&str>, u16, Outbound)]) -> Table {
    let listeners: Vec<Arc<Listener>> = listeners
        .iter()
        .map(|(block, number, outbound)| {
            Arc::new(Listener {
                name: ListenerName(format!("{block:?}-{number}").into()),
                bind: Bind::OriginalDestination {
                    address: block.map(|block| block.parse().unwrap()),
                    port: port(*number),
                },
                kind: ListenerKind::Outbound(outbound.clone()),
            })
        })
        .collect();
    Table::of(&listeners)
}

/// What is found, as text: the number of the destinations, `http`, `depends` or `-`.
fn say(found: Found<'_>) -> String {
    match found {
        Found::Http(_) => "http".to_owned(),
        Found::Bytes(destinations) => match &destinations.list()[0].target {
            Target::Cluster(ClusterName::Inbound { port }) => port.to_string(),
            other @ (Target::Cluster(_) | Target::Fail(_)) => format!("{other:?}"),
        },
        Found::Depends(silence) => format!("depends {silence:?}"),
        Found::Unknown => "-".to_owned(),
    }
}

const HTTP: Option<FirstBytes<'_>> = Some(FirstBytes::Http);
const OTHER: Option<FirstBytes<'_>> = Some(FirstBytes::Other);

#[expect(clippy::unnecessary_wraps, reason = "as the other first bytes")]
fn sni(name: &str) -> Option<FirstBytes<'_>> {
    Some(FirstBytes::Tls(Some(name)))
}

fn ask(table: &Table, destination: &str, first: Option<FirstBytes<'_>>) -> String {
    say(table.find(destination.parse().unwrap(), first))
}

#[test]
fn the_longest_prefix_wins_whatever_came_first() {
    let table = table(&[
        (None, 9000, bytes(vec![tcp(&[], 1)])),
        (Some("10.50.0.0/16"), 9000, bytes(vec![tcp(&[], 2)])),
        (Some("10.50.7.0/24"), 9000, bytes(vec![tcp(&[], 3)])),
        (Some("10.50.7.7/32"), 9000, bytes(vec![tcp(&[], 4)])),
        (Some("fd00::/64"), 9000, bytes(vec![tcp(&[], 5)])),
    ]);
    for (destination, expected) in [
        ("10.50.7.7:9000", "4"),
        ("[::ffff:10.50.7.7]:9000", "4"),
        ("10.50.7.8:9000", "3"),
        ("10.50.8.8:9000", "2"),
        ("10.51.0.1:9000", "1"),
        ("[fd00::1]:9000", "5"),
        ("[fd01::1]:9000", "1"),
        ("10.50.7.7:9001", "-"),
    ] {
        assert_eq!(ask(&table, destination, None), expected, "{destination}");
        assert_eq!(ask(&table, destination, OTHER), expected, "{destination}");
    }
}

#[test]
fn names_are_exact_then_the_longest_wildcard_then_any() {
    let table = table(&[(
        None,
        443,
        names(vec![
            tls(&["*"], &[], 1),
            tls(&["*.example.com"], &[], 2),
            tls(&["*.a.example.com"], &[], 3),
            tls(&["api.example.com", "*.a.example.com"], &[], 4),
        ]),
    )]);
    for (name, expected) in [
        ("api.example.com", "4"),
        ("x.example.com", "2"),
        ("x.a.example.com", "3"),
        ("a.example.com", "2"),
        ("example.com", "1"),
        ("", "1"),
    ] {
        assert_eq!(ask(&table, "9.9.9.9:443", sni(name)), expected, "{name}");
    }
    assert_eq!(ask(&table, "9.9.9.9:443", Some(FirstBytes::Tls(None))), "1");
    assert_eq!(ask(&table, "9.9.9.9:443", HTTP), "-");
    assert_eq!(ask(&table, "9.9.9.9:443", OTHER), "-");
    assert_eq!(ask(&table, "9.9.9.9:443", None), "depends Wait");
}

#[test]
fn what_a_block_does_not_take_goes_on_to_the_next() {
    let table = table(&[
        (
            Some("10.0.0.1/32"),
            443,
            names(vec![tls(&["a.test"], &[], 1)]),
        ),
        (Some("10.0.0.0/8"), 443, http(443)),
        (
            None,
            443,
            names(vec![tls(&["b.test"], &[], 2), tls(&["a.test"], &[], 3)]),
        ),
    ]);
    let one = "10.0.0.1:443";
    assert_eq!(ask(&table, one, sni("a.test")), "1");
    assert_eq!(ask(&table, one, sni("b.test")), "2");
    assert_eq!(ask(&table, one, HTTP), "http");
    assert_eq!(ask(&table, one, sni("c.test")), "-");
    assert_eq!(ask(&table, one, OTHER), "-");
    assert_eq!(ask(&table, "10.0.0.2:443", sni("a.test")), "3");
    assert_eq!(ask(&table, "11.0.0.2:443", HTTP), "-");
}

#[test]
fn the_address_comes_before_the_name_and_the_name_before_bytes() {
    let table = table(&[
        (
            None,
            443,
            Outbound {
                http: http(443).http,
                tls: TlsRoutes {
                    rules: vec![
                        tls(&["a.test"], &["10.0.0.0/8"], 1),
                        tls(&["*.test"], &["10.1.0.0/16"], 2),
                        tls(&["a.test"], &[], 3),
                    ],
                },
                tcp: TcpRoutes {
                    rules: vec![tcp(&[], 4), tcp(&[], 5), tcp(&["10.1.1.0/24"], 6)],
                },
                silence: Silence::Bytes,
            },
        ),
        (Some("10.2.2.2/32"), 443, {
            names(vec![
                tls(&["a.test"], &["10.0.0.0/8"], 7),
                tls(&["*.test"], &["10.2.0.0/16"], 8),
                tls(&["a.test"], &["10.3.0.0/16"], 9),
                tls(&["a.test"], &[], 10),
            ])
        }),
    ]);
    let ask = |destination, first| ask(&table, destination, first);
    assert_eq!(ask("10.9.9.9:443", sni("a.test")), "1");
    assert_eq!(ask("10.1.9.9:443", sni("a.test")), "2");
    assert_eq!(ask("10.1.1.1:443", sni("a.test")), "6");
    assert_eq!(ask("11.0.0.1:443", sni("a.test")), "3");
    assert_eq!(ask("11.0.0.1:443", sni("b.test")), "4");
    assert_eq!(ask("11.0.0.1:443", HTTP), "http");
    assert_eq!(ask("11.0.0.1:443", None), "depends Bytes");
    // Within one address, the longer subnet.
    assert_eq!(ask("10.2.2.2:443", sni("a.test")), "8");
    assert_eq!(ask("10.2.2.2:443", sni("b.test")), "8");
    assert_eq!(ask("10.2.2.2:443", sni("other")), "4");
}

#[test]
fn a_place_shared_with_a_server_that_speaks_first_does_not_wait() {
    let listener = |silence| Outbound {
        silence,
        ..names(vec![tls(&["a.test"], &["10.0.0.0/8"], 1)])
    };
    for (one, other, expected) in [
        (Silence::Wait, Silence::Wait, "depends Wait"),
        (Silence::Wait, Silence::Bytes, "depends Bytes"),
        (Silence::Bytes, Silence::Wait, "depends Bytes"),
    ] {
        let table = table(&[
            (None, 443, listener(one)),
            (Some("10.0.0.0/8"), 443, listener(other)),
        ]);
        assert_eq!(ask(&table, "10.0.0.1:443", None), expected);
    }
}

#[test]
fn gateways_and_sockets_ask_the_same_structure() {
    let listener = |kind| {
        Arc::new(Listener {
            name: ListenerName("l".into()),
            bind: Bind::Socket("0.0.0.0:443".parse().unwrap()),
            kind,
        })
    };
    let rules = vec![tls(&["*.test"], &[], 1), tls(&["a.test"], &[], 2)];
    let passthrough = GatewayProtocol::TlsPassthrough(TlsRoutes {
        rules: rules.clone(),
    });
    for kind in [gateway(passthrough), ListenerKind::Outbound(names(rules))] {
        let at = AtPort::of(&listener(kind)).unwrap();
        let here = "127.0.0.1".parse().unwrap();
        assert_eq!(say(at.find(here, sni("a.test"))), "2");
        assert_eq!(say(at.find(here, sni("b.test"))), "1");
        assert_eq!(say(at.find(here, OTHER)), "-");
    }
    let streams = GatewayProtocol::Tcp(TcpRoutes {
        rules: vec![tcp(&["10.0.0.0/8"], 1), tcp(&["10.1.0.0/16"], 2)],
    });
    let at = AtPort::of(&listener(gateway(streams))).unwrap();
    assert_eq!(say(at.find("10.1.0.1".parse().unwrap(), None)), "2");
    assert_eq!(say(at.find("10.2.0.1".parse().unwrap(), None)), "1");
    let policy = PolicyName("p".into());
    let capture = ListenerKind::InboundCapture { policy };
    assert!(AtPort::of(&listener(capture)).is_none());
}
