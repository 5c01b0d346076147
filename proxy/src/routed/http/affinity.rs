//! What of a request a consistently hashed cluster goes by.

use http::header::{self, HeaderValue};
use http::request::Parts;
use mesh_api::cluster::{Affinity, ConsistentHash, LoadBalancer};

use super::Entry;
use crate::upstream::ClusterState;
use crate::upstream::ring::hash;

/// The hash of what the cluster goes by, and the cookie that keeps a new client where it is.
#[derive(Debug, Default)]
pub(super) struct Affine {
    pub(super) key: Option<u64>,
    pub(super) cookie: Option<HeaderValue>,
}

/// What this request is placed by.
pub(super) fn of(state: &ClusterState, entry: &Entry, parts: &Parts) -> Affine {
    let LoadBalancer::ConsistentHash(ConsistentHash { affinity, .. }) = &state.cluster().balancer
    else {
        return Affine::default();
    };
    let key = match affinity {
        Affinity::Header(name) => parts
            .headers
            .get(&**name)
            .map(|value| hash(value.as_bytes())),
        Affinity::SourceIp => {
            let address = entry.client.downstream.remote.ip().to_canonical();
            Some(hash(address.to_string().as_bytes()))
        }
        Affinity::QueryParameter(name) => parts
            .uri
            .query()
            .and_then(|query| query.split('&').find_map(|pair| named(pair, name)))
            .map(|value| hash(value.as_bytes())),
        Affinity::Cookie { name, .. } => {
            let found = parts
                .headers
                .get_all(header::COOKIE)
                .iter()
                .find_map(|line| {
                    let mut pairs = line.to_str().ok()?.split(';');
                    pairs.find_map(|pair| {
                        named(pair.trim(), name).map(|value| hash(value.as_bytes()))
                    })
                });
            match found {
                Some(key) => Some(key),
                None => return new_cookie(affinity),
            }
        }
    };
    Affine { key, cookie: None }
}

fn named<'p>(pair: &'p str, name: &str) -> Option<&'p str> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    (key == name).then_some(value)
}

/// A cookie for a client that has none, where the policy says how long it lives.
fn new_cookie(affinity: &Affinity) -> Affine {
    let Affinity::Cookie {
        name,
        path,
        ttl: Some(ttl),
        attributes,
    } = affinity
    else {
        return Affine::default();
    };
    let value = format!("{:016x}", rand::random::<u64>());
    let key = Some(hash(value.as_bytes()));
    let age = if ttl.is_zero() {
        String::new()
    } else {
        format!("; Max-Age={}", ttl.as_secs())
    };
    let path = path
        .as_ref()
        .map_or_else(String::new, |path| format!("; Path={path}"));
    let mut text = format!("{name}={value}{age}{path}");
    for attribute in attributes {
        text.push_str("; ");
        text.push_str(&attribute.name);
        if !attribute.value.is_empty() {
            text.push('=');
            text.push_str(&attribute.value);
        }
    }
    text.push_str("; HttpOnly");
    Affine {
        key,
        cookie: HeaderValue::from_str(&text).ok(),
    }
}
