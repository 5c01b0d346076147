//! Which 127.N.0.0 a mesh lives in, so that several stand side by side.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;

use super::ports::{self, BusyPort};
use super::topology::Part;

/// The prefix that YAML files and the demo use.
pub(super) const WRITTEN: u8 = 80;

/// The prefixes tests choose from.
const CHOICE: std::ops::RangeInclusive<u8> = 81..=250;

/// One prefix. While locked, no other mesh takes it.
#[derive(Debug)]
pub(super) struct Instance {
    number: u8,
    /// A bound socket is a lock that the kernel releases however the process ends.
    _lock: Option<TcpListener>,
}

impl Instance {
    /// A prefix, not yet locked.
    pub(super) fn numbered(number: u8) -> Self {
        Self {
            number,
            _lock: None,
        }
    }

    /// The same prefix, locked, or who holds it.
    pub(super) fn locked(self) -> Result<Self, BusyPort> {
        let address = SocketAddr::from((self.ip(255, 254), 19_999));
        match TcpListener::bind(address) {
            Ok(lock) => Ok(Self {
                number: self.number,
                _lock: Some(lock),
            }),
            Err(error) => Err(BusyPort::new(address, error)),
        }
    }

    pub(super) fn ip(&self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, third, fourth)
    }

    /// Text written for the demo's prefix, with this one.
    pub(super) fn localize(&self, text: &str) -> String {
        text.replace(&format!("127.{WRITTEN}."), &format!("127.{}.", self.number))
    }
}

/// Locks the first prefix with all its ports free. Starts at a place that depends on the
/// process, so that parallel tests rarely try the same ones.
pub(super) fn first_free(
    parts: impl Fn(&Instance) -> Vec<Part>,
) -> anyhow::Result<(Instance, Vec<Part>)> {
    let span = u32::from(CHOICE.end() - CHOICE.start()) + 1;
    let offset = u8::try_from(std::process::id() * 7 % span).unwrap_or(0);
    let numbers =
        (CHOICE.start() + offset..=*CHOICE.end()).chain(*CHOICE.start()..*CHOICE.start() + offset);
    let mut last = None;
    for number in numbers {
        let instance = match Instance::numbered(number).locked() {
            Ok(instance) => instance,
            Err(busy) => {
                last = Some(busy);
                continue;
            }
        };
        let parts = parts(&instance);
        match ports::check_free(parts.iter().flat_map(|part| &part.ports)) {
            Ok(()) => return Ok((instance, parts)),
            Err(busy) => last = Some(busy),
        }
    }
    match last {
        Some(busy) => bail!("no loopback prefix is free; the last one tried: {busy}"),
        None => bail!("no loopback prefix is free"),
    }
}
