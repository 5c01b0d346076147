//! Rewrites on the wire.

use std::sync::Arc;

use crate::convert::field::{Invalid, Result, Wire, list, list_to_proto, member, optional};
use crate::proto;
use crate::proto::rewrite::Uri;
use crate::route::host::split_authority;
use crate::route::{Pattern, Rewrite, UriRewrite};

impl Wire for Rewrite {
    type Proto = proto::Rewrite;

    fn to_proto(&self) -> proto::Rewrite {
        let Self { uri, authority } = self;
        let uri = match uri {
            UriRewrite::Keep => Uri::Keep(proto::Unit {}),
            UriRewrite::Prefix {
                prefixes,
                replacement,
            } => Uri::Prefix(proto::PrefixRewrite {
                prefixes: list_to_proto(prefixes),
                replacement: replacement.to_proto(),
            }),
            UriRewrite::Full(path) => Uri::Full(path.to_proto()),
            UriRewrite::Regex {
                pattern,
                substitution,
            } => Uri::Regex(proto::RegexRewrite {
                pattern: pattern.source().to_owned(),
                substitution: substitution.to_proto(),
            }),
        };
        proto::Rewrite {
            uri: Some(uri),
            authority: authority.as_ref().map(Wire::to_proto),
        }
    }

    fn from_proto(proto: proto::Rewrite) -> Result<Self> {
        let proto::Rewrite { uri, authority } = proto;
        let uri = member("uri", uri, |uri| match uri {
            Uri::Keep(proto::Unit {}) => Ok(UriRewrite::Keep),
            Uri::Prefix(proto::PrefixRewrite {
                prefixes,
                replacement,
            }) => match list("prefixes", prefixes) {
                Ok(prefixes) => Ok(UriRewrite::Prefix {
                    prefixes,
                    replacement: path_only("replacement", replacement)
                        .map_err(|invalid| invalid.within("prefix"))?,
                }),
                Err(invalid) => Err(invalid.within("prefix")),
            },
            Uri::Full(path) => path_only("full", path).map(UriRewrite::Full),
            Uri::Regex(proto::RegexRewrite {
                pattern,
                substitution,
            }) => match Pattern::received(false, &pattern) {
                Ok(pattern) => Ok(UriRewrite::Regex {
                    pattern,
                    substitution: path_only("substitution", substitution)
                        .map_err(|invalid| invalid.within("regex"))?,
                }),
                Err(error) => Err(Invalid::at("pattern", error).within("regex")),
            },
        })?;
        let authority: Option<Arc<str>> = optional("authority", authority)?;
        if let Some(authority) = &authority
            && split_authority(authority).is_none()
        {
            return Err(Invalid::at(
                "authority",
                "it is not a host with an optional port",
            ));
        }
        Ok(Self { uri, authority })
    }
}

/// Text that becomes a part of a path: it must not begin a query or end the request line.
fn path_only(name: &'static str, text: String) -> Result<Arc<str>> {
    let ends_it = |byte: u8| matches!(byte, 0..=b' ' | 0x7f | b'?' | b'#');
    if text.bytes().any(ends_it) {
        return Err(Invalid::at(
            name,
            "it contains a character that no path may contain",
        ));
    }
    Ok(text.into())
}
