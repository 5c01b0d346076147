//! The head of an HTTP/2 frame (RFC 9113 section 4.1).

/// Bytes of a frame's head.
pub const HEAD: usize = 9;
/// Bytes that may follow a head, unless its receiver says otherwise (RFC 9113 section 6.5.2).
pub const MAX_LENGTH: usize = 16_384;
/// Bytes a client sends before its first frame (RFC 9113 section 3.4).
pub const PREFACE: usize = 24;

/// `END_STREAM` of DATA and HEADERS; `ACK` of SETTINGS and PING.
const FIRST_FLAG: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Content.
    Data,
    /// A head, or trailers.
    Headers,
    /// Advice that nobody has to follow any more (RFC 9113 section 5.3.2).
    Priority,
    /// The end of a stream.
    Reset,
    /// What the sender can take.
    Settings,
    /// A response nobody asked for.
    PushPromise,
    /// "Are you there?", or the answer.
    Ping,
    /// The end of the connection.
    GoAway,
    /// Room for more content.
    WindowUpdate,
    /// More of a head.
    Continuation,
    /// A kind that is to be ignored (RFC 9113 section 4.1).
    Unknown,
}

/// The head of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes that follow.
    pub length: usize,
    /// What it is.
    pub kind: Kind,
    /// The stream it belongs to; 0 for the connection.
    pub stream: u32,
    flags: u8,
}

impl FrameHead {
    /// Reads a head; `None` if `bytes` are fewer than [`HEAD`].
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *head;
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        Some(Self {
            length: usize::try_from(length).unwrap_or(usize::MAX),
            kind: Kind::of(kind),
            // The first bit is reserved.
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
            flags,
        })
    }

    /// The head of a DATA frame of at most [`MAX_LENGTH`] bytes that ends nothing.
    pub fn data(stream: u32, length: usize) -> [u8; HEAD] {
        let [_, l0, l1, l2] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let [s0, s1, s2, s3] = stream.to_be_bytes();
        [l0, l1, l2, 0, 0, s0, s1, s2, s3]
    }

    /// Whether it is the last one its sender sends on its stream.
    pub fn ends_stream(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & FIRST_FLAG != 0
    }

    /// Whether a PRIORITY frame of this content makes no sense, which is an error (RFC 7540 section
    /// 5.3.1); all others are of no use.
    pub fn depends_on_itself(self, content: &[u8]) -> bool {
        let on = content.first_chunk().copied().map(u32::from_be_bytes);
        on.is_some_and(|on| on & 0x7fff_ffff == self.stream)
    }

    /// Whether more of the same head has to follow, and nothing else may (RFC 9113 section 4.3).
    pub fn leaves_head_open(self) -> bool {
        matches!(self.kind, Kind::Headers | Kind::Continuation) && self.flags & END_HEADERS == 0
    }

    /// Whether it answers a frame of the same kind.
    pub fn is_ack(self) -> bool {
        matches!(self.kind, Kind::Settings | Kind::Ping) && self.flags & FIRST_FLAG != 0
    }

    /// Whether a part of it is padding.
    pub fn is_padded(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & PADDED != 0
    }
}

impl Kind {
    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let head = FrameHead::parse(&FrameHead::data(0x1234_5678, 0x3ff)).unwrap();
        assert_eq!((head.kind, head.length), (Kind::Data, 0x3ff));
        assert_eq!(head.stream, 0x1234_5678);
        assert!(!head.ends_stream() && !head.is_padded());
        assert_eq!(FrameHead::parse(&[0; 8]), None);
        let ping = FrameHead::parse(&[0, 0, 8, 6, 1, 0x80, 0, 0, 0]).unwrap();
        assert!(ping.is_ack() && !ping.ends_stream());
        // The reserved bit is not part of the number.
        assert_eq!(ping.stream, 0);
        let last = FrameHead::parse(&[0, 0, 0, 0, 9, 0, 0, 0, 1, 77]).unwrap();
        assert!(last.ends_stream() && last.is_padded() && !last.is_ack());
    }
}
