//! Request matches on the wire.

use crate::convert::field::{
    Invalid, Result, Wire, field, list, list_to_proto, member, optional, required,
};
use crate::proto;
use crate::proto::string_match::Text;
use crate::proto::value_match::Value;
use crate::route::{
    HeaderMatch, Matched, PathMatch, Pattern, QueryMatch, RequestMatch, StringMatch, ValueMatch,
};

impl Wire for RequestMatch {
    type Proto = proto::RequestMatch;

    fn to_proto(&self) -> proto::RequestMatch {
        let Self {
            path,
            scheme,
            method,
            authority,
            headers,
            without_headers,
            query,
        } = self;
        proto::RequestMatch {
            path: path.as_ref().map(Wire::to_proto),
            scheme: scheme.as_ref().map(Wire::to_proto),
            method: method.as_ref().map(Wire::to_proto),
            authority: authority.as_ref().map(Wire::to_proto),
            headers: list_to_proto(headers),
            without_headers: list_to_proto(without_headers),
            query: list_to_proto(query),
        }
    }

    fn from_proto(proto: proto::RequestMatch) -> Result<Self> {
        let proto::RequestMatch {
            path,
            scheme,
            method,
            authority,
            headers,
            without_headers,
            query,
        } = proto;
        Ok(Self {
            path: optional("path", path)?,
            scheme: optional("scheme", scheme)?,
            method: optional("method", method)?,
            authority: optional("authority", authority)?,
            headers: list("headers", headers)?,
            without_headers: list("without_headers", without_headers)?,
            query: list("query", query)?,
        })
    }
}

impl Wire for StringMatch {
    type Proto = proto::StringMatch;

    fn to_proto(&self) -> proto::StringMatch {
        let text = match self {
            Self::Exact(text) => Text::Exact(text.to_proto()),
            Self::Prefix(text) => Text::Prefix(text.to_proto()),
            Self::Regex(pattern) => Text::Regex(pattern.source().to_owned()),
        };
        proto::StringMatch { text: Some(text) }
    }

    fn from_proto(proto: proto::StringMatch) -> Result<Self> {
        let proto::StringMatch { text } = proto;
        member("text", text, |text| match text {
            Text::Exact(text) => Ok(Self::Exact(text.into())),
            Text::Prefix(text) => Ok(Self::Prefix(text.into())),
            Text::Regex(source) => match Pattern::received(true, &source) {
                Ok(pattern) => Ok(Self::Regex(pattern)),
                Err(error) => Err(Invalid::at("regex", error)),
            },
        })
    }
}

impl Wire for PathMatch {
    type Proto = proto::PathMatch;

    fn to_proto(&self) -> proto::PathMatch {
        let Self { text, ignore_case } = self;
        proto::PathMatch {
            text: Some(text.to_proto()),
            ignore_case: *ignore_case,
        }
    }

    fn from_proto(proto: proto::PathMatch) -> Result<Self> {
        let proto::PathMatch { text, ignore_case } = proto;
        Ok(Self {
            text: required("text", text)?,
            ignore_case,
        })
    }
}

impl Wire for ValueMatch {
    type Proto = proto::ValueMatch;

    fn to_proto(&self) -> proto::ValueMatch {
        let value = match self {
            Self::Present => Value::Present(proto::Unit {}),
            Self::Text(text) => Value::Text(text.to_proto()),
        };
        proto::ValueMatch { value: Some(value) }
    }

    fn from_proto(proto: proto::ValueMatch) -> Result<Self> {
        let proto::ValueMatch { value } = proto;
        member("value", value, |value| match value {
            Value::Present(proto::Unit {}) => Ok(Self::Present),
            Value::Text(text) => field("text", text).map(Self::Text),
        })
    }
}

impl Wire for HeaderMatch {
    type Proto = proto::HeaderMatch;

    fn to_proto(&self) -> proto::HeaderMatch {
        let Self { name, value } = self;
        proto::HeaderMatch {
            name: name.as_str().to_owned(),
            value: Some(value.to_proto()),
        }
    }

    fn from_proto(proto: proto::HeaderMatch) -> Result<Self> {
        let proto::HeaderMatch { name, value } = proto;
        let Some(name) = Matched::parse(&name) else {
            return Err(Invalid::at(
                "name",
                "it is not the name of a header in lower case",
            ));
        };
        Ok(Self {
            name,
            value: required("value", value)?,
        })
    }
}

impl Wire for QueryMatch {
    type Proto = proto::QueryMatch;

    fn to_proto(&self) -> proto::QueryMatch {
        let Self { name, value } = self;
        proto::QueryMatch {
            name: name.to_proto(),
            value: Some(value.to_proto()),
        }
    }

    fn from_proto(proto: proto::QueryMatch) -> Result<Self> {
        let proto::QueryMatch { name, value } = proto;
        Ok(Self {
            name: name.into(),
            value: required("value", value)?,
        })
    }
}
