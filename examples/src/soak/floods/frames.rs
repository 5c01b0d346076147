//! HTTP/2 frames as they are written down (RFC 9113 section 4.1), whole or wrong.

/// What a client says first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW: u16 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(0).to_be_bytes();
    let mut bytes: Vec<u8> = length.iter().skip(1).copied().collect();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// Preface and settings of a client that has so much room for each response.
pub(super) fn greeting(window: u32) -> Vec<u8> {
    let setting = [&INITIAL_WINDOW.to_be_bytes()[..], &window.to_be_bytes()[..]].concat();
    [PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()
}

/// More room on the whole connection.
pub(super) fn room(bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes())
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// Whether content follows.
    pub(super) post: bool,
}

impl Ask<'_> {
    /// The head as a HEADERS frame; `whole` if no CONTINUATION follows.
    pub(super) fn head(&self, stream: u32, whole: bool) -> Vec<u8> {
        // HPACK (RFC 7541): method and scheme from the static table, path and authority as literals
        // with a name from it.
        let method = if self.post { 0x83 } else { 0x82 };
        let mut block = vec![method, 0x86];
        for (name, value) in [(0x04, self.path), (0x01, self.host)] {
            // Texts here are shorter than 127 bytes, so their length is one byte.
            block.extend([name, u8::try_from(value.len()).unwrap_or(0)]);
            block.extend(value.as_bytes());
        }
        let end = if self.post { 0 } else { END_STREAM };
        let flags = end | if whole { END_HEADERS } else { 0 };
        frame(HEADERS, flags, stream, &block)
    }
}
