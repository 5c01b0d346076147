//! Whether this pod can have IPv6 at all.
//!
//! Switches do not answer that: `net.ipv6.conf.all.disable_ipv6` may be 1 while an interface has
//! IPv6 of its own, and either may change while the pod runs. So the rules are for both kinds of
//! address wherever the kernel knows both, and only a kernel that does not is an excuse.

use std::path::Path;

use nix::errno::Errno;
use socket2::{Domain, Socket, Type};

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipv6 {
    /// The kernel has none, so no connection can be made over it.
    Unknown,
    /// The kernel has it.
    Known {
        /// Whether this pod has an address of that kind now, beside those of the loopback.
        in_use: bool,
    },
}

impl Ipv6 {
    /// What there is in this process's network; `proc` is where the kernel tells about it.
    pub(super) fn of_this_network(proc: &Path) -> Self {
        // Asking for a socket also makes the kernel load what it may have as a module.
        let asked = Socket::new(Domain::IPV6, Type::STREAM, None);
        let unknown =
            asked.err().and_then(|error| error.raw_os_error()) == Some(Errno::EAFNOSUPPORT as i32);
        if unknown {
            return Self::Unknown;
        }
        // What cannot be read may be anything, so it counts as in use.
        let addresses = std::fs::read_to_string(proc.join("net/if_inet6"));
        Self::Known {
            in_use: addresses.map_or(true, |addresses| has_address(&addresses)),
        }
    }
}

/// Whether the kernel's list of addresses, one a line with its interface last, has one that
/// others can reach.
fn has_address(addresses: &str) -> bool {
    addresses
        .lines()
        .filter_map(|line| line.split_whitespace().next_back())
        .any(|interface| interface != "lo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_beside_the_loopback_count() {
        let lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let eth0 = "fd770000000000000000000000000001 02 40 00 80     eth0\n";
        assert!(!has_address("") && !has_address(lo));
        assert!(has_address(eth0) && has_address(&format!("{lo}{eth0}")));
    }

    #[test]
    fn a_list_that_cannot_be_read_means_that_there_may_be_some() {
        let proc = tempfile::tempdir().unwrap();
        let found = Ipv6::of_this_network(proc.path());
        assert_ne!(found, Ipv6::Known { in_use: false });
    }
}
