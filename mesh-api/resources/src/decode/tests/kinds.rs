//! Which kind a document is, and the kinds of Kubernetes.

use super::super::*;
use super::{decode_yaml, object, said};
use crate::kubernetes::{AppPort, Transport};

const KINDS: &str = r#"
apps/v1 Deployment => info: apps Deployment is not a kind
v1 ConfigMap => info: ConfigMap is not a kind
v1 ServiceAccount => info: ServiceAccount
monitoring.coreos.com/v1 ServiceMonitor => info: monitoring.coreos.com ServiceMonitor
install.istio.io/v1alpha1 IstioOperator => warning: install.istio.io/v1alpha1 IstioOperator is accepted, but not acted on yet
networking.istio.io/v1 EnvoyFilter => error: apiVersion: "v1" is not a version of EnvoyFilter; use one of networking.istio.io/v1alpha3
gateway.networking.k8s.io/v1 Gateway => warning: gateway.networking.k8s.io/v1 Gateway is accepted
networking.istio.io/v1 VirtualServce => error: kind: "VirtualServce" is not a kind we know; did you mean VirtualService (networking.istio.io/v1)?
networking.istio.io/v2 VirtualService => error: apiVersion: "v2" is not a version of VirtualService; use one of networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3
networking.istio.oi/v1 DestinationRule => error: apiVersion: "networking.istio.oi" is not the group of DestinationRule; write apiVersion: networking.istio.io/v1
v1 Servce => error: kind: "Servce" is not a kind we know; did you mean Service (v1)?
v1 Banana => error: kind: "Banana" is not a kind we know; the kinds of this mesh are VirtualService
discovery.k8s.io/v1beta1 EndpointSlice => error: apiVersion: "v1beta1" is not a version
"#;

#[test]
fn kinds_and_versions() {
    for row in KINDS.lines().filter(|row| !row.is_empty()) {
        let (document, expected) = row.split_once(" => ").unwrap();
        let (api_version, kind) = document.split_once(' ').unwrap();
        let text = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}");
        let decoded = decode_yaml(&text);
        let said = said(&decoded);
        assert!(said.len() == 1 && said[0].starts_with(expected), "{said:?}");
        let refused = expected.starts_with("error");
        assert_eq!(
            decoded.outcome,
            if refused {
                Outcome::Rejected
            } else {
                Outcome::Skipped
            }
        );
    }
}

#[test]
fn kubernetes_kinds_are_cut_down() {
    let Object::Service(service) = object(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.0.0.7
  selector: {app: web}
  publishNotReadyAddresses: true
  ports:
  - {name: http, port: 80, targetPort: web, appProtocol: http}
  - {name: dns, port: 53, protocol: UDP}
",
    ) else {
        panic!("not a Service");
    };
    assert_eq!(service.spec.cluster_ips, ["10.0.0.7"]);
    assert!(service.spec.publish_not_ready_addresses && !service.spec.headless);
    assert_eq!(
        service.spec.ports[0].target_port,
        AppPort::Name("web".to_owned())
    );
    assert_eq!(service.spec.ports[1].target_port, AppPort::Number(53));
    assert_eq!(service.spec.ports[1].transport, Transport::Udp);

    let Object::Pod(pod) = object(
        "
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, deletionTimestamp: 2024-05-06T07:08:09Z}
spec:
  serviceAccountName: web
  nodeName: n1
  containers:
  - {name: main, ports: [{name: web, containerPort: 8080}]}
status:
  podIP: 10.1.0.4
  conditions: [{type: Ready, status: 'False'}]
",
    ) else {
        panic!("not a Pod");
    };
    assert!(pod.spec.terminating && !pod.spec.ready);
    assert_eq!(pod.spec.ips, ["10.1.0.4"]);
    assert_eq!(pod.spec.ports[0].port, 8080);

    let Object::EndpointSlice(slice) = object(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- addresses: [10.1.0.4]
  zone: eu-1a
  targetRef: {kind: Pod, name: web-1, namespace: shop}
- addresses: [10.1.0.5]
  conditions: {ready: false, serving: true, terminating: true}
ports: [{name: http, port: 8080}]
",
    ) else {
        panic!("not an EndpointSlice");
    };
    assert_eq!(slice.spec.service.as_deref(), Some("web"));
    assert!(slice.spec.endpoints[0].ready && slice.spec.endpoints[0].serving);
    assert!(!slice.spec.endpoints[1].ready && slice.spec.endpoints[1].terminating);
    assert_eq!(slice.spec.ports[0].port, Some(8080));
}

#[test]
fn unknown_fields_of_kubernetes_kinds_are_named() {
    let decoded = decode_yaml(
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selctor: {a: b}, ports: [{port: 80, tagetPort: 1}]}}",
    );
    assert_eq!(
        said(&decoded),
        [
            "warning: spec.ports[0].tagetPort: unknown field; it has no effect; check the spelling",
            "warning: spec.selctor: unknown field; it has no effect; check the spelling",
        ]
    );
    assert!(decoded.object().is_some());
}
