//! The tools of conversion: an error that knows the path of its field, and one way to convert a
//! single, an optional, a required and a repeated field.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

/// A field whose value cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// From the innermost segment to the outermost; an index belongs to the segment after it.
    segments: Vec<Segment>,
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Field(&'static str),
    Index(usize),
}

pub(crate) type Result<T> = std::result::Result<T, Invalid>;

impl Invalid {
    /// An error at the place where it is made; callers add where that is.
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self {
            segments: Vec::new(),
            reason: reason.to_string(),
        }
    }

    /// An error in a field of the message at hand.
    pub(crate) fn at(field: &'static str, reason: impl fmt::Display) -> Self {
        Self::new(reason).within(field)
    }

    pub(crate) fn within(mut self, field: &'static str) -> Self {
        self.segments.push(Segment::Field(field));
        self
    }

    pub(crate) fn within_item(mut self, field: &'static str, index: usize) -> Self {
        self.segments.push(Segment::Index(index));
        self.segments.push(Segment::Field(field));
        self
    }

    /// The path from the outside in: `rules[2].action.forward.timeout`.
    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.segments.iter().rev() {
            let written = match segment {
                Segment::Field(field) if path.is_empty() => write!(path, "{field}"),
                Segment::Field(field) => write!(path, ".{field}"),
                Segment::Index(index) => write!(path, "[{index}]"),
            };
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        path
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

/// A value and the form it travels in.
pub(crate) trait Wire: Sized {
    /// The form it travels in.
    type Proto;

    fn to_proto(&self) -> Self::Proto;

    fn from_proto(proto: Self::Proto) -> Result<Self>;
}

/// A value that is always there.
pub(crate) fn field<T: Wire>(name: &'static str, proto: T::Proto) -> Result<T> {
    T::from_proto(proto).map_err(|invalid| invalid.within(name))
}

const MISSING: &str = "it is missing, or of a kind not known here";

/// A message or oneof that must be there.
pub(crate) fn required<T: Wire>(name: &'static str, proto: Option<T::Proto>) -> Result<T> {
    match proto {
        Some(proto) => field(name, proto),
        None => Err(Invalid::at(name, MISSING)),
    }
}

/// A oneof that must be there and is not a value of its own.
pub(crate) fn member<P, T>(
    name: &'static str,
    proto: Option<P>,
    convert: impl FnOnce(P) -> Result<T>,
) -> Result<T> {
    match proto {
        Some(proto) => convert(proto).map_err(|invalid| invalid.within(name)),
        None => Err(Invalid::at(name, MISSING)),
    }
}

/// A value that may be absent.
pub(crate) fn optional<T: Wire>(name: &'static str, proto: Option<T::Proto>) -> Result<Option<T>> {
    proto.map(|proto| field(name, proto)).transpose()
}

/// Any number of values.
pub(crate) fn list<T: Wire>(name: &'static str, protos: Vec<T::Proto>) -> Result<Vec<T>> {
    protos
        .into_iter()
        .enumerate()
        .map(|(at, proto)| T::from_proto(proto).map_err(|invalid| invalid.within_item(name, at)))
        .collect()
}

pub(crate) fn list_to_proto<'a, T: Wire + 'a>(
    values: impl IntoIterator<Item = &'a T>,
) -> Vec<T::Proto> {
    values.into_iter().map(Wire::to_proto).collect()
}

/// Text that must say something.
pub(crate) fn non_empty(name: &'static str, text: String) -> Result<Arc<str>> {
    if text.is_empty() {
        return Err(Invalid::at(name, "it must not be empty"));
    }
    Ok(text.into())
}

/// An enum without content: its variants one to one, zero and unknown numbers refused.
macro_rules! wire_enum {
    ($domain:ty, $proto:ty, { $($variant:ident),* $(,)? }) => {
        impl $crate::convert::field::Wire for $domain {
            type Proto = i32;

            fn to_proto(&self) -> i32 {
                match self {
                    $(Self::$variant => <$proto>::$variant.into(),)*
                }
            }

            fn from_proto(proto: i32) -> $crate::convert::field::Result<Self> {
                match <$proto>::try_from(proto) {
                    $(Ok(<$proto>::$variant) => Ok(Self::$variant),)*
                    Ok(<$proto>::Unspecified) => Err($crate::convert::field::Invalid::new(
                        "it is missing",
                    )),
                    Err(_) => Err($crate::convert::field::Invalid::new(format_args!(
                        "{proto} is not a value known here"
                    ))),
                }
            }
        }
    };
}

pub(crate) use wire_enum;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_from_the_outside_in() {
        let invalid = Invalid::at("timeout", "no")
            .within("forward")
            .within("action")
            .within_item("rules", 2);
        assert_eq!(invalid.path(), "rules[2].action.forward.timeout");
    }
}
