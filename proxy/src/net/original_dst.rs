//! Where a redirected connection was going.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The destination a connection had before the kernel redirected it here; `None` if it was not
/// redirected, that is, if somebody connected to the capture port itself.
pub fn original_destination(stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let local = stream.local_addr()?;
    let socket = SockRef::from(stream);
    let answer = if is_v4(local) {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    let destination = match answer {
        Ok(address) => address.as_socket().map(canonical),
        // No connection tracking entry: never translated.
        Err(error) if is_untracked(&error) => None,
        Err(error) => return Err(error),
    };
    Ok(destination.filter(|destination| *destination != canonical(local)))
}

/// An IPv4 address mapped into IPv6 is the IPv4 address.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_v4(address: SocketAddr) -> bool {
    canonical(address).is_ipv4()
}

fn is_untracked(error: &io::Error) -> bool {
    use nix::errno::Errno;
    error
        .raw_os_error()
        .map(Errno::from_raw)
        .is_some_and(|errno| {
            matches!(
                errno,
                Errno::ENOENT | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP | Errno::EINVAL
            )
        })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_direct_connection_has_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert_eq!(original_destination(&server).unwrap(), None);
        drop(client);
    }
}
