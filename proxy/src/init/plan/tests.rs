//! What the rules do to connections, family by family.

use super::super::options::tests::capture;
use super::*;

/// A connection of the application (user 1000) to somewhere outside.
fn packet(to: &str) -> Packet {
    let to: SocketAddr = to.parse().unwrap();
    let from = if to.is_ipv4() { "10.1.0.7" } else { "fd01::7" };
    Packet {
        from: from.parse().unwrap(),
        to,
        by_loopback: false,
        user: 1000,
        group: 1000,
    }
}

fn here(to: &str) -> Packet {
    Packet {
        by_loopback: true,
        ..packet(to)
    }
}

fn by(user: u32, group: u32, packet: Packet) -> Packet {
    Packet {
        user,
        group,
        ..packet
    }
}

fn chain(words: &[&str], hook: Hook, packet: &Packet) -> Chain {
    let family = if packet.to.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let plan = Plan::of(&capture(words).unwrap(), &[family]);
    let table = plan.tables.into_iter().next().unwrap();
    match hook {
        Hook::Prerouting => table.inbound,
        Hook::Output => table.outbound,
    }
}

#[test]
fn outbound_connections_go_to_the_proxy_but_for_its_own() {
    let from = |address: &str, packet: Packet| Packet {
        from: address.parse().unwrap(),
        ..packet
    };
    let cases = [
        ("a service", packet("10.96.0.1:80"), Some(15_001)),
        ("a service, IPv6", packet("[fd96::1]:80"), Some(15_001)),
        ("root's", by(0, 0, packet("10.96.0.1:80")), Some(15_001)),
        ("the proxy's", by(1337, 1337, packet("10.96.0.1:80")), None),
        ("by its group", by(0, 1337, packet("[fd96::1]:80")), None),
        ("loopback", here("127.0.0.1:80"), None),
        ("loopback, IPv6", here("[::1]:80"), None),
        ("the pod's own address", here("10.1.0.7:80"), None),
        (
            "the application's own address by way of the proxy",
            by(1337, 1337, here("10.1.0.7:80")),
            Some(15_006),
        ),
        (
            "the same, IPv6",
            by(1337, 1337, here("[fd01::7]:80")),
            Some(15_006),
        ),
        (
            "the proxy to the application",
            from("127.0.0.6", by(1337, 1337, here("10.1.0.7:80"))),
            None,
        ),
        (
            "the proxy to the application, IPv6",
            from("::6", by(1337, 1337, here("[fd01::7]:80"))),
            None,
        ),
        (
            "the proxy to loopback",
            by(1337, 1337, here("127.0.0.1:8080")),
            None,
        ),
        (
            "the proxy to loopback, IPv6",
            by(1337, 1337, here("[::1]:80")),
            None,
        ),
        // Whoever is not the proxy cannot get out by claiming its address.
        (
            "from 127.0.0.6 to elsewhere",
            from("127.0.0.6", packet("10.96.0.1:80")),
            Some(15_001),
        ),
    ];
    for (what, packet, expected) in cases {
        let chain = chain(&[], Hook::Output, &packet);
        assert_eq!(chain.redirects(&packet), expected, "{what}");
    }
}

#[test]
fn outbound_exclusions_and_inclusions() {
    let cases: [(&[&str], &str, Option<u16>); 14] = [
        (
            &["--exclude-outbound-ports=3306,5432"],
            "10.9.9.9:5432",
            None,
        ),
        (&["--exclude-outbound-ports=3306"], "[fd09::9]:3306", None),
        (
            &["--exclude-outbound-ports=3306"],
            "10.9.9.9:3307",
            Some(15_001),
        ),
        (
            &["--exclude-outbound-cidrs=10.9.0.0/16"],
            "10.9.9.9:80",
            None,
        ),
        (
            &["--exclude-outbound-cidrs=fd09::/16"],
            "[fd09::9]:80",
            None,
        ),
        (
            &["--exclude-outbound-cidrs=10.9.0.0/16"],
            "10.10.0.1:80",
            Some(15_001),
        ),
        (
            &["--include-outbound-cidrs=10.96.0.0/12"],
            "10.96.0.1:80",
            Some(15_001),
        ),
        (
            &["--include-outbound-cidrs=10.96.0.0/12"],
            "10.9.9.9:80",
            None,
        ),
        (
            &["--include-outbound-cidrs=10.96.0.0/12"],
            "[fd96::1]:80",
            None,
        ),
        (&["--include-outbound-cidrs="], "10.96.0.1:80", None),
        // Ports are captured beside the addresses, not within them.
        (
            &["--include-outbound-cidrs=", "--include-outbound-ports=80"],
            "10.96.0.1:80",
            Some(15_001),
        ),
        (
            &["--include-outbound-cidrs=", "--include-outbound-ports=*"],
            "10.96.0.1:81",
            Some(15_001),
        ),
        // What is excluded stays so.
        (
            &[
                "--include-outbound-ports=80",
                "--exclude-outbound-cidrs=10.0.0.0/8",
            ],
            "10.96.0.1:80",
            None,
        ),
        (
            &["--outbound-port=4141", "--uid=5"],
            "10.96.0.1:80",
            Some(4141),
        ),
    ];
    for (words, to, expected) in cases {
        let packet = packet(to);
        let chain = chain(words, Hook::Output, &packet);
        assert_eq!(chain.redirects(&packet), expected, "{words:?} {to}");
    }
}

#[test]
fn inbound_ports() {
    let cases: [(&[&str], u16, Option<u16>); 11] = [
        (&[], 80, Some(15_006)),
        // Nothing is special about remote shells.
        (&[], 22, Some(15_006)),
        (&[], 15_001, Some(15_006)),
        (&[], 15_000, Some(15_006)),
        (&[], 15_020, None),
        (&[], 15_021, None),
        (&[], 15_090, None),
        (&["--exclude-inbound-ports=9000"], 9000, None),
        (&["--include-inbound-ports=80"], 80, Some(15_006)),
        (&["--include-inbound-ports=80"], 81, None),
        (&["--include-inbound-ports="], 80, None),
    ];
    for (words, port, expected) in cases {
        for to in [format!("10.1.0.7:{port}"), format!("[fd01::7]:{port}")] {
            let packet = packet(&to);
            let chain = chain(words, Hook::Prerouting, &packet);
            assert_eq!(chain.redirects(&packet), expected, "{words:?} {to}");
        }
    }
}
