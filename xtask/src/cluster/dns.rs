//! Asks the cluster's DNS server at its Service address. An answer shows more than a condition in
//! the API does: the pod runs now, and Services are reached.

use std::net::UdpSocket;
use std::time::Duration;

use super::layout;

const PORT: u16 = 53;
/// Any number: an answer to another question is not ours.
const ID: [u8; 2] = [0x6d, 0x73];

/// Whether the server knows the address of the API server.
pub(super) fn answers() -> bool {
    let name = format!("kubernetes.default.svc.{}", layout::CLUSTER_DOMAIN);
    ask(&name).is_some_and(|answer| has_addresses(&answer))
}

fn ask(name: &str) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    let limit = Some(Duration::from_millis(500));
    socket.set_read_timeout(limit).ok()?;
    socket.connect((layout::DNS_ADDRESS, PORT)).ok()?;
    socket.send(&question(name)).ok()?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).ok()?;
    buffer.get(..length).map(<[u8]>::to_vec)
}

/// A question for the IPv4 addresses of a name.
fn question(name: &str) -> Vec<u8> {
    // The number, "recursion desired", one question and nothing else.
    let mut packet = vec![ID[0], ID[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        // No label of ours is longer than the 63 bytes that are allowed.
        packet.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        packet.extend(label.as_bytes());
    }
    // The end of the name, type A, class Internet.
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// Whether a packet answers our question without an error and with at least one record.
fn has_addresses(packet: &[u8]) -> bool {
    let [first, second, flags, code, _, _, many, count, ..] = packet else {
        return false;
    };
    [*first, *second] == ID && flags & 0x80 != 0 && code % 16 == 0 && (*many, *count) != (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_as_the_standard_says() {
        let packet = question("a.bc");
        let name_and_type = [1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1];
        assert_eq!(packet[..2], ID);
        assert_eq!(packet[2..12], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(packet[12..], name_and_type);
    }

    #[test]
    fn only_an_answer_to_our_question_with_an_address_counts() {
        let good = [ID[0], ID[1], 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        assert!(has_addresses(&good));
        for (at, value) in [(0, 9), (2, 0x05), (3, 0x83), (7, 0)] {
            let mut bad = good;
            bad[at] = value;
            assert!(!has_addresses(&bad), "byte {at}");
        }
        assert!(!has_addresses(&good[..7]));
    }
}
