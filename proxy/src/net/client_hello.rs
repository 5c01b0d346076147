//! The server name in a TLS ClientHello, without TLS.
//!
//! Reads what RFC 8446 section 4.1.2 and RFC 6066 section 3 describe and nothing more. Every
//! length is checked against what is there; a greeting may be spread over several records.

/// The content type of a TLS handshake record.
pub const HANDSHAKE_RECORD: u8 = 22;

const CLIENT_HELLO: u8 = 1;
const SERVER_NAME_EXTENSION: u16 = 0;
const HOST_NAME: u8 = 0;
/// What one record may carry.
const LARGEST_RECORD: usize = 16 * 1024;
/// A greeting larger than this is an attack.
const LARGEST_GREETING: usize = 30 * 1024;
/// A DNS name is no longer.
const LONGEST_NAME: usize = 253;

/// What the first bytes of a connection say about its TLS greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientHello {
    /// It is not complete yet, but nothing speaks against it.
    Incomplete,
    /// It is complete.
    Complete {
        /// The server name, lower case; `None` if none was sent.
        server_name: Option<Box<str>>,
    },
    /// It is none.
    Invalid,
}

/// Reads a greeting from the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> ClientHello {
    let mut handshake = Vec::new();
    let mut rest = bytes;
    loop {
        let record = match next_record(rest) {
            Record::Invalid => return ClientHello::Invalid,
            Record::Incomplete { fragment } => {
                handshake.extend_from_slice(fragment);
                return match greeting_length(&handshake) {
                    Length::Invalid => ClientHello::Invalid,
                    // A greeting that ends inside an incomplete record is complete itself.
                    Length::Known(length) if handshake.len() >= length => {
                        greeting(&handshake, length)
                    }
                    Length::Known(_) | Length::Unknown => ClientHello::Incomplete,
                };
            }
            Record::Complete { fragment, after } => {
                rest = after;
                fragment
            }
        };
        handshake.extend_from_slice(record);
        match greeting_length(&handshake) {
            Length::Invalid => return ClientHello::Invalid,
            Length::Known(length) if handshake.len() >= length => {
                return greeting(&handshake, length);
            }
            Length::Known(_) | Length::Unknown => {}
        }
    }
}

enum Record<'a> {
    Complete { fragment: &'a [u8], after: &'a [u8] },
    Incomplete { fragment: &'a [u8] },
    Invalid,
}

fn next_record(bytes: &[u8]) -> Record<'_> {
    // Decide as early as possible that something is not TLS.
    let fits = |index: usize, test: fn(u8) -> bool| bytes.get(index).is_none_or(|b| test(*b));
    if !fits(0, |kind| kind == HANDSHAKE_RECORD)
        || !fits(1, |major| major == 3)
        || !fits(2, |minor| minor <= 4)
    {
        return Record::Invalid;
    }
    let mut reader = Reader(bytes);
    let (Some(_kind_and_version), Some(length)) = (reader.take(3), reader.length16()) else {
        return Record::Incomplete { fragment: &[] };
    };
    if length == 0 || length > LARGEST_RECORD {
        return Record::Invalid;
    }
    match reader.take(length) {
        Some(fragment) => Record::Complete {
            fragment,
            after: reader.0,
        },
        None => Record::Incomplete { fragment: reader.0 },
    }
}

enum Length {
    Known(usize),
    Unknown,
    Invalid,
}

/// The length of the greeting with its four bytes of header.
fn greeting_length(handshake: &[u8]) -> Length {
    if handshake.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Length::Invalid;
    }
    let mut reader = Reader(handshake);
    let (Some(_kind), Some(length)) = (reader.take(1), reader.length24()) else {
        return Length::Unknown;
    };
    if length > LARGEST_GREETING {
        return Length::Invalid;
    }
    Length::Known(length + 4)
}

fn greeting(handshake: &[u8], length: usize) -> ClientHello {
    let body = handshake.get(4..length).unwrap_or_default();
    match server_name(body) {
        Ok(server_name) => ClientHello::Complete { server_name },
        Err(Malformed) => ClientHello::Invalid,
    }
}

struct Malformed;

fn server_name(body: &[u8]) -> Result<Option<Box<str>>, Malformed> {
    let mut reader = Reader(body);
    reader.take(2 + 32).ok_or(Malformed)?; // version, random
    let session_id = reader.length8().ok_or(Malformed)?;
    reader.take(session_id).ok_or(Malformed)?;
    let cipher_suites = reader.length16().ok_or(Malformed)?;
    reader.take(cipher_suites).ok_or(Malformed)?;
    let compressions = reader.length8().ok_or(Malformed)?;
    reader.take(compressions).ok_or(Malformed)?;
    if reader.0.is_empty() {
        return Ok(None);
    }
    let extensions = reader.length16().ok_or(Malformed)?;
    let mut reader = Reader(reader.take(extensions).ok_or(Malformed)?);
    while !reader.0.is_empty() {
        let kind = reader.number16().ok_or(Malformed)?;
        let length = reader.length16().ok_or(Malformed)?;
        let extension = reader.take(length).ok_or(Malformed)?;
        if kind == SERVER_NAME_EXTENSION {
            return host_name(extension);
        }
    }
    Ok(None)
}

fn host_name(extension: &[u8]) -> Result<Option<Box<str>>, Malformed> {
    let mut reader = Reader(extension);
    let list = reader.length16().ok_or(Malformed)?;
    let mut reader = Reader(reader.take(list).ok_or(Malformed)?);
    while !reader.0.is_empty() {
        let kind = reader.length8().ok_or(Malformed)?;
        let length = reader.length16().ok_or(Malformed)?;
        let name = reader.take(length).ok_or(Malformed)?;
        if kind == usize::from(HOST_NAME) {
            let text = std::str::from_utf8(name).ok().ok_or(Malformed)?;
            let text = text.strip_suffix('.').unwrap_or(text);
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if text.is_empty() || text.len() > LONGEST_NAME || !text.bytes().all(plain) {
                return Err(Malformed);
            }
            return Ok(Some(text.to_ascii_lowercase().into_boxed_str()));
        }
    }
    Ok(None)
}

/// Takes numbers and slices from the front, or `None` if there is too little.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn length8(&mut self) -> Option<usize> {
        self.array().map(|[byte]| usize::from(byte))
    }

    fn length16(&mut self) -> Option<usize> {
        self.number16().map(usize::from)
    }

    fn length24(&mut self) -> Option<usize> {
        let [high, middle, low] = self.array()?;
        Some(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
    }
}

#[cfg(test)]
pub(crate) mod tests;
