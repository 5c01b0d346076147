//! A policy in words: which ports refuse, and which are open.

use std::collections::BTreeMap;

use mesh_api::policy::{Policy, PolicyRule};
use mesh_api::units::Port;

/// How a port refuses.
const HOW: &str = "HTTP is answered 503, other connections are closed";

/// What becomes of the ports of a workload with this policy.
pub(super) fn outcome(policy: &Policy) -> String {
    match &policy.elsewhere {
        PolicyRule::Refuse { .. } => {
            let but = match listed(&policy.ports, |rule| matches!(rule, PolicyRule::Allow)) {
                Some(open) => format!(" but {open}"),
                None => String::new(),
            };
            format!("what it protects refuses everything{but}: {HOW}")
        }
        PolicyRule::Allow => {
            match listed(&policy.ports, |rule| {
                matches!(rule, PolicyRule::Refuse { .. })
            }) {
                Some(closed) => format!(
                    "what it protects refuses everything at {closed}: {HOW}; its other ports are \
                     open"
                ),
                None => "what it protects is open".to_owned(),
            }
        }
    }
}

fn listed(
    ports: &BTreeMap<Port, PolicyRule>,
    wanted: impl Fn(&PolicyRule) -> bool,
) -> Option<String> {
    let found: Vec<String> = ports
        .iter()
        .filter(|(_, rule)| wanted(rule))
        .map(|(port, _)| port.to_string())
        .collect();
    let (last, others) = found.split_last()?;
    Some(match others {
        [] => format!("port {last}"),
        _ => format!("ports {} and {last}", others.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use mesh_api::name::PolicyName;

    use super::*;

    #[test]
    fn words_are_those_of_the_policy() {
        let refuse = || PolicyRule::Refuse { reason: "r".into() };
        let policy = |elsewhere, ports: &[(u16, PolicyRule)]| {
            let ports = ports.iter().cloned();
            outcome(&Policy {
                name: PolicyName("p".into()),
                elsewhere,
                ports: ports
                    .map(|(port, rule)| (Port::new(port).unwrap(), rule))
                    .collect(),
            })
        };
        let open = PolicyRule::Allow;
        let said = policy(refuse(), &[]);
        assert!(said.contains("refuses everything: HTTP"), "{said}");
        let said = policy(
            refuse(),
            &[(1, open.clone()), (2, refuse()), (3, open.clone())],
        );
        assert!(said.contains("everything but ports 1 and 3:"), "{said}");
        let said = policy(open.clone(), &[(8443, refuse()), (9090, open.clone())]);
        assert!(said.contains("everything at port 8443:"), "{said}");
        assert!(said.ends_with("its other ports are open"), "{said}");
        assert_eq!(policy(open, &[]), "what it protects is open");
    }
}
