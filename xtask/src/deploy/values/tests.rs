//! Each key changes exactly what it says; a mistake is named, with what would be right.

use super::*;

fn objects() -> Vec<Value> {
    let deployment = |name: &str| {
        json!({
            "kind": "Deployment", "metadata": {"name": name},
            "spec": {"template": {"spec": {"containers": [
                {"resources": {"requests": {"cpu": "1m"}, "limits": {"memory": "1Gi"}}}
            ]}}},
        })
    };
    vec![
        deployment("istiod"),
        deployment("istio-ingressgateway"),
        json!({
            "kind": "Service", "metadata": {"name": "istio-ingressgateway"},
            "spec": {"type": "NodePort", "ports": [{"name": "http2", "port": 80}]},
        }),
        json!({
            "kind": "ConfigMap", "metadata": {"name": "istio"},
            "data": {"mesh": "rootNamespace: istio-system\n"},
        }),
        json!({
            "kind": "ConfigMap", "metadata": {"name": INJECTOR_VALUES},
            "data": {"values": r#"{"global": {"proxy": {"image": "i"}}}"#},
        }),
        json!({
            "kind": "ConfigMap", "metadata": {"name": INJECTOR_VALUES, "namespace": "copy"},
            "data": {"values": r#"{"global": {"proxy": {"image": "i"}}}"#},
        }),
    ]
}

fn changed(settings: &[(&str, &str)]) -> Vec<Value> {
    let mut objects = objects();
    for (key, value) in settings {
        set(&mut objects, key, value).unwrap();
    }
    objects
}

fn refused(key: &str, value: &str) -> String {
    format!("{:#}", set(&mut objects(), key, value).unwrap_err())
}

#[test]
fn deployments_and_services_change() {
    let objects = changed(&[
        ("istiod.replicas", "3"),
        ("istiod.cpu", "250m"),
        ("istiod.memoryLimit", "none"),
        ("istiod.cpuLimit", "2"),
        ("ingressgateway.statusPort", "true"),
        ("ingressgateway.nodePort.status-port", "30021"),
        ("ingressgateway.serviceType", "LoadBalancer"),
        ("ingressgateway.nodePort.http2", "30080"),
    ]);
    assert_eq!(objects[0]["spec"]["replicas"], 3);
    let resources = &objects[0]["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(resources["requests"]["cpu"], "250m");
    assert_eq!(resources["limits"], json!({"cpu": "2"}));
    let status = &objects[2]["spec"]["ports"][1];
    assert_eq!(
        (&status["port"], &status["nodePort"]),
        (&json!(15021), &json!(30021))
    );
    assert_eq!(objects[2]["spec"]["type"], "LoadBalancer");
    assert_eq!(objects[2]["spec"]["ports"][0]["nodePort"], 30080);
    assert_eq!(objects[1]["spec"]["replicas"], Value::Null);
}

#[test]
fn documents_inside_config_maps_change() {
    let objects = changed(&[
        ("mesh.accessLogFile", "/dev/stdout"),
        ("mesh.outboundTrafficPolicy.mode", "REGISTRY_ONLY"),
        ("mesh.enableTracing", "true"),
        ("sidecar.memory", "48Mi"),
        ("sidecar.cpuLimit", "500m"),
        ("injection.enableNamespacesByDefault", "true"),
    ]);
    let mesh: Value = serde_saphyr::from_str(objects[3]["data"]["mesh"].as_str().unwrap()).unwrap();
    assert_eq!(mesh["rootNamespace"], "istio-system");
    assert_eq!(mesh["accessLogFile"], "/dev/stdout");
    assert_eq!(mesh["outboundTrafficPolicy"]["mode"], "REGISTRY_ONLY");
    assert_eq!(mesh["enableTracing"], true);
    let values: Value =
        serde_json::from_str(objects[4]["data"]["values"].as_str().unwrap()).unwrap();
    assert_eq!(values["global"]["proxy"]["image"], "i");
    assert_eq!(
        values["global"]["proxy"]["resources"]["requests"]["memory"],
        "48Mi"
    );
    assert_eq!(
        values["global"]["proxy"]["resources"]["limits"],
        json!({"cpu": "500m"})
    );
    assert_eq!(
        values["sidecarInjectorWebhook"]["enableNamespacesByDefault"],
        true
    );
    assert_eq!(objects[4]["data"], objects[5]["data"], "the copy for tools");
}

#[test]
fn mistakes_are_named() {
    assert!(refused("istoid.replicas", "2").contains("PART is istiod"));
    assert!(refused("replicas", "2").contains("Keys of --set"));
    assert!(refused("istiod.replicas", "0").contains("above 0"));
    assert!(refused("istiod.cpu", "a lot").contains("as 100m"));
    assert!(refused("istiod.cpu", "5Qi").contains("as 100m"));
    assert!(refused("istiod.serviceType", "NodePort").contains("no such key"));
    assert!(refused("ingressgateway.serviceType", "Public").contains("LoadBalancer"));
    assert!(refused("ingressgateway.nodePort.smtp", "30025").contains("no port `smtp`"));
    assert!(refused("egressgateway.replicas", "2").contains("another --profile"));
    assert!(refused("istiod.maxReplicas", "9").contains("--autoscaling"));
    assert!(parse("no-value").is_err());
    assert_eq!(
        parse("a.b=c=d").unwrap(),
        ("a.b".to_owned(), "c=d".to_owned())
    );
}

#[test]
fn replicas_and_an_autoscaler_do_not_go_together() {
    let mut objects = objects();
    objects.push(json!({"kind": "HorizontalPodAutoscaler", "metadata": {"name": "istiod"}}));
    let message = format!(
        "{:#}",
        set(&mut objects, "istiod.replicas", "2").unwrap_err()
    );
    assert!(message.contains("minReplicas"), "{message}");
    set(&mut objects, "istiod.maxReplicas", "9").unwrap();
    assert_eq!(objects[6]["spec"]["maxReplicas"], 9);
}

#[test]
fn all_gateways_get_the_type_of_service() {
    let mut objects = objects();
    set_service_type(&mut objects, "LoadBalancer");
    assert_eq!(objects[2]["spec"]["type"], "LoadBalancer");
}

#[test]
fn the_last_word_on_injection_by_default_counts() {
    let said = |settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|one| (*one).to_owned()).collect();
        injects_by_default(&settings)
    };
    let (on, off) = (
        "injection.enableNamespacesByDefault=true",
        "injection.enableNamespacesByDefault=false",
    );
    assert!(said(&["istiod.replicas=2", on]) && said(&[off, on]));
    assert!(!said(&[]) && !said(&[on, off]));
}
