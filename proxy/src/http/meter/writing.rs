//! The way out: nothing is measured but whether the client takes it. It ends in two steps: a
//! connection that is closed while its client still sends is reset, and a reset takes with it the
//! GOAWAY that says why.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::client::Client;
use super::{Meter, Metered};
use crate::http::linger::Linger;

/// How long, and for how many bytes, a client may go on after it was told that the connection ends.
const FAREWELL: Duration = Duration::from_secs(2);
const MOST: usize = 1 << 20;

impl Meter {
    /// A client took something of what lies ready for it, or did not.
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if let Some(client) = &self.client {
            client.wrote(written);
        }
    }

    /// Whether whoever is at the other end is owed time to read why the connection ends.
    fn lingers(&self) -> bool {
        self.client.as_ref().is_some_and(Client::is_at_work)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, data);
        this.meter.wrote(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, data);
        this.meter.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
            if this.ended || !this.meter.lingers() {
                return Poll::Ready(Ok(()));
            }
        }
        let begin = || Box::new(Linger::begin(FAREWELL, MOST));
        let linger = this.linger.get_or_insert_with(begin);
        linger.poll(Pin::new(&mut this.io), context).map(Ok)
    }
}
