//! The manifests render, name the images that were built, and keep to what they promise.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;

use super::*;
use crate::deploy::target;
use crate::tools;

/// A profile as kustomize renders it, without the definitions, which take long to read; nothing
/// where kubectl is not installed.
pub(in crate::deploy) fn rendered(profile: &str, components: &[&str]) -> Option<Vec<Value>> {
    let text = kustomized(profile, components)?;
    let others = text
        .split("\n---\n")
        .filter(|document| !document.contains("kind: CustomResourceDefinition"));
    let others: Vec<&str> = others.collect();
    Some(read(&others.join("\n---\n")).unwrap())
}

fn kustomized(profile: &str, components: &[&str]) -> Option<String> {
    if tools::find("kubectl").is_none() {
        let line = "manifests: kubectl is not installed\n";
        eprint!("SKIPPED: {line}");
        if let Some(path) = std::env::var_os(crate::test::SKIPS) {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.unwrap().write_all(line.as_bytes()).unwrap();
        }
        return None;
    }
    let kubectl = Kubectl::new("kubectl", Vec::new());
    Some(kustomize(&kubectl, &target::manifests(), profile, components).unwrap())
}

fn names(objects: &[Value], kind: &str) -> BTreeSet<String> {
    objects
        .iter()
        .filter(|object| kind_of(object) == kind)
        .map(|object| name_of(object).to_owned())
        .collect()
}

fn pods(objects: &[Value]) -> impl Iterator<Item = (&str, &Value)> {
    objects
        .iter()
        .filter_map(|object| Some((name_of(object), object.pointer("/spec/template/spec")?)))
}

fn images() -> BTreeMap<String, String> {
    ["mesh-proxy", "mesh-control-plane", "mesh-injector"]
        .map(|name| (name.to_owned(), format!("r.example.com/{name}:0123")))
        .into()
}

#[test]
fn profiles_differ_in_their_gateways() {
    let Some(minimal) = rendered("minimal", &[]) else {
        return;
    };
    let core = ["istio-sidecar-injector", "istiod"].map(str::to_owned);
    assert_eq!(names(&minimal, "Deployment"), core.clone().into());
    let default = names(&rendered("default", &[]).unwrap(), "Deployment");
    assert!(default.contains("istio-ingressgateway"));
    assert!(!default.contains("istio-egressgateway"));
    let demo = rendered("demo", &[]).unwrap();
    assert!(names(&demo, "Deployment").contains("istio-egressgateway"));
    let mesh = demo
        .iter()
        .find(|object| kind_of(object) == "ConfigMap" && name_of(object) == "istio");
    let mesh = text_at(mesh.unwrap(), "/data/mesh").unwrap();
    assert!(mesh.contains("accessLogFile: /dev/stdout"), "{mesh}");
}

#[test]
fn every_object_is_marked_as_ours_and_every_kind_is_defined() {
    let Some(text) = kustomized("demo", &["high-availability", "autoscaling"]) else {
        return;
    };
    let objects = read(&text).unwrap();
    for object in &objects {
        assert!(is_ours(object), "{}", spelled(object));
    }
    let definitions = names(&objects, "CustomResourceDefinition");
    assert!(definitions.contains("virtualservices.networking.istio.io"));
    assert!(definitions.len() >= 15, "{definitions:?}");
}

#[test]
fn every_pod_is_locked_down() {
    let Some(objects) = rendered("demo", &[]) else {
        return;
    };
    let mut seen = 0;
    for (name, pod) in pods(&objects) {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
            "{name}"
        );
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["capabilities"]["drop"][0], "ALL", "{name}");
            assert_eq!(context["capabilities"]["add"], Value::Null, "{name}");
            assert!(
                container["resources"]["requests"]["cpu"].is_string(),
                "{name}"
            );
            assert_eq!(
                container["resources"]["limits"]["cpu"],
                Value::Null,
                "{name}"
            );
            assert!(container["readinessProbe"].is_object(), "{name}");
            assert_eq!(container["imagePullPolicy"], "IfNotPresent", "{name}");
        }
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn nobody_may_do_everything_and_nobody_reads_secrets_everywhere() {
    let Some(objects) = rendered("demo", &[]) else {
        return;
    };
    let mut seen = 0;
    for object in &objects {
        let kind = kind_of(object);
        if !matches!(kind, "Role" | "ClusterRole") {
            continue;
        }
        for rule in object["rules"].as_array().unwrap() {
            let text = rule.to_string();
            assert!(!text.contains("\"*\""), "{}: {text}", spelled(object));
            if kind == "ClusterRole" {
                assert!(!text.contains("\"secrets\""), "{}: {text}", spelled(object));
            }
            // A creation cannot be limited by name, except where an apply names what it creates.
            if text.contains("\"secrets\"") || text.contains("\"configmaps\"") {
                let named = rule["resourceNames"].is_array() || !text.contains("\"create\"");
                assert!(named, "{}: {text}", spelled(object));
            }
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn a_dead_injector_blocks_neither_itself_nor_the_cluster() {
    let Some(objects) = rendered("default", &[]) else {
        return;
    };
    let configuration = objects
        .iter()
        .find(|object| kind_of(object) == "MutatingWebhookConfiguration")
        .unwrap();
    let webhooks = configuration["webhooks"].as_array().unwrap();
    assert_eq!(webhooks.len(), 5);
    for webhook in webhooks {
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(webhook["clientConfig"]["caBundle"], Value::Null);
        let rules = webhook["namespaceSelector"]["matchExpressions"]
            .as_array()
            .unwrap();
        let never = rules
            .iter()
            .find(|rule| rule["key"] == "kubernetes.io/metadata.name")
            .unwrap();
        assert_eq!(never["operator"], "NotIn");
        for name in [
            "istio-system",
            "istio-injector",
            "kube-system",
            "kube-public",
            "kube-node-lease",
        ] {
            assert!(never["values"].to_string().contains(name), "{webhook}");
        }
        // Each asks for a word somewhere: a namespace and pods that say nothing never match.
        let by_namespace = webhook["namespaceSelector"].to_string().contains("\"In\"");
        let by_pod = webhook["objectSelector"].to_string().contains("\"In\"")
            || webhook["matchConditions"].is_array();
        assert!(by_namespace || by_pod, "{webhook}");
    }
}

#[test]
fn tools_see_the_values_the_injector_reads() {
    let Some(mut objects) = rendered("default", &[]) else {
        return;
    };
    set_images(&mut objects, &images()).unwrap();
    let values: Vec<(&str, &str)> = objects
        .iter()
        .filter(|object| kind_of(object) == "ConfigMap" && name_of(object) == INJECTOR_VALUES)
        .map(|object| {
            let namespace = text_at(object, "/metadata/namespace").unwrap();
            (namespace, text_at(object, "/data/values").unwrap())
        })
        .collect();
    let [(one, read), (other, copy)] = values[..] else {
        panic!("{values:?}");
    };
    assert_eq!((one, other), (INJECTOR_NAMESPACE, NAMESPACE));
    assert_eq!(read, copy);
}

#[test]
fn components_add_replicas_and_autoscalers() {
    let Some(objects) = rendered("default", &["high-availability"]) else {
        return;
    };
    for object in objects
        .iter()
        .filter(|object| kind_of(object) == "Deployment")
    {
        assert_eq!(object["spec"]["replicas"], 2, "{}", spelled(object));
    }
    let scaled = rendered("default", &["autoscaling"]).unwrap();
    assert_eq!(names(&scaled, "HorizontalPodAutoscaler").len(), 2);
    for object in scaled
        .iter()
        .filter(|object| kind_of(object) == "Deployment")
    {
        assert_eq!(
            object["spec"]["replicas"],
            Value::Null,
            "{}",
            spelled(object)
        );
    }
}

#[test]
fn only_a_component_asks_about_namespaces_that_say_nothing() {
    let Some(objects) = rendered("default", &["inject-by-default"]) else {
        return;
    };
    let webhooks = objects
        .iter()
        .find(|object| kind_of(object) == "MutatingWebhookConfiguration")
        .and_then(|object| object["webhooks"].as_array())
        .unwrap();
    let [auto] = webhooks.get(5..).unwrap() else {
        panic!("{webhooks:?}");
    };
    assert_eq!(auto["name"], "auto.sidecar-injector.istio.io");
    // It is asked, and holds up, as the others are; the cluster's own namespaces never are.
    for field in [
        "clientConfig",
        "rules",
        "failurePolicy",
        "sideEffects",
        "timeoutSeconds",
    ] {
        assert_eq!(auto[field], webhooks[0][field], "{field}");
    }
    let never = &auto["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(
        *never,
        webhooks[0]["namespaceSelector"]["matchExpressions"][0]
    );
    assert!(!auto.to_string().contains("\"In\""), "{auto}");
}

#[test]
fn a_file_that_is_applied_alone_leaves_objects_of_ours() {
    let mut seen = 0;
    for file in fs::read_dir(target::manifests().join("base")).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with("kustomization.yaml") {
            continue;
        }
        for object in read(&fs::read_to_string(&path).unwrap()).unwrap() {
            assert!(is_ours(&object), "{}: {}", path.display(), spelled(&object));
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn applying_twice_is_no_conflict_with_what_the_mesh_keeps() {
    let Some(objects) = rendered("default", &[]) else {
        return;
    };
    for object in &objects {
        let webhooks = object["webhooks"].as_array().into_iter().flatten();
        for (position, webhook) in webhooks.enumerate() {
            let what = spelled(object);
            // Another value than the control plane keeps would be a conflict.
            let settings = webhook["name"] == "settings.validation.istio.io";
            let expected = if settings { "Ignore" } else { "Fail" };
            assert_eq!(webhook["failurePolicy"], expected, "{what} {position}");
            assert_eq!(webhook["clientConfig"]["caBundle"], Value::Null, "{what}");
        }
        let kept = ["istiod-acknowledgements", "istio-kept-configuration"];
        if kind_of(object) == "Secret" || kept.contains(&name_of(object)) {
            assert_eq!(object["data"], Value::Null, "{}", spelled(object));
        }
    }
}

#[test]
fn readiness_of_gateways_is_published_only_where_that_is_asked_for() {
    let published = |objects: &[Value]| {
        let services = objects.iter().filter(|one| kind_of(one) == "Service");
        services
            .filter(|one| one["spec"]["ports"].to_string().contains("15021"))
            .count()
    };
    let Some(objects) = rendered("demo", &[]) else {
        return;
    };
    assert_eq!(published(&objects), 0);
    let all = ["network-policies", "gateway-status-port"];
    let objects = rendered("demo", &all).unwrap();
    assert_eq!(published(&objects), 2);
    let policies = objects.iter().filter(|one| kind_of(one) == "NetworkPolicy");
    let open = policies.filter(|one| one["spec"].to_string().contains("15021"));
    assert_eq!(open.count(), 1);
}

#[test]
fn network_policies_leave_open_what_services_lead_to_and_close_what_is_for_nobody() {
    let Some(objects) = rendered("demo", &["network-policies"]) else {
        return;
    };
    let policies: Vec<&Value> = objects
        .iter()
        .filter(|one| kind_of(one) == "NetworkPolicy")
        .collect();
    let opens = |policy: &Value, port: u64| {
        let rules = policy["spec"]["ingress"].as_array().unwrap();
        rules
            .iter()
            .flat_map(|rule| rule["ports"].as_array().unwrap())
            .any(|one| {
                let first = one["port"].as_u64().unwrap();
                (first..=one["endPort"].as_u64().unwrap_or(first)).contains(&port)
            })
    };
    let of = |name: &str| {
        let found = policies.iter().find(|one| name_of(one) == name);
        *found.unwrap()
    };
    for service in objects.iter().filter(|one| kind_of(one) == "Service") {
        let name = name_of(service);
        let policy = of(if name.ends_with("gateway") {
            "istio-gateways"
        } else {
            name
        });
        for port in service["spec"]["ports"].as_array().unwrap() {
            let target = port["targetPort"].as_u64().unwrap();
            assert!(opens(policy, target), "{name}: {target}");
        }
    }
    for (name, closed) in [
        ("istiod", 8080),
        ("istio-gateways", 15000),
        ("istio-gateways", 15021),
    ] {
        assert!(!opens(of(name), closed), "{name}: {closed}");
    }
    assert!(opens(of("istio-gateways"), 31400));
}

#[test]
fn the_images_that_were_built_stand_everywhere() {
    let Some(mut objects) = rendered("demo", &[]) else {
        return;
    };
    set_images(&mut objects, &images()).unwrap();
    let text = serde_json::to_string(&objects).unwrap();
    assert!(!text.contains("localhost/mesh"), "{text}");
    assert!(
        text.contains(r#"r.example.com/mesh-proxy:0123\""#),
        "the injector's values"
    );
}

#[test]
fn an_image_that_was_not_built_is_named() {
    let mut objects = vec![serde_json::json!({
        "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": [{"image": "localhost/mesh-other:dev"}]}}},
    })];
    let error = set_images(&mut objects, &images()).unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains("deployment/d"), "{message}");
    assert!(message.contains("mesh-other was not built"), "{message}");
}

#[test]
fn definitions_come_first_and_gateways_last() {
    let object = |kind: &str, name: &str| -> Value {
        serde_json::json!({"kind": kind, "metadata": {"name": name}})
    };
    assert_eq!(
        phase(&object("CustomResourceDefinition", "a")),
        Phase::Definitions
    );
    assert_eq!(phase(&object("Deployment", "istiod")), Phase::Core);
    assert_eq!(
        phase(&object("Service", "istio-ingressgateway")),
        Phase::Core
    );
    assert_eq!(
        phase(&object("Deployment", "istio-ingressgateway")),
        Phase::Gateways
    );
    assert!(Phase::Definitions < Phase::Core && Phase::Core < Phase::Gateways);
}
