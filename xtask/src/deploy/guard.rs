//! The policies that hold the mesh's own service accounts to less than RBAC can say, and clusters
//! that do not know such policies.

use anyhow::Result;
use serde_json::Value;

use super::kubectl::{Kubectl, SHORT, parse, text_at};
use super::manifests::kind_of;

/// The kinds of them, for kubectl.
pub(crate) const KINDS: &str = "validatingadmissionpolicies,validatingadmissionpolicybindings";
/// Where an API server says what it knows.
const PATH: &str = "/apis/admissionregistration.k8s.io/v1";

/// Whether the cluster knows such policies: Kubernetes 1.30 and newer do.
pub(crate) fn is_known(kubectl: &Kubectl) -> Result<bool> {
    let text = kubectl.succeed(&["get", "--raw", PATH], None, SHORT)?;
    let known = parse(&text)?;
    let resources = known.get("resources").and_then(Value::as_array);
    Ok(resources.into_iter().flatten().any(|resource| {
        text_at(resource, "/name").is_some_and(|name| KINDS.split(',').any(|kind| kind == name))
    }))
}

/// Leaves the policies out where the cluster does not know them; then says what that means.
pub(crate) fn leave_out_unknown(
    kubectl: &Kubectl,
    objects: &mut Vec<Value>,
) -> Result<Option<&'static str>> {
    if is_known(kubectl)? {
        return Ok(None);
    }
    objects.retain(|object| !kind_of(object).starts_with("ValidatingAdmissionPolic"));
    Ok(Some(
        "this cluster is older than Kubernetes 1.30 and knows no ValidatingAdmissionPolicy: \
         istio-webhook-guard and istio-injection-advice are left out. Whoever breaks into istiod or the injector could change \
         what the mesh's webhooks are asked about (SECURITY.md says what that gives)",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(resources: &str) -> Kubectl {
        let script = format!(r#"echo '{{"resources": [{resources}]}}'"#);
        Kubectl::new("sh", vec!["-c".into(), script.into(), "kubectl".into()])
    }

    fn left(kubectl: &Kubectl) -> (usize, bool) {
        let mut objects = vec![
            json!({"kind": "ValidatingAdmissionPolicy"}),
            json!({"kind": "ValidatingAdmissionPolicyBinding"}),
            json!({"kind": "ValidatingWebhookConfiguration"}),
        ];
        let told = leave_out_unknown(kubectl, &mut objects).unwrap();
        (objects.len(), told.is_some())
    }

    #[test]
    fn policies_stay_where_the_cluster_knows_them() {
        let old = r#"{"name": "mutatingwebhookconfigurations"}"#;
        let new = r#"{"name": "validatingadmissionpolicies"}"#;
        assert_eq!(left(&cluster(&format!("{old}, {new}"))), (3, false));
        assert_eq!(left(&cluster(old)), (1, true));
    }
}
