//! What in a pod goes past its sidecar. What can only be a mistake is refused, what a pod may have
//! its reasons for is told.
//!
//! This keeps mistakes out and is no wall: a container that runs as root may become the proxy's
//! user by itself. What protects a workload from others is its own sidecar, not that of the others.

use mesh_api::reserved::{
    ADMIN_PORT, HEALTH_PORT, INBOUND_PORT, METRICS_PORT, OUTBOUND_PORT, POD_PORT,
};
use serde_json::Value;

use crate::draft::{self, Draft};
use crate::refusal::Refusal;

/// The proxy's user and group, whose connections are not captured.
const EXEMPT: u64 = 1337;
/// A name of the mesh's that this injector gives to no container: a user's own under it would be
/// taken for ours by people and policies.
const RESERVED: &str = "istio-validation";

/// Where the proxy listens in the network that all containers of a pod share.
const LISTENS: [u16; 6] = [
    ADMIN_PORT,
    OUTBOUND_PORT,
    INBOUND_PORT,
    POD_PORT,
    HEALTH_PORT,
    METRICS_PORT,
];

/// Refuses a container that says it listens where the proxy does: whichever comes second would
/// fail with "address already in use".
pub(crate) fn refuse_ports(draft: &Draft) -> Result<(), Refusal> {
    let all = draft.init_containers.iter().chain(&draft.containers);
    let ports = all.flat_map(|one| {
        draft::elements(one, "ports")
            .iter()
            .map(move |port| (one, port))
    });
    for (container, port) in ports {
        let number = port.get("containerPort").and_then(Value::as_u64);
        let taken = LISTENS.iter().any(|own| number == Some(u64::from(*own)));
        if taken && matches!(draft::text(port, "protocol"), "" | "TCP") {
            return Err(Refusal::new(format!(
                "container {}: containerPort {} is the proxy's own in every pod of the mesh; let \
                 it listen at another port, or label the pod sidecar.istio.io/inject=false",
                draft::name(container),
                number.unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// Refuses what can only be a mistake.
pub(crate) fn refuse(draft: &Draft) -> Result<(), Refusal> {
    let mut all = draft.init_containers.iter().chain(&draft.containers);
    if all.any(|one| draft::name(one) == RESERVED) {
        return Err(Refusal::new(format!(
            "container {RESERVED} has a name of the mesh's; rename it, or remove what another mesh \
             left in the pod"
        )));
    }
    exempt_user(draft)
}

/// Applications that run as the proxy's user or group would bypass the mesh unseen. Init containers
/// that end may: that is how one reaches the network without the proxy on purpose.
fn exempt_user(draft: &Draft) -> Result<(), Refusal> {
    let of_pod = draft.spec.get("securityContext");
    for (field, what) in [("runAsUser", "user"), ("runAsGroup", "group")] {
        let said = |context: Option<&Value>| context?.get(field)?.as_u64();
        for (kind, container) in lasting(draft) {
            let own = said(container.get("securityContext"));
            if own.or_else(|| said(of_pod)) == Some(EXEMPT) {
                let name = draft::name(container);
                return Err(Refusal::new(format!(
                    "{kind} {name}: {field} {EXEMPT} is the proxy's own {what}, whose connections \
                     are not captured; run it as another {what}, or label the pod \
                     sidecar.istio.io/inject=false"
                )));
            }
        }
    }
    Ok(())
}

/// The containers that run beside the application, and what they are called.
fn lasting(draft: &Draft) -> impl Iterator<Item = (&'static str, &Value)> {
    let restarted = draft
        .init_containers
        .iter()
        .filter(|one| draft::text(one, "restartPolicy") == "Always")
        .map(|one| ("restartable init container", one));
    let ephemeral = draft.spec.get("ephemeralContainers");
    let ephemeral = ephemeral.and_then(Value::as_array).into_iter().flatten();
    let plain = draft.containers.iter().map(|one| ("container", one));
    plain
        .chain(restarted)
        .chain(ephemeral.map(|one| ("ephemeral container", one)))
}

/// What a pod has that can take it past its sidecar.
pub(crate) fn warnings(draft: &Draft) -> Vec<String> {
    let all = draft.init_containers.iter().chain(&draft.containers);
    let mut warnings: Vec<String> = all
        .filter(|container| may_rewrite_rules(container))
        .map(|container| {
            format!(
                "container {} may change the pod's network (privileged or NET_ADMIN), and with it \
                 the rules that lead its connections to the proxy",
                draft::name(container)
            )
        })
        .collect();
    if draft.spec.get("shareProcessNamespace") == Some(&Value::Bool(true)) {
        warnings.push(
            "shareProcessNamespace: containers of this pod see the proxy's process, and as root or \
             its user what it knows"
                .to_owned(),
        );
    }
    warnings
}

fn may_rewrite_rules(container: &Value) -> bool {
    let Some(context) = container.get("securityContext") else {
        return false;
    };
    let added = context
        .pointer("/capabilities/add")
        .and_then(Value::as_array);
    let added = added.into_iter().flatten().filter_map(Value::as_str);
    let named = ["NET_ADMIN", "SYS_ADMIN", "ALL"];
    context.get("privileged") == Some(&Value::Bool(true))
        || added
            .map(|one| one.strip_prefix("CAP_").unwrap_or(one))
            .any(|one| named.contains(&one))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(spec: &Value) -> Draft {
        Draft::of(&json!({ "spec": spec })).unwrap()
    }

    fn refused(spec: &Value) -> String {
        refuse(&of(spec)).unwrap_err().to_string()
    }

    #[test]
    fn whatever_stays_and_runs_as_the_proxy_is_refused() {
        let own = json!({ "runAsUser": 1337 });
        let mesh = json!({ "name": "x", "securityContext": own });
        let lasting = json!({ "name": "x", "restartPolicy": "Always", "securityContext": own });
        let group = json!({ "name": "x", "securityContext": { "runAsGroup": 1337 } });
        for (spec, words) in [
            (
                json!({ "containers": [mesh] }),
                "container x: runAsUser 1337",
            ),
            (
                json!({ "containers": [group] }),
                "container x: runAsGroup 1337",
            ),
            (
                json!({ "initContainers": [lasting] }),
                "restartable init container x: runAsUser",
            ),
            (
                json!({ "securityContext": own, "initContainers":
                    [{ "name": "x", "restartPolicy": "Always" }] }),
                "restartable init container x: runAsUser",
            ),
            (
                json!({ "ephemeralContainers": [mesh] }),
                "ephemeral container x: runAsUser",
            ),
        ] {
            let refusal = refused(&spec);
            assert!(refusal.contains(words), "{refusal}");
        }
        // One that ends may, and so may what says another user than the pod.
        let other = json!({ "name": "x", "securityContext": { "runAsUser": 1 } });
        let fine = json!({
            "securityContext": own, "initContainers": [mesh], "containers": [other],
        });
        refuse(&of(&fine)).unwrap();
    }

    #[test]
    fn the_proxys_ports_are_not_for_others() {
        let with = |port: Value| of(&json!({ "containers": [{ "name": "x", "ports": [port] }] }));
        for port in LISTENS {
            let draft = with(json!({ "containerPort": port }));
            let refusal = refuse_ports(&draft).unwrap_err().to_string();
            assert!(
                refusal.contains(&format!("x: containerPort {port}")),
                "{refusal}"
            );
        }
        for fine in [
            json!({ "containerPort": 15_001, "protocol": "UDP" }),
            json!({ "containerPort": 15_000 + 22 }),
        ] {
            refuse_ports(&with(fine)).unwrap();
        }
    }

    #[test]
    fn names_of_the_mesh_are_not_for_others() {
        for list in ["initContainers", "containers"] {
            let refusal = refused(&json!({ list: [{ "name": "istio-validation" }] }));
            assert!(refusal.contains("rename it"), "{refusal}");
        }
    }

    #[test]
    fn what_could_undo_the_capture_is_told() {
        let with = |context: Value| json!({ "name": "x", "securityContext": context });
        for context in [
            json!({ "privileged": true }),
            json!({ "capabilities": { "add": ["NET_ADMIN"] } }),
            json!({ "capabilities": { "add": ["CAP_NET_ADMIN"] } }),
        ] {
            let found = warnings(&of(&json!({ "initContainers": [with(context)] })));
            assert!(found[0].contains("container x may change"), "{found:?}");
        }
        let shared = of(&json!({ "shareProcessNamespace": true }));
        assert!(warnings(&shared)[0].contains("proxy's process"));
        let plain = with(json!({ "capabilities": { "add": ["NET_BIND_SERVICE"] } }));
        let plain = of(&json!({ "containers": [plain, { "name": "y" }] }));
        assert_eq!(warnings(&plain), Vec::<String>::new());
    }
}
