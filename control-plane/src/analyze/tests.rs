//! What is found about a world no proxy is connected to.

use super::*;
use crate::testing::world;

fn codes(yaml: &str) -> Vec<String> {
    analyze(&world(yaml))
        .iter()
        .map(|one| format!("{} {}", one.code, one.field))
        .collect()
}

#[test]
fn references_to_nothing_are_named() {
    let found = codes(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: nobody, namespace: shop}
spec: {host: nobody}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lost, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [edgy]
  http: [{route: [{destination: {host: nobody}}]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: nothing}
  servers: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ['*']}]
",
    );
    for wanted in [
        "MESH0203 spec.host",
        "MESH0404 spec.gateways",
        "MESH0403 spec.selector",
    ] {
        assert!(found.iter().any(|one| one == wanted), "{wanted}: {found:?}");
    }
}

#[test]
fn policies_nobody_uses_are_checked_too() {
    let found = codes(
        "
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop}
spec:
  host: a
  subsets:
    - {name: v1, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}}
    - {name: v2, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
",
    );
    assert!(
        found.contains(&"MESH0901 spec.subsets[0].trafficPolicy.outlierDetection".to_owned()),
        "{found:?}"
    );
    assert!(
        found.contains(&"MESH0602 spec.subsets[1].trafficPolicy.tls.mode".to_owned()),
        "{found:?}"
    );
}
