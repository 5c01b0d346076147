//! Are the ports free, and if not, who has them?

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// A port that somebody else uses, or that cannot be bound for another reason.
#[derive(Debug)]
pub struct BusyPort {
    address: SocketAddr,
    holder: Option<String>,
    error: io::Error,
}

impl BusyPort {
    pub(super) fn new(address: SocketAddr, error: io::Error) -> Self {
        let holder = if error.kind() == io::ErrorKind::AddrInUse {
            holder(address)
        } else {
            None
        };
        Self {
            address,
            holder,
            error,
        }
    }
}

impl fmt::Display for BusyPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            holder,
            error,
        } = self;
        match (error.kind(), holder) {
            (io::ErrorKind::AddrInUse, Some(holder)) => {
                write!(
                    formatter,
                    "port {} of {} is in use by {holder}",
                    address.port(),
                    address.ip()
                )
            }
            (io::ErrorKind::AddrInUse, None) => write!(
                formatter,
                "port {} of {} is in use by a process this user cannot see",
                address.port(),
                address.ip()
            ),
            _ => write!(formatter, "cannot listen on {address}: {error}"),
        }
    }
}

impl Error for BusyPort {}

/// Binds every address for a moment; the first that cannot be is the error.
pub(crate) fn check_free<'a>(
    addresses: impl IntoIterator<Item = &'a SocketAddr>,
) -> Result<(), BusyPort> {
    for &address in addresses {
        if let Err(error) = TcpListener::bind(address) {
            return Err(BusyPort::new(address, error));
        }
    }
    Ok(())
}

/// The process that listens on an address, as `name (pid 123)`, as far as `/proc` tells.
fn holder(address: SocketAddr) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = listening_inode(&table, address)?;
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = files.flatten().any(|file| {
            std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        });
        if holds {
            let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", command.trim()));
        }
    }
    None
}

/// The socket listening on `address`, or on all addresses with its port.
fn listening_inode(table: &str, address: SocketAddr) -> Option<&str> {
    const LISTEN: &str = "0A";
    let SocketAddr::V4(address) = address else {
        return None;
    };
    // The kernel prints the four bytes as one number in its own byte order.
    let own = u32::from_ne_bytes(address.ip().octets());
    let (exact, any) = (
        format!("{own:08X}:{:04X}", address.port()),
        format!("00000000:{:04X}", address.port()),
    );
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        (state == LISTEN && (local == exact || local == any)).then_some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let busy = check_free([&address]).unwrap_err().to_string();
        assert!(busy.contains(&format!("port {}", address.port())), "{busy}");
        assert!(
            busy.contains(&format!("pid {}", std::process::id())),
            "{busy}"
        );
        drop(listener);
        check_free([&address]).unwrap();
    }
}
