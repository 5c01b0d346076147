//! Which process listens on a port, so that "address in use" says what to stop.
//!
//! Reads `/proc` as far as this user may; an answer is a courtesy, never needed.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A process that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its short name.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// The process that listens on `address`, or on the same port of every address.
pub fn find(address: SocketAddr) -> Option<Holder> {
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listeners(&table))
        .filter(|(listening, _)| overlaps(*listening, address))
        .map(|(_, inode)| inode)
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let targets: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(process.path().join("fd"))
            .ok()?
            .flatten()
            .any(|file| {
                fs::read_link(file.path()).is_ok_and(|link| {
                    targets
                        .iter()
                        .any(|target| link.as_os_str() == target.as_str())
                })
            });
        let command = || fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        holds.then(|| Holder {
            pid,
            command: command().trim().to_owned(),
        })
    })
}

/// Adds who listens on `address` to an error, if that is what it is about and can be known.
pub fn explain(address: SocketAddr, error: anyhow::Error) -> anyhow::Error {
    match find(address) {
        Some(holder) => error.context(format!("{address} is in use by {holder}")),
        None => error,
    }
}

fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Address and inode of every listening socket in a table of `/proc/net`.
fn listeners(table: &str) -> Vec<(SocketAddr, u64)> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?.parse().ok()?;
            (state == LISTEN).then_some((socket_address(local)?, inode))
        })
        .collect()
}

/// `ADDRESS:PORT` in hexadecimal; the address is words in this machine's byte order.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = address
        .as_bytes()
        .chunks(8)
        .map(|word| {
            let word = std::str::from_utf8(word).ok()?;
            u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
        })
        .collect();
    let address = match *words? {
        [word] => IpAddr::V4(Ipv4Addr::from(word)),
        [a, b, c, d] => {
            let mut bytes = [0; 16];
            for (target, byte) in bytes.iter_mut().zip([a, b, c, d].concat()) {
                *target = byte;
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let holder = find(address).unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.command.is_empty());
        drop(listener);
        assert_eq!(find(address), None);
    }

    #[test]
    fn tables_with_nonsense_are_read_as_far_as_they_go() {
        let word = u32::from_ne_bytes([127, 80, 1, 1]);
        let table = format!(
            "header\n 0: {word:08X}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 \
             00000000 0 0 4242 1\n 1: nonsense\n\n 2: {word:08X}:1F91 0:0 01 a b c d e 7 1\n"
        );
        let expected = vec![("127.80.1.1:8080".parse().unwrap(), 4242)];
        assert_eq!(listeners(&table), expected);
    }
}
