//! Bytes written as base64, as the API does for bodies that are not text.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes; base64 on the wire, in the standard or the URL alphabet, padded or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Base64Bytes(pub Vec<u8>);

impl TryFrom<String> for Base64Bytes {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        decode(text.trim_end_matches('='))
            .map(Self)
            .ok_or("not base64")
    }
}

impl From<Base64Bytes> for String {
    fn from(bytes: Base64Bytes) -> Self {
        encode(&bytes.0)
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    // One character left over carries six bits, which is no byte.
    if text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in text.bytes() {
        let value = match byte {
            b'-' => 62,
            b'_' => 63,
            _ => ALPHABET.iter().position(|letter| *letter == byte)?,
        };
        bits = (bits << 6) | u32::try_from(value).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4_usize {
            let index = usize::try_from((bits >> (18 - 6 * place)) & 0x3f).unwrap_or_default();
            match ALPHABET.get(index) {
                Some(letter) if place <= chunk.len() => text.push(char::from(*letter)),
                Some(_) | None => text.push('='),
            }
        }
    }
    text
}

impl JsonSchema for Base64Bytes {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Base64Bytes")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "byte" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_with_and_without_padding() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("TQ==", b"M"),
            ("TWE", b"Ma"),
            ("TWFu", b"Man"),
            ("-_-_", b"\xfb\xff\xbf"),
        ] {
            assert_eq!(Base64Bytes::try_from(text.to_owned()).unwrap().0, bytes);
        }
        assert!(Base64Bytes::try_from("T".to_owned()).is_err());
        assert!(Base64Bytes::try_from("T!==".to_owned()).is_err());
    }

    #[test]
    fn writes_the_padded_standard_form() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("TQ==", b"M"),
            ("TWE=", b"Ma"),
            ("TWFu", b"Man"),
        ] {
            assert_eq!(String::from(Base64Bytes(bytes.to_vec())), text);
        }
    }
}
