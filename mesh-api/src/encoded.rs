//! A resource, encoded once and pushed to many proxies.

use std::sync::Arc;

use bytes::Bytes;

use crate::convert;
use crate::name::ResourceName;
use crate::proto;
use crate::resource::Resource;
use crate::version::Version;

/// A resource ready to be put on the wire; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Its name.
    pub name: ResourceName,
    /// Its version.
    pub version: Version,
    /// Its encoded body.
    pub body: Bytes,
    /// What it refers to, in name order.
    pub references: Arc<[ResourceName]>,
}

impl Encoded {
    /// Encodes a resource.
    pub fn new(resource: &Resource) -> Self {
        let body = convert::encode(resource);
        Self {
            name: resource.name(),
            version: Version::of_body(&body),
            body,
            references: resource.references().into(),
        }
    }

    /// The message that carries it; shares the body.
    pub fn to_wire(&self) -> proto::Resource {
        proto::Resource {
            name: self.name.to_string(),
            version: self.version.0,
            body: self.body.clone(),
        }
    }
}
