//! The socket by which the kernel is told things.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    setsockopt, socket, sockopt,
};

use super::message;

/// Room for a transaction of thousands of rules and an answer to each.
const ROOM: usize = 8 << 20;
/// The kernel answers in pieces no larger than this.
const PIECE: usize = 64 << 10;

/// A netlink socket.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    /// To the packet filter.
    pub(super) fn filters() -> Result<Self, Errno> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    /// To addresses and routes.
    pub(super) fn addresses() -> Result<Self, Errno> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    fn open(protocol: SockProtocol) -> Result<Self, Errno> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // Without the room, only a very long list fails, and then it says so.
        for grown in [
            setsockopt(&fd, sockopt::SndBufForce, &ROOM),
            setsockopt(&fd, sockopt::RcvBufForce, &ROOM),
        ] {
            if let Err(error) = grown {
                tracing::debug!(%error, "the netlink socket keeps its size");
            }
        }
        Ok(Self(fd))
    }

    /// Sends messages and returns the verdict on each: its sequence number, and what is wrong.
    ///
    /// The kernel works while it is being sent to, so every answer is there afterwards.
    pub(super) fn exchange(&self, bytes: &[u8]) -> Result<Vec<(u32, Option<Errno>)>, Errno> {
        let kernel = NetlinkAddr::new(0, 0);
        let fd = self.0.as_raw_fd();
        sendto(fd, bytes, &kernel, MsgFlags::empty())?;
        let mut verdicts = Vec::new();
        let mut piece = vec![0; PIECE];
        loop {
            match recv(fd, &mut piece, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    verdicts.extend(message::verdicts(piece.get(..length).unwrap_or_default()));
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(verdicts),
                Err(errno) => return Err(errno),
            }
        }
    }
}
