//! How a piece of a request is compared: exactly, by prefix or by regular expression.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// One comparison. On the wire it is an object with at most one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "StringMatchFields", into = "StringMatchFields")]
pub enum StringMatch {
    /// Equal, byte for byte.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// The whole text matches this RE2 expression.
    Regex(String),
    /// `{}`: there at all, whatever the value. Only headers and query parameters allow it.
    Present,
}

/// The form on the wire.
#[derive(Default, Serialize, Deserialize)]
struct StringMatchFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exact: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    regex: Option<String>,
}

impl TryFrom<StringMatchFields> for StringMatch {
    type Error = &'static str;

    fn try_from(fields: StringMatchFields) -> Result<Self, Self::Error> {
        match (fields.exact, fields.prefix, fields.regex) {
            (Some(text), None, None) => Ok(Self::Exact(text)),
            (None, Some(text), None) => Ok(Self::Prefix(text)),
            (None, None, Some(text)) => Ok(Self::Regex(text)),
            (None, None, None) => Ok(Self::Present),
            _ => Err(
                "only one of exact, prefix and regex can be set; split it into two entries of match",
            ),
        }
    }
}

impl From<StringMatch> for StringMatchFields {
    fn from(value: StringMatch) -> Self {
        match value {
            StringMatch::Exact(text) => Self {
                exact: Some(text),
                ..Self::default()
            },
            StringMatch::Prefix(text) => Self {
                prefix: Some(text),
                ..Self::default()
            },
            StringMatch::Regex(text) => Self {
                regex: Some(text),
                ..Self::default()
            },
            StringMatch::Present => Self::default(),
        }
    }
}

impl JsonSchema for StringMatch {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("StringMatch")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "maxProperties": 1,
            "properties": {
                "exact": { "type": "string", "description": "Equal, byte for byte." },
                "prefix": { "type": "string", "description": "Begins with." },
                "regex": { "type": "string", "description": "The whole text matches this RE2 expression." },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_at_most_one_field() {
        let read = |text: &str| serde_json::from_str::<StringMatch>(text);
        assert_eq!(
            read(r#"{"exact":"a"}"#).unwrap(),
            StringMatch::Exact("a".to_owned())
        );
        assert_eq!(
            read(r#"{"prefix":""}"#).unwrap(),
            StringMatch::Prefix(String::new())
        );
        assert_eq!(read("{}").unwrap(), StringMatch::Present);
        assert!(
            read(r#"{"exact":"a","regex":"b"}"#)
                .unwrap_err()
                .to_string()
                .contains("only one of")
        );
    }
}
