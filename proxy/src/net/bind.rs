//! Listening sockets: one per worker, on an address nobody else listens on.
//!
//! `SO_REUSEPORT` lets every worker have a socket of its own, but it would also let a second
//! proxy of the same user listen beside this one and silently take half of its connections. So
//! the first socket listens without it, which fails if anybody listens there and keeps everybody
//! out while it does; then it allows sharing, and the other workers' sockets join it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::port_holder;

/// Connections the kernel keeps for a worker that has not accepted them yet; the system's
/// `somaxconn` may lower it.
const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{address} is in use{}; stop what listens there or choose another address", by(.holder.as_ref()))]
    InUse {
        /// The address.
        address: SocketAddr,
        /// Who listens there, if this user may know.
        holder: Option<port_holder::Holder>,
    },
    /// Another reason.
    #[error("cannot listen on {address}: {cause}{}", hint(.cause))]
    Failed {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
}

impl BindError {
    /// Whether the machine has no addresses of that kind, IPv6 for example.
    pub fn is_no_such_family(&self) -> bool {
        match self {
            Self::InUse { .. } => false,
            Self::Failed { cause, .. } => matches!(
                cause.raw_os_error().map(Errno::from_raw),
                Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
            ),
        }
    }
}

fn by(holder: Option<&port_holder::Holder>) -> String {
    holder
        .map(|holder| format!(" by {holder}"))
        .unwrap_or_default()
}

fn hint(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrNotAvailable {
        "; no interface of this machine has that address"
    } else if kind == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need CAP_NET_BIND_SERVICE"
    } else {
        ""
    }
}

/// Listens on `address` with one socket per worker.
///
/// With port 0 the system chooses one port for all of them.
pub fn listen(address: SocketAddr, workers: NonZeroUsize) -> Result<Vec<TcpListener>, BindError> {
    all(address, workers, false)
}

/// The same where this process already listens on that port of an overlapping address, of all
/// addresses for example: nobody else can, so there is nobody to exclude.
pub fn listen_beside_own(
    address: SocketAddr,
    workers: NonZeroUsize,
) -> Result<Vec<TcpListener>, BindError> {
    all(address, workers, true)
}

/// Listens on `address` with one socket that is nobody else's.
pub fn listen_alone(address: SocketAddr) -> Result<TcpListener, BindError> {
    let socket = start(address, false).map_err(|cause| failed(address, cause))?;
    Ok(socket.into())
}

fn failed(address: SocketAddr, cause: io::Error) -> BindError {
    if cause.kind() == io::ErrorKind::AddrInUse {
        BindError::InUse {
            address,
            holder: port_holder::find(address),
        }
    } else {
        BindError::Failed { address, cause }
    }
}

fn all(
    address: SocketAddr,
    workers: NonZeroUsize,
    beside_own: bool,
) -> Result<Vec<TcpListener>, BindError> {
    let fail = |cause: io::Error| failed(address, cause);
    let first = start(address, beside_own).map_err(fail)?;
    let bound = first.local_addr().map_err(fail)?;
    first.set_reuse_port(true).map_err(fail)?;
    let mut sockets = Vec::with_capacity(workers.get());
    sockets.push(TcpListener::from(first));
    for _ in 1..workers.get() {
        let address = bound.as_socket().unwrap_or(address);
        sockets.push(TcpListener::from(start(address, true).map_err(fail)?));
    }
    Ok(sockets)
}

/// A listening socket, shared from the beginning or not.
fn start(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = open(address)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(domain, kind, Some(Protocol::TCP))?;
    // Connections of a former process in TIME_WAIT must not keep a new one from listening.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 has listeners of its own; one that takes both would clash with them.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Whether an accept failed because there are no file descriptors, or no memory for one.
pub fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

    #[test]
    fn a_second_listener_is_refused_and_told_who_is_first() {
        let first = listen("127.0.0.1:0".parse().unwrap(), TWO).unwrap();
        let address = first[0].local_addr().unwrap();
        assert_eq!(first[1].local_addr().unwrap(), address);
        let error = listen(address, TWO).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(first);
        listen(address, TWO).unwrap();
    }

    #[test]
    fn both_sockets_get_connections() {
        let sockets = listen("127.0.0.1:0".parse().unwrap(), TWO).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let clients: Vec<_> = (0..64)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        let counts: Vec<usize> = sockets
            .iter()
            .map(|socket| std::iter::from_fn(|| socket.accept().ok()).count())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), clients.len());
        assert!(counts.iter().all(|count| *count > 8), "{counts:?}");
    }

    #[test]
    fn other_failures_name_the_address_and_the_way_out() {
        let error = listen("203.0.113.1:80".parse().unwrap(), TWO)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("203.0.113.1:80") && error.contains("no interface"),
            "{error}"
        );
    }
}
