//! What an update leaves as it is in the cluster, although the manifests say another thing.

use serde_json::Value;

use super::kubectl::{items, name_of, text_at};
use super::manifests::kind_of;

/// A Secret that is there stays as it is: it holds a key, or its owner's own authority.
pub(crate) fn secrets(objects: &mut Vec<Value>, live: &Value) {
    let of = |object: &Value| {
        let namespace = text_at(object, "/metadata/namespace").unwrap_or_default();
        (namespace.to_owned(), name_of(object).to_owned())
    };
    let there: Vec<_> = items(live)
        .filter(|object| kind_of(object) == "Secret")
        .map(of)
        .collect();
    objects.retain(|object| kind_of(object) != "Secret" || !there.contains(&of(object)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_never_written_over() {
        let secret = |namespace: &str| json!({"kind": "Secret", "metadata": {"name": "ca", "namespace": namespace}});
        let mut objects = vec![secret("a"), secret("b"), json!({"kind": "Service"})];
        secrets(&mut objects, &json!({"items": [secret("a")]}));
        assert_eq!(objects, [secret("b"), json!({"kind": "Service"})]);
    }
}
