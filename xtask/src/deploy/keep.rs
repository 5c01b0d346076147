//! What an update leaves as it is in the cluster, although the manifests say another thing.

use serde_json::Value;

use super::kubectl::{items, name_of, text_at};
use super::manifests::kind_of;

/// A validating webhook that the control plane has closed stays closed while it is updated.
pub(crate) fn failure_policy(objects: &mut [Value], live: &Value) {
    let webhooks = objects
        .iter_mut()
        .filter(|object| kind_of(object) == "ValidatingWebhookConfiguration");
    for object in webhooks {
        let policy = items(live)
            .find(|one| kind_of(one) == kind_of(object) && name_of(one) == name_of(object))
            .and_then(|one| text_at(one, "/webhooks/0/failurePolicy"));
        if let Some(policy) = policy
            && let Some(own) = object.pointer_mut("/webhooks/0/failurePolicy")
        {
            *own = policy.into();
        }
    }
}

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
    fn a_closed_webhook_is_not_opened_by_an_update() {
        let webhook = |policy: &str| {
            json!({"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "v"},
                   "webhooks": [{"failurePolicy": policy}]})
        };
        let mut objects = vec![webhook("Ignore")];
        failure_policy(&mut objects, &json!({"items": [webhook("Fail")]}));
        assert_eq!(objects[0]["webhooks"][0]["failurePolicy"], "Fail");
        let mut first = vec![webhook("Ignore")];
        failure_policy(&mut first, &Value::Null);
        assert_eq!(first[0]["webhooks"][0]["failurePolicy"], "Ignore");
    }

    #[test]
    fn a_key_is_never_written_over() {
        let secret = |namespace: &str| json!({"kind": "Secret", "metadata": {"name": "ca", "namespace": namespace}});
        let mut objects = vec![secret("a"), secret("b"), json!({"kind": "Service"})];
        secrets(&mut objects, &json!({"items": [secret("a")]}));
        assert_eq!(objects, [secret("b"), json!({"kind": "Service"})]);
    }
}
