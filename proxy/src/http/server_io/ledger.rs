//! Which bytes belong to which message: what hyper was given but has not used is the beginning of the
//! next head, and what is still to come of a body that nobody reads is not.
//!
//! hyper tells neither. A head, and a body in chunks, end with an empty line, so the last bytes that
//! were given say whether more has begun; where a length is declared, bytes are counted. In doubt
//! nothing has begun: nobody is told that his head is late who has not sent any.

/// What is known about the bytes of a connection.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Bytes of the message that is being read.
    received: usize,
    /// Of these, its head; 0 while its end was not seen.
    head: usize,
    /// Bytes still to come of a body that nobody reads.
    owed: u64,
    /// The last four bytes that were given.
    last: u32,
    /// How far the search for the end of the head is.
    search: Search,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Nothing of the head has come but line ends, which do not count (RFC 9112 section 2.2).
    Before,
    /// In a line of the head; whether that has been empty so far.
    Line { empty: bool },
    /// Not begun: the request will hardly have content, or its beginning was not seen.
    Off,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            received: 0,
            head: 0,
            owed: 0,
            last: 0,
            search: Search::Before,
        }
    }
}

impl Ledger {
    /// Bytes of the message that is being read.
    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// Whether bytes are still to come of a body that nobody reads.
    pub(super) fn is_owed(&self) -> bool {
        self.owed > 0
    }

    /// These bytes were given to hyper. Says whether some of them belong to a message that is read.
    pub(super) fn read(&mut self, bytes: &[u8]) -> bool {
        let unread = usize::try_from(self.owed).unwrap_or(usize::MAX);
        let (unread, bytes) = bytes.split_at(unread.min(bytes.len()));
        self.owed -= unread.len() as u64;
        if bytes.is_empty() {
            return false;
        }
        for byte in bytes.iter().skip(bytes.len().saturating_sub(4)) {
            self.last = (self.last << 8) | u32::from(*byte);
        }
        if self.head == 0 && self.search != Search::Off {
            self.search(bytes);
        }
        self.received = self.received.saturating_add(bytes.len());
        true
    }

    fn search(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().enumerate() {
            self.search = match (self.search, *byte) {
                (Search::Before, b'\r' | b'\n') => Search::Before,
                // GET and HEAD: not worth the search.
                (Search::Before, b'G' | b'H') => Search::Off,
                (Search::Line { empty: true }, b'\n') => {
                    self.head = self.received + at + 1;
                    return;
                }
                (Search::Line { .. }, b'\n') => Search::Line { empty: true },
                (Search::Line { empty }, b'\r') => Search::Line { empty },
                (Search::Before | Search::Line { .. }, _) => Search::Line { empty: false },
                (Search::Off, _) => return,
            };
        }
    }

    /// The message is over; it declared so much content, or none, or (`None`) came in chunks. Says
    /// whether another head has begun.
    pub(super) fn settle(&mut self, content: Option<u64>) -> bool {
        let received = self.received as u64;
        let over = match content {
            // All of a head, or of chunks, is there, or hyper would not have known their end.
            None | Some(0) if self.ends_with_an_empty_line() => received,
            None | Some(0) => received.saturating_sub(1),
            Some(length) if self.head > 0 => length.saturating_add(self.head as u64),
            // It is not known how much of it is there: in doubt it is still to come.
            Some(length) => received.saturating_add(length),
        };
        let more = received.saturating_sub(over);
        *self = Self {
            received: usize::try_from(more).unwrap_or(usize::MAX),
            owed: over.saturating_sub(received),
            last: self.last,
            search: if more > 0 {
                Search::Off
            } else {
                Search::Before
            },
            head: 0,
        };
        more > 0
    }

    fn ends_with_an_empty_line(&self) -> bool {
        let [_, third, second, last] = self.last.to_be_bytes();
        last == b'\n' && (second == b'\n' || (second == b'\r' && third == b'\n'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_head_behind_a_request_is_noticed() {
        let chunked = "POST / HTTP/1.1\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        for (request, content) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", Some(0)),
            ("GET / HTTP/1.1\nhost: a\n\n", Some(0)),
            ("POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello", Some(5)),
            (
                "\r\nPUT / HTTP/1.1\r\ncontent-length: 2\r\n\r\n\n\n",
                Some(2),
            ),
            (chunked, None),
        ] {
            for (more, begun) in [
                ("", false),
                ("G", true),
                ("GET / HTTP/1.1\r\nx: y\r\n", true),
            ] {
                for size in [1, 3, 1_000] {
                    let mut ledger = Ledger::default();
                    let bytes = [request, more].concat();
                    for piece in bytes.as_bytes().chunks(size) {
                        assert!(ledger.read(piece));
                    }
                    assert_eq!(ledger.settle(content), begun, "{bytes:?} by {size}");
                    assert!(!ledger.is_owed());
                }
            }
        }
    }

    #[test]
    fn what_is_left_of_a_body_is_no_head() {
        let mut ledger = Ledger::default();
        ledger.read(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nab");
        assert!(!ledger.settle(Some(9)));
        assert!(ledger.is_owed());
        assert!(!ledger.read(b"cdefg"));
        // The rest of it, and the next request.
        assert!(ledger.read(b"hiGET / HT"));
        assert!(!ledger.is_owed());
        assert_eq!(ledger.received(), 8);
        assert!(ledger.read(b"TP/1.1\r\n\r\n"));
        assert!(!ledger.settle(Some(0)));
    }
}
