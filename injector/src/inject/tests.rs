//! Pods and what becomes of them; what is true of every pod is in `tests/property.rs`.

use super::*;
use crate::{ClusterVersion, Home, Labels, Values};

fn on(minor: u32) -> Configuration {
    let version = ClusterVersion { major: 1, minor };
    let mesh = mesh_api::mesh_config::MeshConfig::default();
    Configuration::new(Values::default(), mesh, version, Home::default())
}

fn shop() -> Namespace {
    Namespace {
        name: "shop".to_owned(),
        labels: Labels::from([("istio-injection".to_owned(), "enabled".to_owned())]),
    }
}

fn pod(annotations: &Value, spec: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "p", "annotations": annotations },
        "spec": spec,
    })
}

fn injected(configuration: &Configuration, pod: &Value) -> Value {
    inject(configuration, &shop(), None, pod).unwrap().pod
}

fn refused(spec: &Value, annotations: &Value) -> String {
    let refusal = inject(&on(33), &shop(), None, &pod(annotations, spec)).unwrap_err();
    refusal.to_string()
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let list = draft::elements(pod.get("spec").unwrap(), list);
    list.iter().map(|one| draft::name(one).to_owned()).collect()
}

fn simple() -> Value {
    json!({
        "initContainers": [{ "name": "first", "image": "i" }],
        "containers": [{ "name": "app", "image": "a" }],
    })
}

fn proxy(pod: &Value) -> Value {
    let spec = pod.get("spec").unwrap();
    let mut all = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| draft::elements(spec, list));
    all.find(|one| draft::name(one) == PROXY_CONTAINER)
        .unwrap()
        .clone()
}

#[test]
fn containers_are_where_each_form_wants_them() {
    let native = injected(&on(29), &pod(&json!({}), &simple()));
    assert_eq!(
        names(&native, "initContainers"),
        ["istio-init", "istio-proxy", "first"]
    );
    assert_eq!(names(&native, "containers"), ["app"]);
    assert_eq!(proxy(&native)["restartPolicy"], "Always");
    let classic = injected(&on(28), &pod(&json!({}), &simple()));
    assert_eq!(names(&classic, "initContainers"), ["first", "istio-init"]);
    assert_eq!(names(&classic, "containers"), ["istio-proxy", "app"]);
    let hook = json!({ "exec": { "command": ["/usr/local/bin/pilot-agent", "wait"] } });
    assert_eq!(proxy(&classic)["lifecycle"]["postStart"], hook);
    // The hook has waited.
    assert_eq!(proxy(&classic).get("startupProbe"), None);
    assert_ne!(proxy(&native).get("startupProbe"), None);
    let unheld = json!({ "proxy.istio.io/config": "holdApplicationUntilProxyStarts: false" });
    let last = injected(&on(28), &pod(&unheld, &simple()));
    assert_eq!(names(&last, "containers"), ["app", "istio-proxy"]);
    assert_eq!(proxy(&last).get("lifecycle"), None);
    assert_ne!(proxy(&last).get("startupProbe"), None);
    for injected in [native, classic, last] {
        let first = &injected["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"];
        assert_eq!(first, "app");
    }
}

#[test]
fn without_interception_nothing_is_redirected() {
    let none = json!({ "sidecar.istio.io/interceptionMode": "NONE" });
    let pod = injected(&on(33), &pod(&none, &simple()));
    assert_eq!(names(&pod, "initContainers"), ["istio-proxy", "first"]);
    let status = pod["metadata"]["annotations"]["sidecar.istio.io/status"]
        .as_str()
        .unwrap();
    let status: Value = serde_json::from_str(status).unwrap();
    assert_eq!(status["initContainers"], json!(["istio-proxy"]));
}

#[test]
fn the_label_for_mutual_tls_is_not_written_before_it_works() {
    let pod = injected(&on(33), &pod(&json!({}), &simple()));
    assert_eq!(
        pod["metadata"]["labels"].get("security.istio.io/tlsMode"),
        None
    );
}

#[test]
fn applications_wait_before_they_end_unless_they_say_how() {
    let sleep = |pod: &Value| pod["spec"]["containers"][0]["lifecycle"]["preStop"].clone();
    let seconds = json!({ "sleep": { "seconds": 5 } });
    let plain = pod(&json!({}), &simple());
    assert_eq!(sleep(&injected(&on(30), &plain)), seconds);
    assert_eq!(sleep(&injected(&on(29), &plain)), Value::Null);
    let mut job = plain.clone();
    job["metadata"]["ownerReferences"] =
        json!([{ "kind": "Job", "name": "j", "controller": true }]);
    assert_eq!(sleep(&injected(&on(30), &job)), Value::Null);
    let mut own = plain;
    own["spec"]["containers"][0]["lifecycle"] = json!({ "preStop": { "exec": {} } });
    assert_eq!(sleep(&injected(&on(30), &own)), json!({ "exec": {} }));
}

#[test]
fn a_container_of_that_name_says_what_is_different() {
    let spec = json!({ "containers": [
        { "name": "app", "image": "a" },
        { "name": "istio-proxy", "image": "auto", "resources": { "limits": { "cpu": "2" } } },
    ] });
    let pod = injected(&on(33), &pod(&json!({}), &spec));
    assert_eq!(names(&pod, "containers"), ["app"]);
    let proxy = proxy(&pod);
    assert_eq!(proxy["resources"]["limits"]["cpu"], "2");
    assert_eq!(proxy["resources"]["requests"]["cpu"], "10m");
    assert!(proxy["image"].as_str().unwrap().contains("mesh-proxy"));
}

#[test]
fn what_cannot_work_is_refused_with_the_way_out() {
    let user = |id: u64| json!({ "securityContext": { "runAsUser": id } });
    let with = |container: Value, pod: Value| {
        let mut app = json!({ "name": "app", "image": "a" });
        app.as_object_mut()
            .unwrap()
            .extend(container.as_object().unwrap().clone());
        let mut spec = json!({ "containers": [app] });
        spec.as_object_mut()
            .unwrap()
            .extend(pod.as_object().unwrap().clone());
        spec
    };
    let none = json!({});
    let gateway = json!({ "inject.istio.io/templates": "gateway" });
    let twice = json!({ "containers": [{ "name": "istio-proxy" }, { "name": "istio-proxy" }] });
    let lonely = json!({ "containers": [{ "name": "istio-proxy", "image": "auto" }] });
    let volume = json!({ "volumes": [{ "name": "istio-token" }] });
    for (spec, annotations, words) in [
        (
            with(user(1337), json!({})),
            &none,
            ["container app", "inject=false"],
        ),
        (
            with(json!({}), user(1337)),
            &none,
            ["runAsUser 1337", "another user"],
        ),
        (with(json!({}), volume), &none, ["istio-token", "rename"]),
        (twice, &none, ["more than one container", "istio-proxy"]),
        (lonely, &none, ["no container but istio-proxy", "gateway"]),
        (
            with(json!({}), json!({})),
            &gateway,
            ["istio-proxy", "image: auto"],
        ),
    ] {
        let refusal = refused(&spec, annotations);
        assert!(words.iter().all(|word| refusal.contains(word)), "{refusal}");
    }
    // The container's own word beats the pod's, and init containers may.
    let mut fine = with(user(1000), user(1337));
    fine["initContainers"] =
        json!([{ "name": "bypass", "securityContext": { "runAsUser": 1337 } }]);
    injected(&on(33), &pod(&none, &fine));
}

#[test]
fn pods_that_get_none_say_so_if_they_asked_and_stay_as_they_are() {
    let mut asking = pod(
        &json!({}),
        &json!({ "hostNetwork": true, "initContainers": [] }),
    );
    asking["metadata"]["labels"] = json!({ "sidecar.istio.io/inject": "true" });
    let outcome = inject(&on(33), &shop(), None, &asking).unwrap();
    assert_eq!(outcome.pod, asking);
    assert!(
        outcome.warnings[0].contains("network of its node"),
        "{:?}",
        outcome.warnings
    );
    for spec in [
        json!({ "os": { "name": "windows" } }),
        json!({ "nodeSelector": { "kubernetes.io/os": "windows" } }),
    ] {
        let outcome = inject(&on(33), &shop(), None, &pod(&json!({}), &spec)).unwrap();
        let expected = Decision::Skip {
            reason: SkipReason::Windows,
        };
        assert_eq!(outcome.decision, expected);
    }
}

#[test]
fn probes_that_come_later_are_taken_in_when_asked_again() {
    let mut spec = simple();
    spec["containers"][0]["livenessProbe"] = json!({ "httpGet": { "port": 1 } });
    let once = injected(&on(33), &pod(&json!({}), &spec));
    let mut more = once.clone();
    more["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({
            "name": "late", "readinessProbe": { "httpGet": { "path": "/$(x)", "port": 2 } },
        }));
    let again = injected(&on(33), &more);
    let variable = |pod: &Value| {
        let env = proxy(pod)["env"].as_array().unwrap().clone();
        let found = env
            .into_iter()
            .find(|one| draft::name(one) == sidecar::PROBERS);
        let text = sidecar::unescaped(draft::text(&found.unwrap(), "value"));
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(
        variable(&again),
        json!({
            "/app-health/app/livez": { "httpGet": { "port": 1 } },
            "/app-health/late/readyz": { "httpGet": { "path": "/$(x)", "port": 2 } },
        })
    );
    assert_eq!(injected(&on(33), &again), again);
    assert_eq!(injected(&on(33), &once), once);
}

#[test]
fn the_init_container_is_of_the_installation_and_of_nobody_else() {
    let chosen = json!({ "sidecar.istio.io/proxyImage": "mine/proxy:1" });
    let own = injected(&on(33), &pod(&chosen, &simple()));
    assert_eq!(proxy(&own)["image"], "mine/proxy:1");
    let init = &own["spec"]["initContainers"][0];
    assert_eq!(init["name"], "istio-init");
    assert!(draft::text(init, "image").starts_with("localhost/mesh-proxy:"));

    let mut spec = simple();
    spec["initContainers"][0] = json!({ "name": "istio-init", "image": "mine" });
    let refusal = refused(&spec, &json!({}));
    assert!(
        refusal.contains("istio-init has an image of its own"),
        "{refusal}"
    );
    let none = json!({ "sidecar.istio.io/interceptionMode": "NONE" });
    let refusal = refused(&spec, &none);
    assert!(refusal.contains("adds no istio-init"), "{refusal}");
    spec["initContainers"][0] = json!({
        "name": "past", "image": "i", "restartPolicy": "Always",
        "securityContext": { "runAsUser": 1337 },
    });
    let refusal = refused(&spec, &json!({}));
    assert!(
        refusal.contains("restartable init container past"),
        "{refusal}"
    );
}

#[test]
fn a_copied_annotation_does_not_make_a_sidecar() {
    let copied = json!({ "sidecar.istio.io/status": "{}" });
    let pod = injected(&on(33), &pod(&copied, &simple()));
    assert_eq!(names(&pod, "initContainers").len(), 3);
}

#[test]
fn pod_security_that_will_refuse_the_pod_is_named_beforehand() {
    let mut namespace = shop();
    let enforce = "pod-security.kubernetes.io/enforce".to_owned();
    namespace.labels.insert(enforce, "baseline".to_owned());
    let outcome = inject(&on(33), &namespace, None, &pod(&json!({}), &simple())).unwrap();
    assert!(
        outcome.warnings[0].contains("NET_ADMIN"),
        "{:?}",
        outcome.warnings
    );
}

#[test]
fn a_job_without_native_sidecars_is_refused_unless_its_pods_ask() {
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "a", "image": "a" }] });
    let job = Some(Workload {
        kind: "Job",
        name: "nightly",
    });
    let plain = pod(&json!({}), &spec);
    let of = |minor, workload, pod: &Value| inject(&on(minor), &shop(), workload, pod);
    // With them it completes by itself.
    assert_eq!(of(29, job, &plain).unwrap().warnings, Vec::<String>::new());
    let refusal = of(28, job, &plain).unwrap_err().to_string();
    for part in ["Kubernetes 1.28", "inject=false", "/quitquitquit"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    let off = pod(&json!({ "sidecar.istio.io/nativeSidecar": "false" }), &spec);
    let refusal = of(33, job, &off).unwrap_err().to_string();
    assert!(refusal.contains("switched off"), "{refusal}");
    // Who asks is injected, and told what to do; so is whoever ends without being a Job.
    let mut asking = plain.clone();
    asking["metadata"]["labels"] = json!({ "sidecar.istio.io/inject": "true" });
    for (workload, pod) in [(job, &asking), (None, &plain)] {
        let outcome = of(28, workload, pod).unwrap();
        assert_eq!(names(&outcome.pod, "containers").len(), 2);
        let told = outcome.warnings.join(" ");
        assert!(told.contains("/quitquitquit"), "{told}");
    }
}
