//! Which fields of an object are read at all.
//!
//! Objects of Kubernetes are large, and there are thousands of them; what the mesh has no use for
//! is dropped while the bytes are read, before anything is kept of it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::{Map, Value};

mod shapes;

pub(super) use shapes::{Data, Mesh, Namespaces, Nodes, Pods, Services, Slices};

/// What to keep of a value.
#[derive(Debug)]
pub(super) enum Keep {
    /// All of it.
    All,
    /// These fields of an object.
    Fields(&'static [(&'static str, &'static Keep)]),
    /// All fields of an object but these.
    Without(&'static [&'static str]),
    /// The same of each item of a list.
    Each(&'static Keep),
}

impl Keep {
    /// What to keep of a field; `None` drops it.
    fn field(&self, name: &str) -> Option<&'static Self> {
        match self {
            Self::All => Some(&Self::All),
            Self::Fields(fields) => fields
                .iter()
                .find(|(field, _)| *field == name)
                .map(|(_, keep)| *keep),
            Self::Without(dropped) => (!dropped.contains(&name)).then_some(&Self::All),
            Self::Each(_) => None,
        }
    }

    const fn item(&self) -> &'static Self {
        match self {
            Self::Each(keep) => keep,
            Self::All | Self::Fields(_) | Self::Without(_) => &Self::All,
        }
    }
}

impl<'de> DeserializeSeed<'de> for &'static Keep {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Keep::All => Value::deserialize(deserializer),
            Keep::Fields(_) | Keep::Without(_) | Keep::Each(_) => {
                deserializer.deserialize_any(Sieve(self))
            }
        }
    }
}

/// What is not of the expected form passes as it is; whoever reads the object will say so.
struct Sieve(&'static Keep);

impl<'de> Visitor<'de> for Sieve {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            match self.0.field(&name) {
                Some(keep) => {
                    let value = entries.next_value_seed(keep)?;
                    kept.insert(name, value);
                }
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element_seed(self.0.item())? {
            kept.push(item);
        }
        Ok(Value::Array(kept))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// The form of the objects of one resource.
pub(super) trait Shape: Clone + fmt::Debug + Send + Sync + 'static {
    /// What to keep of each.
    const KEEP: &'static Keep;
}

/// An object, cut down while it was read.
///
/// It may be a Secret, so nothing of its content is ever printed.
#[derive(Clone)]
pub(super) struct Cut<S> {
    /// What was kept.
    pub(super) value: Value,
    shape: PhantomData<S>,
}

impl<S> Cut<S> {
    /// A text in the metadata; empty if there is none.
    pub(super) fn metadata(&self, field: &str) -> &str {
        let metadata = self.value.get("metadata");
        metadata
            .and_then(|metadata| metadata.get(field)?.as_str())
            .unwrap_or_default()
    }
}

impl<S> fmt::Debug for Cut<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.metadata("namespace");
        write!(f, "{namespace}/{}", self.metadata("name"))
    }
}

impl<'de, S: Shape> Deserialize<'de> for Cut<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            value: S::KEEP.deserialize(deserializer)?,
            shape: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests;
