//! Where this proxy does not connect to, whatever configuration or a name server says.
//!
//! Everything that leaves for an address asks here, so that nobody can be led through this proxy
//! to its own pages, to what listens on its machine's loopback, or to the machine's neighbours.

use std::net::{IpAddr, SocketAddr};

use mesh_api::reserved::{ReservedAddress, is_proxy_port};

/// What a connection is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An endpoint that configuration names, or the name of which was looked up.
    Endpoint,
    /// Where a connection of the local application was going anyway: it could have gone there
    /// itself, to the machine's neighbours too.
    OriginalDestination,
    /// The local application, which is on the machine's loopback as a rule.
    Application,
}

/// Why there is no connection to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Nobody's endpoint can be there.
    #[error("{0} cannot be connected to on behalf of others")]
    Reserved(ReservedAddress),
    /// This proxy listens there itself.
    #[error("the address is this proxy's own")]
    Own,
}

/// What is this proxy's own.
#[derive(Clone, Copy, Debug)]
pub struct Territory {
    address: IpAddr,
    /// Whether the mesh is on this machine alone, where every workload is at loopback. The proxy
    /// was started there; nothing it is sent later can say so.
    one_machine: bool,
}

impl Territory {
    /// The territory of a proxy that was started at `address`.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self {
            address,
            one_machine: address.is_loopback(),
        }
    }

    /// Whether a connection may be made.
    pub fn check(&self, to: SocketAddr, purpose: Purpose) -> Result<(), Forbidden> {
        let ip = to.ip().to_canonical();
        let reserved = ReservedAddress::of(ip);
        let here = matches!(
            reserved,
            Some(ReservedAddress::Loopback | ReservedAddress::Unspecified)
        );
        if is_proxy_port(to.port()) && (here || ip == self.address) {
            return Err(Forbidden::Own);
        }
        let Some(reserved) = reserved else {
            return Ok(());
        };
        let lawful = match purpose {
            Purpose::Application => here,
            Purpose::Endpoint => self.one_machine && reserved == ReservedAddress::Loopback,
            Purpose::OriginalDestination => match reserved {
                ReservedAddress::LinkLocal | ReservedAddress::Multicast => true,
                ReservedAddress::Loopback => self.one_machine,
                ReservedAddress::Unspecified => false,
            },
        };
        if lawful {
            Ok(())
        } else {
            Err(Forbidden::Reserved(reserved))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_for_whom() {
        use Purpose::{Application, Endpoint, OriginalDestination};
        // In a pod at 10.0.0.7, and on one machine at 127.80.1.1.
        for (to, purpose, in_a_pod, on_one_machine) in [
            ("10.0.0.8:80", Endpoint, true, true),
            ("10.0.0.8:15020", Endpoint, true, true),
            ("10.0.0.7:8080", Endpoint, true, true),
            ("10.0.0.7:15020", Endpoint, false, true),
            ("127.0.0.1:8080", Endpoint, false, true),
            ("127.80.1.2:8080", Endpoint, false, true),
            ("127.0.0.1:15000", Endpoint, false, false),
            ("127.80.1.2:15000", Endpoint, false, false),
            ("[::1]:8080", Endpoint, false, true),
            ("[::ffff:127.0.0.1]:15000", Endpoint, false, false),
            ("[::ffff:169.254.169.254]:80", Endpoint, false, false),
            ("169.254.169.254:80", Endpoint, false, false),
            ("0.0.0.0:8080", Endpoint, false, false),
            ("224.0.0.1:80", Endpoint, false, false),
            ("[fe80::1]:80", Endpoint, false, false),
            ("169.254.169.254:80", OriginalDestination, true, true),
            ("[fe80::1]:80", OriginalDestination, true, true),
            ("10.0.0.7:15001", OriginalDestination, false, true),
            ("127.0.0.1:8080", OriginalDestination, false, true),
            ("127.0.0.1:8080", Application, true, true),
            ("10.0.0.7:8080", Application, true, true),
            ("127.0.0.1:15000", Application, false, false),
            ("10.0.0.7:15006", Application, false, true),
            ("0.0.0.0:15020", Application, false, false),
            ("169.254.169.254:80", Application, false, false),
        ] {
            let to: SocketAddr = to.parse().unwrap();
            for (own, expected) in [("10.0.0.7", in_a_pod), ("127.80.1.1", on_one_machine)] {
                let territory = Territory::of(own.parse().unwrap());
                let allowed = territory.check(to, purpose).is_ok();
                assert_eq!(allowed, expected, "{to} from {own} for {purpose:?}");
            }
        }
    }
}
