//! A connection somebody opened to this proxy, and the stream it is read from.

use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connections::Seat;

/// Which way a connection goes, seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the local application.
    Outbound,
    /// From others: to the local application, or to a gateway.
    Inbound,
}

/// A downstream connection nothing was read from yet.
#[derive(Debug)]
pub struct Connection {
    /// The connection.
    pub stream: TcpStream,
    /// Who connected.
    pub peer: SocketAddr,
    /// The address it was accepted at.
    pub local: SocketAddr,
    /// Where it was going before it was redirected; `None` at an explicit listener.
    pub original_destination: Option<SocketAddr>,
    /// Which way it goes.
    pub way: Way,
    /// Its place among the others.
    pub seat: Seat,
}

impl Connection {
    /// The address the client meant: the original destination, else where it was accepted.
    pub fn destination(&self) -> SocketAddr {
        self.original_destination.unwrap_or(self.local)
    }

    /// The same connection after its first bytes were read.
    pub fn after(self, prefix: Bytes, version: HttpVersion) -> Accepted {
        Accepted {
            io: Prefixed::new(prefix, self.stream),
            peer: self.peer,
            local: self.local,
            original_destination: self.original_destination,
            way: self.way,
            seat: self.seat,
            version,
        }
    }
}

/// A downstream connection on its way to a spine.
#[derive(Debug)]
pub struct Accepted<IO = Prefixed<TcpStream>> {
    /// The bytes.
    pub io: IO,
    /// Who connected.
    pub peer: SocketAddr,
    /// The address it was accepted at.
    pub local: SocketAddr,
    /// Where it was going before it was redirected; `None` at an explicit listener.
    pub original_destination: Option<SocketAddr>,
    /// Which way it goes.
    pub way: Way,
    /// Its place among the others.
    pub seat: Seat,
    /// Which HTTP the first bytes are; meaningless for bytes that are none.
    pub version: HttpVersion,
}

/// Which HTTP a connection speaks, told by its first bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// Anything but the HTTP/2 preface.
    #[default]
    Http1,
    /// The HTTP/2 preface (prior knowledge).
    Http2,
}

impl<IO> Accepted<IO> {
    /// The address the client meant: the original destination, else where it was accepted.
    pub fn destination(&self) -> SocketAddr {
        self.original_destination.unwrap_or(self.local)
    }
}

/// A stream whose first bytes were already read to find out what it is.
#[derive(Debug)]
pub struct Prefixed<IO> {
    prefix: Bytes,
    io: IO,
}

impl<IO> Prefixed<IO> {
    /// `prefix`, then whatever `io` still yields.
    pub fn new(prefix: Bytes, io: IO) -> Self {
        Self { prefix, io }
    }

    /// The bytes not yet read again, and the stream behind them.
    pub fn into_parts(self) -> (Bytes, IO) {
        (self.prefix, self.io)
    }

    /// The stream behind the prefix.
    pub fn io(&self) -> &IO {
        &self.io
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Prefixed<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let take = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(self.prefix.get(..take).unwrap_or_default());
        self.prefix.advance(take);
        if self.prefix.is_empty() {
            // Frees the buffer the prefix was read into.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Prefixed<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_prefix_is_read_first_and_once() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b" world").await.unwrap();
        far.shutdown().await.unwrap();
        let mut stream = Prefixed::new(Bytes::from_static(b"hello"), near);
        let mut three = [0; 3];
        stream.read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"hel");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "lo world");
    }
}
