//! What is found about a world no proxy is connected to.

use super::*;
use crate::testing::world;

mod fields;
mod guards;
mod hidden_routes;
mod settings;

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

/// Two backends behind one Service with two versions, and a client elsewhere.
const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, version: v1}}
status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: other, labels: {app: client}}
status: {podIP: 10.0.0.2, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
";

fn in_shop(yaml: &str) -> Vec<Diagnostic> {
    analyze(&world(&format!("{SHOP}{yaml}")))
}

fn of(found: &[Diagnostic], code: &str) -> Vec<String> {
    let found = found.iter().filter(|one| one.code.as_str() == code);
    found.map(ToString::to_string).collect()
}

#[test]
fn findings_of_the_inbound_side_come_out() {
    let found = in_shop(
        "
apiVersion: v1
kind: Service
metadata: {name: web-raw, namespace: shop}
spec: {selector: {app: web}, ports: [{name: tcp, port: 81, targetPort: 80}]}
",
    );
    let conflicts = of(&found, "MESH0302");
    assert!(
        conflicts.len() == 1 && conflicts[0].contains("port 80 of workload shop/web-1"),
        "{conflicts:?}"
    );
}

#[test]
fn findings_of_proxies_that_are_called_explicitly_come_out() {
    let yaml = format!(
        "{SHOP}
apiVersion: v1
kind: Service
metadata: {{name: db, namespace: shop}}
spec: {{selector: {{app: db}}, ports: [{{name: main, port: 8000}}]}}
"
    );
    let captured = world(&yaml);
    assert!(of(&analyze(&captured), "MESH0502").is_empty());

    // On one machine that is what is expected of every proxy.
    let mut machine = World::new(crate::model::MeshSettings {
        one_machine: true,
        ..crate::model::MeshSettings::default()
    });
    let objects = crate::testing::objects(&yaml);
    machine.apply(objects.into_iter().map(crate::model::Change::Applied));
    let found = analyze(&machine);
    assert_eq!(of(&found, "MESH0502").len(), 1, "{found:#?}");
    assert_eq!(of(&found, "MESH0304").len(), 1, "{found:#?}");

    // Elsewhere it is what a proxy that is connected says of itself.
    let explicit = ProxyScope::new(
        &captured,
        &"shop/web-1".parse().unwrap(),
        ProxyRole::Sidecar,
        crate::compile::CaptureMode::Explicit,
    )
    .unwrap();
    let found = examine_with(&captured, &mut Compiler::default(), &[explicit]).0;
    assert_eq!(of(&found, "MESH0502").len(), 1, "{found:#?}");
}

#[test]
fn what_is_missing_is_said_once_and_for_whom() {
    let found = in_shop(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{route: [{destination: {host: web, subset: v9}}]}]}
",
    );
    let unknown = of(&found, "MESH0102");
    assert!(
        unknown.len() == 1 && !unknown[0].contains("concerns callers"),
        "{unknown:?}"
    );

    let found = in_shop(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, exportTo: ['.'], subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{route: [{destination: {host: web, subset: v1}}]}]}
",
    );
    let unknown = of(&found, "MESH0102");
    assert!(
        unknown.len() == 1 && unknown[0].contains("concerns callers in other"),
        "{unknown:?}"
    );
}

#[test]
fn the_port_that_was_called_is_named() {
    let found = in_shop(
        "
apiVersion: v1
kind: Service
metadata: {name: two, namespace: shop}
spec: {ports: [{name: http-a, port: 8080}, {name: http-b, port: 8081}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{route: [{destination: {host: two}}]}]}
",
    );
    let unknown = of(&found, "MESH0103");
    assert!(
        unknown.len() == 1 && unknown[0].contains("the one called, 80, is not among them"),
        "{unknown:?}"
    );
}

#[test]
fn selectors_and_subsets_of_nobody_are_named() {
    let found = in_shop(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: lonely, namespace: empty}
spec: {}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: typo, namespace: shop}
spec: {selector: {matchLabels: {app: wep}}, mtls: {mode: PERMISSIVE}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: nobody, namespace: shop}
spec: {workloadSelector: {labels: {app: wep}}, egress: [{hosts: ['./*']}]}
",
    );
    let empty = of(&found, "MESH0206");
    assert!(
        empty.len() == 1 && empty[0].contains("subset v2"),
        "{empty:?}"
    );
    let nobody = of(&found, "MESH0603");
    assert_eq!(nobody.len(), 3, "{nobody:?}");
    assert!(
        nobody
            .iter()
            .any(|one| one.contains("there is no workload in namespace empty")),
        "{nobody:?}"
    );
    // That it cannot be enforced is said of a policy nobody is protected by, too.
    let unenforced = of(&found, "MESH0601");
    assert!(
        unenforced.iter().any(|one| one.contains("empty/lonely")),
        "{unenforced:?}"
    );
}

#[test]
fn services_that_ask_for_more_than_is_done_are_named() {
    let service = |settings: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: c, namespace: shop}}\nspec: {{selector: \
             {{app: c}}, ports: [{{name: http, port: 80}}], {settings}}}\n"
        )
    };
    let found = of(
        &in_shop(&service("internalTrafficPolicy: Local")),
        "MESH0901",
    );
    assert!(
        found.len() == 1 && found[0].contains("Service shop/c spec.internalTrafficPolicy"),
        "{found:?}"
    );
    let found = in_shop(&service("sessionAffinity: ClientIP"));
    assert!(of(&found, "MESH0901").is_empty(), "{found:?}");
}

#[test]
fn routes_that_do_less_than_they_say_are_named() {
    let found = in_shop(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
    - match: [{uri: {prefix: api}}]
      route: [{destination: {host: web}}]
    - match: [{uri: {prefix: /team}}]
      headers: {request: {set: {x-a: b}}}
      delegate: {name: team}
    - route:
        - {destination: {host: web}, weight: 1}
        - {destination: {host: web, subset: v1}, weight: 1}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team, namespace: shop}
spec:
  http:
    - headers: {response: {set: {x-c: d}}}
      route: [{destination: {host: web}}]
",
    );
    for (code, field) in [
        ("MESH0114", "spec.http[2].route"),
        ("MESH0115", "spec.http[0].match[0].uri"),
        ("MESH0116", "spec.http[1].headers"),
    ] {
        let found = of(&found, code);
        assert!(
            found.iter().any(|one| one.contains(field)),
            "{code} {field}: {found:?}"
        );
    }
}

#[test]
fn endpoints_that_lead_proxies_into_themselves_are_left_out_and_named() {
    let yaml = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: inward, namespace: shop}
spec:
  hosts: [inward.example]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 15000}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}, {address: '::ffff:169.254.169.254'}, {address: 10.9.9.9}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: inward, namespace: shop}
spec: {address: 169.254.169.254, labels: {app: web}}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: a.localhost, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
endpoints: [{addresses: ['fe80::1'], conditions: {ready: true}}]
ports: [{name: http, port: 80}]
";
    let world = world(&format!("{SHOP}{yaml}"));
    let found = of(&analyze(&world), "MESH0308");
    for wanted in [
        "ServiceEntry shop/inward spec.endpoints[0].address",
        "ServiceEntry shop/inward spec.endpoints[1].address",
        "WorkloadEntry shop/inward spec.address",
        "Service shop/alias spec.externalName",
        "EndpointSlice shop/web-1 endpoints[0].addresses",
    ] {
        assert!(
            found.iter().any(|one| one.contains(wanted)),
            "{wanted}: {found:#?}"
        );
    }
    assert!(
        !found.iter().any(|one| one.contains("endpoints[2]")),
        "{found:#?}"
    );
    let addresses = |host: &str| {
        let service = &world.claims(host)[0];
        let name = service.endpoints_name(mesh_api::units::Port::new(80).unwrap());
        let set = crate::model::endpoints::endpoint_set(&world, &name).unwrap();
        let all = set.endpoints.iter();
        all.map(|one| format!("{:?}", one.address))
            .collect::<Vec<_>>()
    };
    let one = addresses("inward.example");
    assert!(one.len() == 1 && one[0].contains("10.9.9.9"), "{one:?}");
    assert!(addresses("alias.shop.svc.cluster.local").is_empty());
    assert!(addresses("web.shop.svc.cluster.local").is_empty());
}
