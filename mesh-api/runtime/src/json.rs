//! How much a JSON text is to have in memory, before it is read: two bytes can be a value that takes
//! dozens.

/// Values that a text of somebody unknown may have. An object as large as API servers store has a
/// quarter of it at most, and an update has the old one beside the new.
pub const MOST_VALUES: usize = 250_000;

/// How many values a text has, keys not counted; at least, if it is no JSON.
pub fn values(text: &[u8]) -> usize {
    let mut count = 1;
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_what_is_quoted_is_text() {
        for (text, expected) in [
            ("0", 1),
            ("[0,0,0]", 4),
            (r#"{"a": "b,c,[{", "d": {"e": null}}"#, 4),
            (r#"["\",\\", ",", 1]"#, 4),
        ] {
            assert_eq!(values(text.as_bytes()), expected, "{text}");
        }
    }
}
