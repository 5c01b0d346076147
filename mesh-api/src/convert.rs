//! Proto to domain and back: the one place where what came over the wire becomes a value, and
//! where everything wrong with it is found.
//!
//! A mistake is a [`Rejection`] with the path of the field, never a guess. One kind of resource is
//! an exception: a policy that cannot be decoded becomes one that refuses everything, since
//! keeping an older, more permissive one would fail open.

mod cluster;
mod endpoint;
mod field;
mod listener;
mod policy;
mod route;
mod scalar;
mod settings;
mod workload;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::error::{RejectedName, Rejection};
use crate::limits::{MAX_NAME_BYTES, MAX_RESOURCE_BYTES};
use crate::name::ResourceName;
use crate::proto;
use crate::resource::Resource;
use crate::snapshot::{Delta, Entry};
use crate::version::Version;
use field::Invalid;

/// The canonical encoding of a resource's body: equal resources give equal bytes.
pub fn encode(resource: &Resource) -> Bytes {
    let bytes = match resource {
        Resource::Settings(settings) => settings::encode(settings).encode_to_vec(),
        Resource::Workload(workload) => workload::encode(workload).encode_to_vec(),
        Resource::Policy(policy) => policy::encode(policy).encode_to_vec(),
        Resource::Endpoints(set) => endpoint::encode(set).encode_to_vec(),
        Resource::Cluster(cluster) => cluster::encode(cluster).encode_to_vec(),
        Resource::Routes(host) => route::encode(host).encode_to_vec(),
        Resource::Listener(listener) => listener::encode(listener).encode_to_vec(),
    };
    bytes.into()
}

/// The resource a message carries, with the version the message gives it.
pub fn decode(message: &proto::Resource) -> Result<Entry, Rejection> {
    let proto::Resource {
        name: text,
        version,
        body,
    } = message;
    let version = Version(*version);
    let name = match name(text) {
        Ok(name) => name,
        Err(reason) => {
            let unreadable = RejectedName::Unreadable(text.chars().take(1000).collect());
            return Err(Rejection::new(unreadable, version, "name", reason));
        }
    };
    let decoded = checked_body(&name, version, body);
    let resource = match (decoded, name) {
        (Ok(resource), _) => resource,
        (Err(invalid), ResourceName::Policy(name)) => {
            Resource::Policy(Arc::new(policy::unreadable(name, &invalid)))
        }
        (Err(invalid), name) => {
            let (path, reason) = (invalid.path(), invalid.reason());
            return Err(Rejection::new(name, version, path, reason));
        }
    };
    Ok(Entry { version, resource })
}

/// What the resources and removals of a whole push say, or everything that is wrong with them.
pub fn decode_delta(
    resources: &[proto::Resource],
    removed: &[String],
) -> Result<Delta, Vec<Rejection>> {
    let mut delta = Delta::default();
    let mut rejections = Vec::new();
    for message in resources {
        match decode(message) {
            Ok(entry) => delta.set.push(entry),
            Err(rejection) => rejections.push(rejection),
        }
    }
    for text in removed {
        match name(text) {
            Ok(name) => delta.removed.push(name),
            Err(reason) => {
                let unreadable = RejectedName::Unreadable(text.chars().take(1000).collect());
                rejections.push(Rejection::new(unreadable, Version(0), "removed", reason));
            }
        }
    }
    if rejections.is_empty() {
        Ok(delta)
    } else {
        Err(rejections)
    }
}

fn name(text: &str) -> Result<ResourceName, String> {
    if text.len() > MAX_NAME_BYTES {
        return Err(format!(
            "the name has {} bytes; at most {MAX_NAME_BYTES} are allowed",
            text.len()
        ));
    }
    text.parse::<ResourceName>()
        .map_err(|error| error.to_string())
}

/// The body, if it is sound and is what the version says.
fn checked_body(name: &ResourceName, version: Version, body: &Bytes) -> field::Result<Resource> {
    if body.len() > MAX_RESOURCE_BYTES {
        return Err(Invalid::new(format_args!(
            "the body has {} bytes; at most {MAX_RESOURCE_BYTES} are allowed",
            body.len()
        )));
    }
    let resource = decoded_body(name, body)?;
    // Last, since a mistake with a path says more than a hash that differs.
    let computed = Version::of_body(body);
    if computed != version {
        return Err(Invalid::new(format_args!(
            "the version of this body is {computed}, not {version}"
        )));
    }
    Ok(resource)
}

fn decoded_body(name: &ResourceName, body: &Bytes) -> field::Result<Resource> {
    Ok(match name {
        ResourceName::Settings(name) => settings::decode(*name, message(body)?)?.into(),
        ResourceName::Workload(name) => workload::decode(*name, message(body)?)?.into(),
        ResourceName::Policy(name) => policy::decode(name.clone(), message(body)?)?.into(),
        ResourceName::Endpoints(name) => endpoint::decode(name.clone(), message(body)?)?.into(),
        ResourceName::Cluster(name) => cluster::decode(name.clone(), message(body)?)?.into(),
        ResourceName::Routes(name) => route::decode(name.clone(), message(body)?)?.into(),
        ResourceName::Listener(name) => listener::decode(name.clone(), message(body)?)?.into(),
    })
}

fn message<M: Message + Default>(body: &Bytes) -> field::Result<M> {
    M::decode(body.clone())
        .map_err(|error| Invalid::new(format_args!("the body cannot be read: {error}")))
}

impl From<&Rejection> for proto::Rejection {
    fn from(rejection: &Rejection) -> Self {
        let Rejection {
            resource,
            version,
            field,
            reason,
        } = rejection;
        Self {
            name: resource.to_string(),
            version: version.0,
            field: field.clone(),
            reason: reason.clone(),
        }
    }
}

impl From<proto::Rejection> for Rejection {
    fn from(message: proto::Rejection) -> Self {
        let proto::Rejection {
            name,
            version,
            field,
            reason,
        } = message;
        Self::new(RejectedName::parse(&name), Version(version), field, reason)
    }
}

#[cfg(test)]
mod tests;
