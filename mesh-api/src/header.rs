//! Names of headers that mean something to the mesh itself: what frames a message, what concerns
//! one hop, and what only proxies of the mesh may say.
//!
//! The one list of them. Admission, the compiler and conversion ask it about header edits; the
//! proxy asks it about what comes over the wire. Names are compared as careless readers compare
//! them: without regard to case, and with `_` for `-` (RFC 3875 section 4.1.18 turns both into
//! one), so that no look-alike is taken for something else.

use std::fmt;

use http::HeaderName;
use serde::{Serialize, Serializer};

/// Why a header is not the user's to edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reserved {
    /// It says where the message ends (RFC 9112 section 6).
    Framing,
    /// It concerns one connection only (RFC 9110 section 7.6.1).
    Hop,
    /// It names the host; a request's is changed by `rewrite.authority`, or by setting `host`.
    Host,
    /// It is not a header but a part of the request line (RFC 9113 section 8.3).
    Pseudo,
}

/// Headers of which nobody but the proxy writes a word.
const RESERVED: [(&str, Reserved); 11] = [
    ("connection", Reserved::Hop),
    ("content-length", Reserved::Framing),
    ("expect", Reserved::Hop),
    ("host", Reserved::Host),
    ("http2-settings", Reserved::Hop),
    ("keep-alive", Reserved::Hop),
    ("proxy-connection", Reserved::Hop),
    ("te", Reserved::Hop),
    ("trailer", Reserved::Hop),
    ("transfer-encoding", Reserved::Framing),
    ("upgrade", Reserved::Hop),
];

/// What begins like this is said by proxies of the mesh to each other and to applications.
const INTERNAL_PREFIX: &str = "x-envoy-";
/// What begins like this says which workload is at the other end.
const PEER_METADATA: &str = "x-envoy-peer-metadata";
/// Who the client is, as its certificate says (`x-forwarded-client-cert`).
const CLIENT_CERTIFICATE: &str = "x-forwarded-client-cert";
/// What begins like this says how a request came to a proxy.
const FORWARDED_PREFIX: &str = "x-forwarded-";

/// Why a header of this name, in any spelling, is not the user's to edit; `None` if it is.
pub fn reserved(name: &str) -> Option<Reserved> {
    if name.starts_with(':') {
        return Some(Reserved::Pseudo);
    }
    RESERVED
        .iter()
        .find(|(known, _)| is(name, known))
        .map(|(_, why)| *why)
}

/// Every reserved name, in its own spelling.
pub fn reserved_names() -> impl Iterator<Item = (&'static str, Reserved)> {
    RESERVED.into_iter()
}

/// Whether only proxies of the mesh may say this about a request, in any spelling.
pub fn is_internal(name: &str) -> bool {
    begins(name, INTERNAL_PREFIX) || is(name, CLIENT_CERTIFICATE)
}

/// Names, besides those only proxies may say, that a proxy adds to what it forwards.
const ADDED: [&str; 6] = [
    "b3",
    "host",
    "traceparent",
    "tracestate",
    "via",
    "x-request-id",
];

/// Whether a proxy on the way, of the mesh or in front of it, adds such a header.
pub fn is_added_by_proxies(name: &str) -> bool {
    is_internal(name)
        || begins(name, FORWARDED_PREFIX)
        || begins(name, "x-b3-")
        || ADDED.contains(&name)
}

/// Whether this says to a proxy of the mesh, and to nobody else, which workload is at the other
/// end (`x-envoy-peer-metadata`, `x-envoy-peer-metadata-id`), in any spelling.
pub fn is_peer_metadata(name: &str) -> bool {
    begins(name, PEER_METADATA)
}

/// Whether a name that is spelled with `_` would be taken for a header that frames a message,
/// concerns one hop, names the host, or says where a request came from.
pub fn is_look_alike(name: &str) -> bool {
    name.contains('_')
        && (reserved(name).is_some() || is_internal(name) || begins(name, FORWARDED_PREFIX))
}

fn is(name: &str, known: &str) -> bool {
    name.len() == known.len() && begins(name, known)
}

fn begins(name: &str, known: &str) -> bool {
    let name = name.as_bytes().get(..known.len());
    name.is_some_and(|name| name.iter().copied().map(folded).eq(known.bytes()))
}

const fn folded(byte: u8) -> u8 {
    match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

/// The name of a header that a user may edit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EditableHeader(HeaderName);

/// Why a name cannot stand in a header edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotEditable {
    /// It is not the name of a header.
    Malformed,
    /// It is not the user's to edit.
    Reserved(Reserved),
}

impl EditableHeader {
    /// The header of this name, in lower case.
    pub fn parse(name: &str) -> Result<Self, NotEditable> {
        if let Some(why) = reserved(name) {
            return Err(NotEditable::Reserved(why));
        }
        // HeaderName lower-cases by itself.
        HeaderName::from_bytes(name.as_bytes())
            .map(Self)
            .map_err(|_invalid| NotEditable::Malformed)
    }

    /// The name.
    pub fn name(&self) -> &HeaderName {
        &self.0
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for NotEditable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is not the name of a header",
            Self::Reserved(Reserved::Framing) => {
                "it says where the message ends, which only the proxy knows"
            }
            Self::Reserved(Reserved::Hop) => {
                "it concerns a single connection, which is the proxy's own"
            }
            Self::Reserved(Reserved::Host) => {
                "it names the host; to change it, set host on the request or use rewrite.authority"
            }
            Self::Reserved(Reserved::Pseudo) => {
                "it is not a header; use rewrite for path and authority"
            }
        })
    }
}

impl std::error::Error for NotEditable {}

impl Serialize for EditableHeader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_a_message_or_concerns_one_hop_cannot_be_edited_in_any_spelling() {
        for (name, why) in reserved_names() {
            for spelled in [
                name.to_owned(),
                name.to_ascii_uppercase(),
                name.replace('-', "_"),
                name.to_ascii_uppercase().replace('-', "_"),
            ] {
                assert_eq!(reserved(&spelled), Some(why), "{spelled}");
                let refused = EditableHeader::parse(&spelled).unwrap_err();
                assert_eq!(refused, NotEditable::Reserved(why), "{spelled}");
            }
        }
        for name in [":path", ":authority", ":"] {
            assert_eq!(reserved(name), Some(Reserved::Pseudo), "{name}");
        }
        for name in ["x-content-length", "content-lengths", "tea", "x_a", "Date"] {
            assert!(EditableHeader::parse(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "a:", "a\r\n", "ä"] {
            let refused = EditableHeader::parse(name).unwrap_err();
            assert_eq!(refused, NotEditable::Malformed, "{name:?}");
        }
        assert_eq!(EditableHeader::parse("X-A").unwrap().as_str(), "x-a");
    }

    #[test]
    fn peer_metadata_is_known_in_any_spelling_and_is_internal() {
        for name in [
            "x-envoy-peer-metadata",
            "x-envoy-peer-metadata-id",
            "X_Envoy_Peer_Metadata",
        ] {
            assert!(is_peer_metadata(name) && is_internal(name), "{name}");
        }
        assert!(!is_peer_metadata("x-envoy-peer"));
    }

    #[test]
    fn look_alikes_are_what_a_careless_reader_takes_for_something_else() {
        for name in [
            "transfer_encoding",
            "Content_Length",
            "x_forwarded_for",
            "x-forwarded_proto",
            "x_envoy_internal",
            "x-envoy_external-address",
            "X_Forwarded_Client_Cert",
            "keep_alive",
        ] {
            assert!(is_look_alike(name), "{name}");
        }
        for name in [
            "transfer-encoding",
            "x-forwarded-for",
            "x_user",
            "user_agent",
        ] {
            assert!(!is_look_alike(name), "{name}");
        }
        assert!(is_internal("X-Envoy-Original-Path"));
        assert!(is_internal("x-forwarded-client-cert"));
        assert!(!is_internal("x-forwarded-for"));
    }
}
