//! The ways by which one account becomes another, or gets what another obeys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rights::{Place, Rights, Which};
use super::{Account, Target, accounts, kind_of, list, name_of, namespace_of, text_at, texts};

const READ: &[&str] = &["get", "list", "watch"];
const CHANGE: &[&str] = &["update", "patch"];
const WRITE: &[&str] = &["create", "update", "patch"];
const ADMISSION: &str = "admissionregistration.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
/// The ConfigMap from which every proxy learns whom to trust.
const ROOTS: &str = "istio-ca-root-cert";

/// Rights that are rights to everything, wherever they are granted: verbs, group, resources.
const EVERYTHING: &[(&[&str], &str, &[&str])] = &[
    (
        &["create", "update", "patch", "bind", "escalate"],
        RBAC,
        &[
            "clusterroles",
            "clusterrolebindings",
            "roles",
            "rolebindings",
        ],
    ),
    (
        &["impersonate"],
        "",
        &["users", "groups", "serviceaccounts"],
    ),
    (
        WRITE,
        ADMISSION,
        &[
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
        ],
    ),
    (
        WRITE,
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
    ),
    (WRITE, "apiregistration.k8s.io", &["apiservices"]),
    // Labels of a namespace decide about injection and pod security.
    (WRITE, "", &["namespaces", "persistentvolumes", "nodes"]),
    (&["get", "create"], "", &["nodes/proxy"]),
    (
        &["update", "patch", "approve", "sign"],
        "certificates.k8s.io",
        &["certificatesigningrequests/approval", "signers"],
    ),
];

/// Rights in a namespace that are rights to be any account in it: verbs, group, resources.
const ANY_ACCOUNT: &[(&[&str], &str, &[&str])] = &[
    (WRITE, "", &["pods", "replicationcontrollers"]),
    (
        WRITE,
        "apps",
        &["deployments", "statefulsets", "daemonsets", "replicasets"],
    ),
    (WRITE, "batch", &["jobs", "cronjobs"]),
    (
        &["get", "create"],
        "",
        &["pods/exec", "pods/attach", "pods/portforward", "pods/proxy"],
    ),
    (CHANGE, "", &["pods/ephemeralcontainers"]),
    (&["create"], "", &["serviceaccounts/token"]),
];

type Ways = BTreeMap<Target, BTreeSet<String>>;

/// What an account reaches in one step.
pub(super) fn direct(objects: &[Value], rights: &Rights, from: &Account) -> Ways {
    let mut ways = Ways::new();
    let mut add = |target: Target, way: String| {
        let own = matches!(&target, Target::Account(account) if account == from);
        if !own {
            ways.entry(target).or_default().insert(way);
        }
    };
    let everybody = accounts(objects);
    let namespaces: BTreeSet<&str> = everybody.iter().map(|one| one.namespace.as_str()).collect();
    for way in everything(objects, rights, from, &namespaces) {
        add(Target::Cluster, way);
    }
    for namespace in &namespaces {
        let there = everybody.iter().filter(|one| one.namespace == **namespace);
        let there: Vec<&Account> = there.collect();
        let ways = any_account(objects, rights, from, Some(namespace));
        let ways = ways.into_iter().chain(injects(objects, from, namespace));
        for way in ways {
            for account in &there {
                add(Target::Account((*account).clone()), way.clone());
            }
        }
    }
    for way in any_account(objects, rights, from, None) {
        add(Target::Pods, way);
    }
    if let Some(way) = injects(objects, from, "") {
        add(Target::Pods, way);
    }
    let roots = Place {
        group: "",
        resource: "configmaps",
        namespace: None,
    };
    if rights.may(from, WRITE, roots, Which::Named(ROOTS)) {
        add(
            Target::Proxies,
            format!("writes ConfigMap `{ROOTS}` everywhere"),
        );
    }
    for other in &everybody {
        for way in by_objects(objects, rights, from, other) {
            add(Target::Account(other.clone()), way);
        }
    }
    ways
}

/// Rights with which nothing is out of reach.
fn everything(
    objects: &[Value],
    rights: &Rights,
    from: &Account,
    namespaces: &BTreeSet<&str>,
) -> Vec<String> {
    let mut ways = Vec::new();
    let places = || std::iter::once(None).chain(namespaces.iter().copied().map(Some));
    let mut look = |verbs: &[&str], group: &str, resource: &str| {
        let held = places().any(|namespace| {
            let place = Place {
                group,
                resource,
                namespace,
            };
            rights.may(from, verbs, place, Which::Some)
        });
        if held {
            ways.push(format!("{} {resource}", verbs.join(", ")));
        }
    };
    for (verbs, group, resources) in EVERYTHING {
        for resource in *resources {
            look(verbs, group, resource);
        }
    }
    // A webhook that changes objects changes roles; one that checks them sees every Secret.
    for resource in [
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
    ] {
        if !is_guarded(objects, from, resource) {
            look(WRITE, ADMISSION, resource);
        }
    }
    ways
}

/// Whether a policy of the manifests holds the account to the trust of its webhooks. What the
/// policy's expression allows is tested on a cluster.
fn is_guarded(objects: &[Value], account: &Account, resource: &str) -> bool {
    let Account { namespace, name } = account;
    let user = format!("'system:serviceaccount:{namespace}:{name}'");
    objects.iter().any(|policy| {
        let covers = list(policy, "/spec/matchConstraints/resourceRules")
            .iter()
            .any(|rule| {
                let operations = texts(rule, "/operations");
                texts(rule, "/resources").contains(resource)
                    && texts(rule, "/apiGroups").contains(ADMISSION)
                    && operations.contains("UPDATE")
                    && operations.contains("CREATE")
            });
        let conditions = list(policy, "/spec/matchConditions");
        let meant = conditions.len() == 1
            && conditions.iter().all(|condition| {
                text_at(condition, "/expression").is_some_and(|text| text.contains(&user))
            });
        let bound = objects.iter().any(|binding| {
            kind_of(binding) == "ValidatingAdmissionPolicyBinding"
                && text_at(binding, "/spec/policyName") == Some(name_of(policy))
                && texts(binding, "/spec/validationActions").contains("Deny")
                && binding.pointer("/spec/matchResources").is_none()
        });
        kind_of(policy) == "ValidatingAdmissionPolicy"
            && text_at(policy, "/spec/failurePolicy") == Some("Fail")
            && covers
            && meant
            && bound
    })
}

/// Rights with which one is any account of a namespace.
fn any_account(
    objects: &[Value],
    rights: &Rights,
    from: &Account,
    namespace: Option<&str>,
) -> Vec<String> {
    let place = |group, resource| Place {
        group,
        resource,
        namespace,
    };
    let mut ways = Vec::new();
    for (verbs, group, resources) in ANY_ACCOUNT {
        for resource in *resources {
            if rights.may(from, verbs, place(group, resource), Which::Some) {
                ways.push(format!("{} {resource}", verbs.join(", ")));
            }
        }
    }
    let secrets = place("", "secrets");
    let may = |verbs: &[&str], which: Which<'_>| rights.may(from, verbs, secrets, which);
    // Kubernetes writes the token of the account a new Secret names into it. The type of a Secret
    // is fixed, so one that is there already is of no use, as long as it cannot be taken away.
    let fresh = rights
        .names(from, &["create"], secrets)
        .into_iter()
        .filter(|name| may(READ, Which::Named(name)))
        .any(|name| {
            let there = objects.iter().any(|object| {
                kind_of(object) == "Secret"
                    && name_of(object) == name
                    && Some(namespace_of(object)) == namespace
            });
            !there || may(&["delete", "deletecollection"], Which::Named(&name))
        });
    if (may(&["create"], Which::Any) && may(READ, Which::Some)) || fresh {
        ways.push("creates Secrets and reads them, so asks for tokens".to_owned());
    }
    ways
}

/// How the account changes new pods of a namespace: the API server asks a webhook it serves.
fn injects(objects: &[Value], from: &Account, namespace: &str) -> Option<String> {
    let webhooks = objects
        .iter()
        .filter(|object| kind_of(object) == "MutatingWebhookConfiguration")
        .flat_map(|configuration| list(configuration, "/webhooks"));
    let asked = webhooks
        .filter(|webhook| serves(objects, from, webhook))
        .any(|webhook| !excludes(webhook, namespace));
    asked.then(|| "its webhook changes pods as they are created".to_owned())
}

/// Whether a webhook is never asked about a namespace.
fn excludes(webhook: &Value, namespace: &str) -> bool {
    list(webhook, "/namespaceSelector/matchExpressions")
        .iter()
        .any(|one| {
            text_at(one, "/key") == Some("kubernetes.io/metadata.name")
                && text_at(one, "/operator") == Some("NotIn")
                && texts(one, "/values").contains(namespace)
        })
}

/// Whether the pods behind a webhook's Service run as this account.
fn serves(objects: &[Value], account: &Account, webhook: &Value) -> bool {
    let of = |key: &str| text_at(webhook, &format!("/clientConfig/service/{key}"));
    let service = objects.iter().find(|object| {
        kind_of(object) == "Service"
            && Some(name_of(object)) == of("name")
            && Some(namespace_of(object)) == of("namespace")
    });
    let selector = service.and_then(|service| service.pointer("/spec/selector")?.as_object());
    let Some(selector) = selector else {
        return false;
    };
    pods_of(objects, account).any(|deployment| {
        Some(namespace_of(deployment)) == of("namespace")
            && selector.iter().all(|(label, value)| {
                let labels = deployment.pointer("/spec/template/metadata/labels");
                labels.and_then(|labels| labels.get(label)) == Some(value)
            })
    })
}

/// The Deployments whose pods run as this account.
fn pods_of<'v>(objects: &'v [Value], account: &'v Account) -> impl Iterator<Item = &'v Value> {
    objects.iter().filter(move |object| {
        namespace_of(object) == account.namespace
            && text_at(object, "/spec/template/spec/serviceAccountName") == Some(&account.name)
    })
}

/// How `from` gets at `to` through an object: it writes one that `to` obeys, or reads its key.
fn by_objects(
    objects: &[Value],
    rights: &Rights,
    from: &Account,
    to: &Account,
) -> BTreeSet<String> {
    let mut ways = BTreeSet::new();
    for (kind, resource) in [("ConfigMap", "configmaps"), ("Secret", "secrets")] {
        for (namespace, name) in obeyed(objects, rights, to, kind, resource) {
            let place = Place {
                group: "",
                resource,
                namespace: Some(&namespace),
            };
            let there = objects.iter().any(|object| {
                kind_of(object) == kind
                    && name_of(object) == name
                    && namespace_of(object) == namespace
            });
            // Nobody can create what is there already.
            let verbs = if there { CHANGE } else { WRITE };
            if rights.may(from, verbs, place, Which::Named(&name)) {
                ways.insert(format!(
                    "writes {kind} `{namespace}/{name}`, which it reads"
                ));
            }
            let key = kind == "Secret" && rights.may(to, WRITE, place, Which::Named(&name));
            if key && rights.may(from, READ, place, Which::Named(&name)) {
                ways.insert(format!("reads its key, {kind} `{namespace}/{name}`"));
            }
        }
    }
    ways
}

/// The objects of a kind that an account reads: by name, or because its pods mount them.
fn obeyed(
    objects: &[Value],
    rights: &Rights,
    account: &Account,
    kind: &str,
    resource: &str,
) -> BTreeSet<(String, String)> {
    let mut obeyed = BTreeSet::new();
    let namespaces = accounts(objects).into_iter().map(|one| one.namespace);
    for namespace in namespaces.collect::<BTreeSet<_>>() {
        let place = Place {
            group: "",
            resource,
            namespace: Some(&namespace),
        };
        // Where all may be read, those of the manifests are.
        let all = objects
            .iter()
            .filter(|object| kind_of(object) == kind && namespace_of(object) == namespace)
            .map(|object| name_of(object).to_owned())
            .filter(|name| rights.may(account, READ, place, Which::Named(name)));
        for name in rights.names(account, READ, place).into_iter().chain(all) {
            obeyed.insert((namespace.clone(), name));
        }
    }
    let volumes = pods_of(objects, account)
        .flat_map(|deployment| list(deployment, "/spec/template/spec/volumes"));
    for volume in volumes {
        let named = match kind {
            "ConfigMap" => text_at(volume, "/configMap/name"),
            _ => text_at(volume, "/secret/secretName"),
        };
        if let Some(name) = named {
            obeyed.insert((account.namespace.clone(), name.to_owned()));
        }
    }
    obeyed
}
