//! Netlink messages: headers, attributes, batches.
//!
//! Lengths and types are in the machine's byte order, what belongs to nf_tables in the
//! network's; every attribute ends at a multiple of four bytes.

use std::net::IpAddr;

/// Message types of netlink and of its users.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NF_TABLES: u16 = 10;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;

/// What is asked of the receiver.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
pub(super) const REPLACE: u16 = 0x100;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

/// Messages that take effect together or not at all.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    steps: Steps,
}

/// What each message of a batch was for, by its place.
#[derive(Debug)]
pub(super) struct Steps(Vec<String>);

impl Steps {
    /// What the message with this sequence number was for.
    pub(super) fn name(&self, sequence: u32) -> &str {
        let place = usize::try_from(sequence).ok();
        place
            .and_then(|place| self.0.get(place))
            .map_or("an unknown step", String::as_str)
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            steps: Steps(Vec::new()),
        };
        batch.marker(BATCH_BEGIN, "beginning the transaction");
        batch
    }

    /// Adds a message of nf_tables; `kind` counts within it.
    pub(super) fn push(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        attributes: &[u8],
        step: String,
    ) {
        let body = [&general(family, 0), attributes].concat();
        let sequence = self.next(step);
        // Every message is answered, so that what is wrong can be named.
        let flags = REQUEST | ACKNOWLEDGE | flags;
        self.bytes
            .extend(message((NF_TABLES << 8) | kind, flags, sequence, &body));
    }

    /// The bytes to send, and what they are.
    pub(super) fn finish(mut self) -> (Vec<u8>, Steps) {
        self.marker(BATCH_END, "committing the transaction");
        (self.bytes, self.steps)
    }

    fn marker(&mut self, kind: u16, step: &str) {
        let sequence = self.next(step.to_owned());
        let body = general(0, NF_TABLES);
        self.bytes.extend(message(kind, REQUEST, sequence, &body));
    }

    fn next(&mut self, step: String) -> u32 {
        let sequence = u32::try_from(self.steps.0.len()).unwrap_or(u32::MAX);
        self.steps.0.push(step);
        sequence
    }
}

/// What every netfilter message begins with: family, version, resource.
fn general(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // The kernel knows the sender by its socket.
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    pad(&mut bytes);
    bytes
}

/// An attribute.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // All of ours are short; a length that lied would be refused by the kernel.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(4 + value.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    pad(&mut bytes);
    bytes
}

/// An attribute made of attributes.
pub(super) fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(NESTED | kind, &attributes.concat())
}

/// An attribute that is a name.
pub(super) fn name(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

/// An attribute that is a number.
pub(super) fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Adds an address to the loopback interface.
pub(super) fn add_loopback_address(address: IpAddr) -> Vec<u8> {
    let flags = REQUEST | ACKNOWLEDGE | CREATE | REPLACE;
    message(NEW_ADDRESS, flags, 1, &loopback_address(address))
}

/// Removes an address from the loopback interface.
pub(super) fn remove_loopback_address(address: IpAddr) -> Vec<u8> {
    let flags = REQUEST | ACKNOWLEDGE;
    message(DELETE_ADDRESS, flags, 1, &loopback_address(address))
}

fn loopback_address(address: IpAddr) -> Vec<u8> {
    const INTERNET: u8 = 2;
    const INTERNET_6: u8 = 10;
    /// Nobody else can have it, so nobody is asked.
    const NO_DUPLICATE_DETECTION: u8 = 2;
    const THIS_HOST: u8 = 254;
    const LOOPBACK: u32 = super::rules::LOOPBACK;
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let (family, bytes) = match address {
        IpAddr::V4(address) => (INTERNET, address.octets().to_vec()),
        IpAddr::V6(address) => (INTERNET_6, address.octets().to_vec()),
    };
    let length = if family == INTERNET { 32 } else { 128 };
    let mut body = vec![family, length, NO_DUPLICATE_DETECTION, THIS_HOST];
    body.extend(LOOPBACK.to_ne_bytes());
    body.extend(attribute(LOCAL, &bytes));
    body.extend(attribute(ADDRESS, &bytes));
    body
}

/// The verdicts in what the kernel answers: a sequence number each, and what went wrong if
/// anything did. Whatever is not a verdict is passed over.
pub(super) fn verdicts(mut bytes: &[u8]) -> Vec<(u32, Option<nix::errno::Errno>)> {
    const VERDICT: u16 = 2;
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() {
        let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3, ..] = *head;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if length < HEADER {
            break;
        }
        if u16::from_ne_bytes([k0, k1]) == VERDICT
            && let Some(code) = rest.first_chunk::<4>()
        {
            let code = i32::from_ne_bytes(*code);
            let errno = (code != 0).then(|| nix::errno::Errno::from_raw(code.saturating_neg()));
            found.push((u32::from_ne_bytes([s0, s1, s2, s3]), errno));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn attributes_end_at_multiples_of_four() {
        let inner = name(1, "mesh");
        assert_eq!(inner.len(), 12);
        let [low, high] = 9_u16.to_ne_bytes();
        assert_eq!(&inner[..4], &[low, high, 1, 0]);
        assert_eq!(&inner[4..], b"mesh\0\0\0\0");
        let outer = nested(2, &[inner, number(3, 7)]);
        assert_eq!(outer.len(), 4 + 12 + 8);
        assert_eq!(u16::from_ne_bytes([outer[2], outer[3]]), 0x8002);
    }

    #[test]
    fn verdicts_are_read_whatever_else_comes() {
        let verdict = |sequence: u32, code: i32| {
            let body = [code.to_ne_bytes().to_vec(), vec![0; 16]].concat();
            message(2, 0, sequence, &body)
        };
        let other = message(9, 0, 5, &[1, 2, 3]);
        let answers = [verdict(1, 0), other, verdict(2, -1)].concat();
        assert_eq!(verdicts(&answers), [(1, None), (2, Some(Errno::EPERM))]);
        // Cut off or senseless answers are no verdicts.
        assert_eq!(verdicts(&answers[..18]), []);
        assert_eq!(verdicts(&[0; 64]), []);
        assert_eq!(verdicts(&[0xff; 64]), []);
    }
}
