//! Probes before and after, of every kind and in every kind of container.

use super::*;

fn rewritten(pod: &Value) -> (Value, Rewritten) {
    let mut draft = Draft::of(pod).unwrap();
    let rewritten = rewrite(&mut draft);
    (draft.finish(), rewritten)
}

#[test]
fn every_kind_of_probe_in_every_kind_of_container() {
    let pod = json!({ "spec": {
        "initContainers": [
            { "name": "once", "livenessProbe": { "httpGet": { "port": 1 } } },
            { "name": "helper", "restartPolicy": "Always",
              "startupProbe": { "grpc": { "port": 9, "service": "s" }, "periodSeconds": 2 } },
            { "name": "istio-proxy", "restartPolicy": "Always",
              "readinessProbe": { "httpGet": { "port": 15021 } } },
        ],
        "containers": [{
            "name": "app",
            "ports": [{ "name": "web", "containerPort": 8080 }],
            "livenessProbe": {
                "httpGet": {
                    "path": "/live", "port": "web", "scheme": "HTTPS",
                    "httpHeaders": [{ "name": "Host", "value": "x" }],
                },
                "timeoutSeconds": 3, "failureThreshold": 7,
            },
            "readinessProbe": { "tcpSocket": { "port": "6379" } },
            "startupProbe": { "exec": { "command": ["true"] } },
            "lifecycle": {
                "postStart": { "exec": { "command": ["true"] } },
                "preStop": { "httpGet": { "path": "/stop", "port": "web" } },
            },
        }],
    } });
    let (after, rewritten) = rewritten(&pod);
    let expected = json!({
        "/app-health/app/livez": {
            "httpGet": {
                "path": "/live", "port": 8080, "scheme": "HTTPS",
                "httpHeaders": [{ "name": "Host", "value": "x" }],
            },
            "timeoutSeconds": 3,
        },
        "/app-health/app/readyz": { "tcpSocket": { "port": 6379 } },
        "/app-lifecycle/app/prestopz": { "httpGet": { "path": "/stop", "port": 8080 } },
        "/app-health/helper/startupz": { "grpc": { "port": 9, "service": "s" } },
    });
    assert_eq!(json!(rewritten.probers), expected);
    assert_eq!(rewritten.warnings, Vec::<String>::new());
    let get = |path: &str| json!({ "path": path, "port": 15020, "scheme": "HTTP" });
    let app = after.pointer("/spec/containers/0").unwrap();
    assert_eq!(
        app.get("livenessProbe").unwrap(),
        &json!({ "httpGet": get("/app-health/app/livez"), "timeoutSeconds": 3, "failureThreshold": 7 })
    );
    assert_eq!(
        app.get("readinessProbe").unwrap(),
        &json!({ "httpGet": get("/app-health/app/readyz") })
    );
    assert_eq!(
        app.get("startupProbe"),
        pod.pointer("/spec/containers/0/startupProbe")
    );
    let inits = after.pointer("/spec/initContainers").unwrap();
    assert_eq!(inits.get(0), pod.pointer("/spec/initContainers/0"));
    assert_eq!(inits.get(2), pod.pointer("/spec/initContainers/2"));
    assert_eq!(
        inits.pointer("/1/startupProbe").unwrap(),
        &json!({ "httpGet": get("/app-health/helper/startupz"), "periodSeconds": 2 })
    );
}

#[test]
fn what_cannot_or_need_not_be_rewritten_stays() {
    let pod = json!({ "spec": { "containers": [{
        "name": "app",
        "livenessProbe": { "httpGet": { "port": "nowhere" } },
        "readinessProbe": { "httpGet": { "port": 80, "host": "10.0.0.1" } },
        "startupProbe": { "httpGet": { "path": "/app-health/app/startupz", "port": 15020 } },
    }] } });
    let (after, rewritten) = rewritten(&pod);
    assert_eq!(after, pod);
    assert!(rewritten.probers.is_empty() && rewritten.json().is_none());
    assert_eq!(
        rewritten.warnings,
        ["container app: livenessProbe stays as it is: there is no port named nowhere"]
    );
}
