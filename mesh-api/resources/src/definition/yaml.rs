//! Writes a document as YAML that every parser reads the same way.
//!
//! Fields are sorted, and text is quoted unless it is plainly text: `on`, `y` and `1e3` mean
//! something else to some parsers.

use std::collections::BTreeMap;

use serde_json::Value;

const INDENT: usize = 2;
/// Words that are not text to some parsers.
const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];

/// The document as text.
pub(super) fn write(document: &Value) -> String {
    let mut text = String::new();
    block(document, 0, &mut text);
    text
}

fn block(value: &Value, indent: usize, text: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            for (name, value) in sorted {
                text.push_str(&margin);
                text.push_str(&scalar(name));
                text.push(':');
                if is_block(value) {
                    text.push('\n');
                    // A list stands as far out as the field it belongs to.
                    let inner = if value.is_array() { 0 } else { INDENT };
                    block(value, indent + inner, text);
                } else {
                    text.push(' ');
                    inline(value, text);
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&margin);
                text.push_str("- ");
                if is_block(item) {
                    let mut written = String::new();
                    block(item, indent + INDENT, &mut written);
                    // The first line begins behind the dash.
                    text.push_str(written.trim_start_matches(' '));
                } else {
                    inline(item, text);
                }
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => inline(value, text),
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn inline(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => text.push_str(&scalar(string)),
        // What is left has one form in JSON and in YAML.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            text.push_str(&value.to_string());
        }
    }
    text.push('\n');
}

fn scalar(text: &str) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b" ._/-".contains(&byte);
    let plain = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(harmless)
        && !text.ends_with(' ')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        // Double quotes with the escapes of JSON mean the same in YAML.
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let document = json!({
            "words": ["on", "Y", "null", "plain text", "", " lead", "trail ", "1e3", "-", "a: b", "a #b", "\"q\"\n\t\\", "ü"],
            "nested": [{"b": [1, [2, []]], "a": {}}, [[{"c": null}]], true],
            "on": {"deep": {"deeper": [{"x": 1.5}]}},
        });
        let text = write(&document);
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, document, "{text}");
    }

    #[test]
    fn words_that_mean_something_are_quoted() {
        let document = json!({"on": "y", "a": ["NO", "Off", "text"]});
        assert_eq!(
            write(&document),
            "a:\n- \"NO\"\n- \"Off\"\n- text\n\"on\": \"y\"\n"
        );
    }
}
