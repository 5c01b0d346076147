//! Small DATA frames of one stream, made into larger ones while nobody reads them.
//!
//! Whoever streams messages of a few bytes to a slow reader does nothing wrong, but every frame
//! that lies unread costs many times its size, and the library ends the whole connection over it,
//! for all that share it. So only a few small frames of a stream lie with the library; what comes
//! after them waits here, as bytes, until they were read or there is enough for a large frame.

use bytes::{BufMut, BytesMut};
use hashbrown::HashMap;

use crate::http::frame::FrameHead;

/// A frame below this is small. The library counts the same.
pub(super) const SMALL: usize = 256;
/// Small frames of one stream that may lie unread.
const LYING: u16 = 16;
/// Bytes that are worth a frame of their own; a frame of more never waits.
pub(super) const LARGE: usize = 8 * 1024;

/// The streams that have a body.
#[derive(Debug, Default)]
pub(super) struct Joining {
    streams: HashMap<u32, Stream, foldhash::fast::RandomState>,
    /// Streams whose bytes may go on.
    ready: Vec<u32>,
}

#[derive(Debug, Default)]
struct Stream {
    lying: u16,
    waiting: BytesMut,
    /// Nobody reads it any more; its bytes still have to pass, so that they are accounted for.
    abandoned: bool,
}

impl Joining {
    /// A stream has a body that is going to be read.
    pub(super) fn open(&mut self, stream: u32) {
        self.streams.insert(stream, Stream::default());
    }

    /// Nobody reads the stream any more. Says whether there is something to pass on.
    pub(super) fn close(&mut self, stream: u32) -> bool {
        let Some(open) = self.streams.get_mut(&stream) else {
            return false;
        };
        if open.waiting.is_empty() {
            self.streams.remove(&stream);
            return false;
        }
        open.abandoned = true;
        self.ready.push(stream);
        true
    }

    /// A small frame was read. Says whether there is something to pass on.
    pub(super) fn read(&mut self, stream: u32) -> bool {
        let Some(open) = self.streams.get_mut(&stream) else {
            return false;
        };
        open.lying = open.lying.saturating_sub(1);
        let goes_on = open.lying == LYING / 2 && !open.waiting.is_empty();
        if goes_on {
            self.ready.push(stream);
        }
        goes_on
    }

    /// Whether some stream's bytes wait here, or may have to.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// A frame came, small or not large: it goes on (`true`), or its content waits here.
    pub(super) fn came(&mut self, stream: u32, content: &[u8], out: &mut BytesMut) -> bool {
        let Some(open) = self.streams.get_mut(&stream) else {
            return true;
        };
        if open.waiting.is_empty() && open.lying < LYING {
            open.lying += u16::from(content.len() < SMALL);
            return true;
        }
        open.waiting.extend_from_slice(content);
        if open.waiting.len() >= LARGE {
            open.pass(stream, out);
        }
        false
    }

    /// Something else came on the stream: what waits goes before it.
    pub(super) fn pass(&mut self, stream: u32, out: &mut BytesMut) {
        if let Some(open) = self.streams.get_mut(&stream) {
            open.pass(stream, out);
        }
    }

    /// Whether something is waiting on the stream.
    pub(super) fn holds(&self, stream: u32) -> bool {
        let open = self.streams.get(&stream);
        open.is_some_and(|open| !open.waiting.is_empty())
    }

    /// What may go on by now.
    pub(super) fn pass_ready(&mut self, out: &mut BytesMut) {
        for stream in std::mem::take(&mut self.ready) {
            self.pass(stream, out);
            if self.streams.get(&stream).is_some_and(|one| one.abandoned) {
                self.streams.remove(&stream);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.streams.values().map(|open| open.waiting.len()).sum()
    }
}

impl Stream {
    fn pass(&mut self, stream: u32, out: &mut BytesMut) {
        if self.waiting.is_empty() {
            return;
        }
        if self.waiting.len() < SMALL {
            self.lying += 1;
        }
        out.put_slice(&FrameHead::data(stream, self.waiting.len()));
        out.put_slice(&self.waiting);
        // Frees it: most streams never wait again.
        self.waiting = BytesMut::new();
    }
}
