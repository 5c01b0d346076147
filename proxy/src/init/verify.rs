//! Does it work? A connection to an address nobody has is opened, and it has to arrive at the
//! proxy's port knowing where it was going.
//!
//! Rules that the kernel took may still not act: another table may have decided first, or
//! connection tracking may be missing. Then traffic would go around the proxy, or nowhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use nix::sys::socket::UnixCredentials;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::options::{Capture, Chosen};
use super::plan::{Family, Packet, Plan, Table};

/// How long the connection may take to arrive; it never leaves the machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// Tried where all ports are captured; more than one may be left out.
const PROBE_PORTS: [u16; 3] = [443, 9, 1];

/// What was found out for one kind of address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It works.
    Captured {
        /// Where the connection was going.
        probe: SocketAddr,
    },
    /// The rules capture nothing outbound.
    NothingToProbe(Family),
    /// Nothing can leave the pod that way.
    NoRoute {
        /// Where the connection was going.
        probe: SocketAddr,
        /// What the system says.
        error: String,
    },
    /// The proxy is there already.
    PortTaken {
        /// Its port.
        listener: SocketAddr,
    },
}

/// The rules are there and do not act.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCaptured {
    /// The connection never came.
    #[error(
        "the rules are in place but do not act: a connection to {probe} did not arrive at port \
         {port}{}. Another table of this pod's network may decide first (`nft list ruleset` and \
         `iptables -t nat -S` in the pod show them), or the node's kernel lacks connection \
         tracking (module nf_conntrack)", said(.error.as_ref())
    )]
    Missing {
        /// Where it was going.
        probe: SocketAddr,
        /// Where it should have arrived.
        port: u16,
        /// What the system says about the connection, if anything.
        error: Option<io::Error>,
    },
    /// It came without saying where it was going.
    #[error(
        "a connection to {probe} was redirected, but the kernel says it was going to {}; the \
         proxy could not tell destinations apart. The node's kernel needs connection tracking \
         (module nf_conntrack) in this pod's network", place(.found.as_ref())
    )]
    WrongDestination {
        /// Where it was going.
        probe: SocketAddr,
        /// Where the kernel says it was going.
        found: Result<SocketAddr, io::Error>,
    },
    /// The system would not let it be tried.
    #[error("cannot try whether connections are captured: {0}")]
    Untried(io::Error),
}

fn said(error: Option<&io::Error>) -> String {
    error.map(|error| format!(" ({error})")).unwrap_or_default()
}

fn place(found: Result<&SocketAddr, &io::Error>) -> String {
    match found {
        Ok(address) => address.to_string(),
        Err(error) => format!("nowhere it knows of ({error})"),
    }
}

/// Tries every table of a plan that is in effect.
pub(super) fn verify(plan: &Plan, capture: &Capture) -> Result<Vec<Finding>, NotCaptured> {
    let who = UnixCredentials::new();
    let who = (who.uid(), who.gid());
    let probes = plan
        .tables
        .iter()
        .map(|table| match probe(table, capture, who) {
            Some(to) => attempt(to, capture.outbound_port),
            None => Ok(Finding::NothingToProbe(table.family)),
        });
    probes.collect()
}

/// An address that the rules send to the proxy: one nobody has if possible.
fn probe(table: &Table, capture: &Capture, (user, group): (u32, u32)) -> Option<SocketAddr> {
    let documentation = match table.family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    let mut addresses = vec![documentation];
    if let Chosen::These(ranges) = &capture.outbound {
        addresses.extend(ranges.iter().filter_map(|range| range.hosts().next()));
    }
    let mut ports = PROBE_PORTS.to_vec();
    if let Chosen::These(chosen) = &capture.outbound_ports {
        ports.extend(chosen.iter().next());
    }
    let candidates = addresses
        .into_iter()
        .filter(|address| table.family.has(*address))
        .flat_map(|address| {
            ports
                .iter()
                .map(move |port| SocketAddr::new(address, *port))
        });
    candidates.into_iter().find(|to| {
        let packet = Packet {
            from: documentation,
            to: *to,
            by_loopback: false,
            user,
            group,
        };
        table.outbound.redirects(&packet) == Some(capture.outbound_port)
    })
}

fn attempt(probe: SocketAddr, port: u16) -> Result<Finding, NotCaptured> {
    let any = match probe {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let here = SocketAddr::new(any, port);
    let listener = match listen(here) {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            return Ok(Finding::PortTaken { listener: here });
        }
        Err(error) => return Err(NotCaptured::Untried(error)),
    };
    let client = match connect(probe) {
        Ok(client) => client,
        Err(error) if is_unroutable(&error) => {
            let error = error.to_string();
            return Ok(Finding::NoRoute { probe, error });
        }
        Err(error) => {
            return Err(NotCaptured::Missing {
                probe,
                port,
                error: Some(error),
            });
        }
    };
    let source = client.local_addr().map_err(NotCaptured::Untried)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // The listener's patience is at an end, or a signal came.
            Err(_nobody) => continue,
        };
        // Somebody else in the pod may be connecting, too.
        if source.as_socket() == Some(peer) {
            let found = destination(&stream, probe.is_ipv4());
            return match found {
                Ok(found) if found == probe => Ok(Finding::Captured { probe }),
                found => Err(NotCaptured::WrongDestination { probe, found }),
            };
        }
    }
    Err(NotCaptured::Missing {
        probe,
        port,
        error: client.take_error().ok().flatten(),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    // What is left of an earlier attempt must not look like the proxy.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(8)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Begins to connect; whether it succeeds is seen at the other end.
fn connect(to: SocketAddr) -> io::Result<Socket> {
    let socket = socket(to)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Ok(()) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {
            Ok(socket)
        }
        Err(error) => Err(error),
    }
}

fn socket(of: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(of),
        Type::STREAM.cloexec(),
        Some(Protocol::TCP),
    )?;
    if of.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn destination(stream: &std::net::TcpStream, v4: bool) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let found = if v4 {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    }?;
    found
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

fn is_unroutable(error: &io::Error) -> bool {
    use nix::errno::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(
            Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::EADDRNOTAVAIL
                | Errno::EAFNOSUPPORT
                | Errno::ENETDOWN
        )
    )
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::capture;
    use super::*;

    fn chosen(words: &[&str], family: Family, user: u32) -> Option<String> {
        let capture = capture(words).unwrap();
        let plan = Plan::of(&capture, &[family]);
        let found = probe(&plan.tables[0], &capture, (user, user));
        found.map(|address| address.to_string())
    }

    #[test]
    fn the_probe_is_something_the_rules_capture() {
        let cases: [(&[&str], Family, u32, Option<&str>); 8] = [
            (&[], Family::V4, 0, Some("192.0.2.1:443")),
            (&[], Family::V6, 0, Some("[2001:db8::1]:443")),
            (&[], Family::V4, 1337, None),
            (&["--include-outbound-cidrs="], Family::V4, 0, None),
            (
                &["--include-outbound-cidrs=10.96.0.0/12"],
                Family::V4,
                0,
                Some("10.96.0.1:443"),
            ),
            (
                &["--include-outbound-cidrs=10.96.0.0/12"],
                Family::V6,
                0,
                None,
            ),
            (
                &["--exclude-outbound-ports=443"],
                Family::V4,
                0,
                Some("192.0.2.1:9"),
            ),
            (
                &["--include-outbound-cidrs=", "--include-outbound-ports=80"],
                Family::V4,
                0,
                Some("192.0.2.1:80"),
            ),
        ];
        for (words, family, user, expected) in cases {
            assert_eq!(
                chosen(words, family, user).as_deref(),
                expected,
                "{words:?} {family}"
            );
        }
    }
}
