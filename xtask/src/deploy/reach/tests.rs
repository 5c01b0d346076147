//! The parts of the mesh are apart in every profile; the model sees the ways it must see; and
//! SECURITY.md says what it computes.

use std::fs;
use std::path::Path;

use super::*;
use crate::deploy::manifests::{read, tests::rendered};
use crate::deploy::target;

const ISTIOD: &str = "istio-system/istiod";
const INJECTOR: &str = "istio-injector/istio-sidecar-injector";

/// What this account reaches, as texts.
fn reached(reach: &Reach, account: &str) -> Vec<String> {
    let found = reach.iter().find(|(one, _)| one.to_string() == account);
    let (_, targets) = found.unwrap_or_else(|| panic!("no account {account}"));
    targets.keys().map(ToString::to_string).collect()
}

#[test]
fn no_account_reaches_another_but_those_it_is_there_for() {
    // What a profile lacks of the largest one is a gateway and nothing else.
    let layouts: [(&str, &[&str]); 6] = [
        ("minimal", &[]),
        ("default", &[]),
        ("demo", &[]),
        ("demo", &["high-availability"]),
        ("demo", &["autoscaling"]),
        ("demo", &["high-availability", "inject-by-default"]),
    ];
    for (profile, components) in layouts {
        let Some(objects) = rendered(profile, components) else {
            return;
        };
        let reach = of(&objects);
        assert!(reach.len() >= 2, "{profile}");
        for account in reach.keys().map(ToString::to_string) {
            let reached = reached(&reach, &account);
            // It configures gateways and proxies: that is what it is there for.
            let gateways =
                |one: &String| one.starts_with("`istio-system/istio-") && one.ends_with("gateway`");
            let allowed = |one: &String| match account.as_str() {
                ISTIOD => *one == Target::Proxies.to_string() || gateways(one),
                INJECTOR => *one == Target::Pods.to_string(),
                _ => false,
            };
            let surprise: Vec<&String> = reached.iter().filter(|one| !allowed(one)).collect();
            assert!(
                surprise.is_empty(),
                "{profile} {components:?}: {account} reaches {surprise:?}:\n{}",
                table(&reach)
            );
        }
        assert!(!reached(&reach, ISTIOD).is_empty());
        assert!(!reached(&reach, INJECTOR).is_empty());
    }
}

#[test]
fn a_layout_in_which_they_were_not_apart_is_told() {
    let reach = of(&read(include_str!("former.yaml")).unwrap());
    let injector = Account {
        namespace: "istio-system".to_owned(),
        name: "istio-sidecar-injector".to_owned(),
    };
    let istiod = reach.iter().find(|(one, _)| one.name == "istiod").unwrap();
    let ways = &istiod.1[&Target::Account(injector)];
    for way in [
        "creates Secrets and reads them",
        "ConfigMap `istio-system/istio-sidecar-injector`",
        "ConfigMap `istio-system/istio`",
        "reads its key, Secret `istio-system/istio-sidecar-injector-ca`",
    ] {
        let told = ways.iter().any(|one| one.contains(way));
        assert!(told, "{way} in {ways:?}");
    }
    // And the other way round, and everything through webhooks.
    let everything = Target::Cluster.to_string();
    for account in [ISTIOD, "istio-system/istio-sidecar-injector"] {
        assert!(reached(&reach, account).contains(&everything), "{account}");
    }
}

/// Two accounts, of which the first has one rule.
fn with(kind: &str, rule: &str) -> Reach {
    let text = format!(
        "kind: ServiceAccount
metadata: {{name: one, namespace: a}}
---
kind: ServiceAccount
metadata: {{name: other, namespace: b}}
---
kind: Secret
metadata: {{name: key, namespace: b}}
---
kind: Role
metadata: {{name: other, namespace: b}}
rules:
- {{apiGroups: [''], resources: [secrets], resourceNames: [key], verbs: [get, patch]}}
- {{apiGroups: [''], resources: [configmaps], resourceNames: [settings], verbs: [get]}}
---
kind: RoleBinding
metadata: {{name: other, namespace: b}}
roleRef: {{kind: Role, name: other}}
subjects: [{{kind: ServiceAccount, name: other, namespace: b}}]
---
kind: {kind}
metadata: {{name: one, namespace: b}}
rules:
- {rule}
---
kind: {kind}Binding
metadata: {{name: one, namespace: b}}
roleRef: {{kind: {kind}, name: one}}
subjects: [{{kind: ServiceAccount, name: one, namespace: a}}]
"
    );
    of(&read(&text).unwrap())
}

/// A rule of a Role beside the other account, or of a `ClusterRole` where it says so; and what whoever
/// has it reaches: the other account, new pods, proxies, the cluster, by their first letters.
const WAYS: &str = "
R, [''], [pods], [create]: o
R, [''], [pods], [get, list]:
R, [''], [pods/exec], [create]: o
R, [apps], [deployments], [patch]: o
R, [''], [serviceaccounts/token], [create]: o
R, [''], [secrets], [create]:
R, [''], [secrets], [create, list]: o
R, [''], [secrets], [create, get], [new]: o
R, [''], [secrets], [create], [key]:
R, [''], [secrets], [get], [key]: o
R, [''], [secrets], [patch], [key]: o
R, [''], [configmaps], [create], [settings]: o
R, [''], [configmaps], [create], [else]:
C, [''], [configmaps], [create]: o x
C, [batch], [jobs], [create]: o p
C, [rbac.authorization.k8s.io], [clusterroles], [escalate]: c
C, [''], [users], [impersonate]: c
C, [admissionregistration.k8s.io], [validatingwebhookconfigurations], [patch], [mine]: c
C, [''], [nodes/proxy], [get]: c
C, [authentication.k8s.io], [tokenreviews], [create]:
C, ['*'], ['*'], ['*']: o p x c
";

#[test]
fn every_way_from_account_to_account_is_seen() {
    for line in WAYS.lines().filter(|line| !line.is_empty()) {
        let (rule, expected) = line.rsplit_once(':').unwrap();
        let mut parts = rule.split(", [");
        let kind = match parts.next() {
            Some("R") => "Role",
            _ => "ClusterRole",
        };
        let keys = ["apiGroups", "resources", "verbs", "resourceNames"];
        let fields = keys.iter().zip(parts);
        let fields: Vec<String> = fields
            .map(|(key, list)| format!("{key}: [{list}"))
            .collect();
        let reach = with(kind, &format!("{{{}}}", fields.join(", ")));
        let names: Vec<String> = expected
            .split_whitespace()
            .map(|letter| match letter {
                "o" => "`b/other`".to_owned(),
                "p" => Target::Pods.to_string(),
                "x" => Target::Proxies.to_string(),
                _ => Target::Cluster.to_string(),
            })
            .collect();
        assert_eq!(reached(&reach, "a/one"), names, "{line}");
    }
}

#[test]
fn security_md_says_what_is_computed() {
    const BEGIN: &str = "<!-- computed from the manifests -->\n";
    const END: &str = "<!-- end -->";
    let Some(objects) = rendered("demo", &[]) else {
        return;
    };
    let path = target::manifests();
    let path = path.parent().unwrap_or(Path::new(".")).join("SECURITY.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (said, after) = rest.split_once(END).unwrap();
    let computed = format!("\n{}\n\n", table(&of(&objects)));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{computed}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        said, computed,
        "run this test with UPDATE_GOLDEN=1, and read the difference"
    );
}
