//! What is dropped while an object is read, and what passes.

use serde_json::json;

use super::*;

fn cut<S: Shape>(object: &Value) -> Value {
    serde_json::from_str::<Cut<S>>(&object.to_string())
        .unwrap()
        .value
}

#[test]
fn of_a_pod_only_what_the_mesh_needs_is_kept() {
    let pod = json!({
        "metadata": {
            "name": "a", "labels": {"app": "a"}, "managedFields": [{"manager": "x"}],
            "annotations": {"a": "b"}
        },
        "spec": {
            "containers": [{
                "name": "app", "env": [{"name": "PASSWORD", "value": "hush"}],
                "ports": [{"containerPort": 80, "hostPort": 80}], "resources": {}
            }],
            "volumes": [{"name": "v"}], "nodeName": "n"
        },
        "status": {
            "podIP": "10.0.0.1", "containerStatuses": [{}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "t"}]
        }
    });
    assert_eq!(
        cut::<Pods>(&pod),
        json!({
            "metadata": {"name": "a", "labels": {"app": "a"}},
            "spec": {
                "containers": [{"name": "app", "ports": [{"containerPort": 80}]}],
                "nodeName": "n"
            },
            "status": {
                "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]
            }
        })
    );
}

#[test]
fn what_has_not_the_expected_form_passes_for_its_reader_to_refuse() {
    let odd = json!({
        "metadata": {"name": 7, "labels": null},
        "spec": {"containers": "none", "hostNetwork": 1.5},
        "status": [true, -1]
    });
    assert_eq!(cut::<Pods>(&odd), odd);
}

#[test]
fn a_specification_of_the_mesh_is_kept_whole() {
    let route = json!({
        "apiVersion": "x", "kind": "y", "status": {"conditions": []},
        "metadata": {"name": "a", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"
        }},
        "spec": {"hosts": ["a"], "http": [{"anything": {"below": [1, "2", null]}}]}
    });
    assert_eq!(
        cut::<Mesh>(&route),
        json!({
            "metadata": {"name": "a", "annotations": {"mine": "1"}},
            "spec": {"hosts": ["a"], "http": [{"anything": {"below": [1, "2", null]}}]}
        })
    );
}
