//! Hosts: short names, wildcards, aliases, and who answers for what.

use super::*;

use mesh_api::listener::{Bind, ListenerKind, Silence};

fn domains(snapshot: &Snapshot, name: &str) -> Vec<String> {
    virtual_host(snapshot, name)
        .domains
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_service_answers_to_its_names_and_addresses() {
    let (snapshot, _) = explicit("");
    assert_eq!(
        domains(&snapshot, "8080/backend.shop.svc.cluster.local"),
        [
            "backend.shop.svc.cluster.local",
            "backend.shop.svc",
            "backend.shop",
            "backend",
            "10.96.0.10"
        ]
    );
}

#[test]
fn short_names_are_for_neighbours() {
    let world = world(&shop(
        "
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: other}
status: {podIP: 10.0.9.1}
",
    ));
    let far = compiled(
        &world,
        "other/far",
        ProxyRole::Sidecar,
        CaptureMode::Explicit,
    );
    let domains = domains(&snapshot(&far), "8080/backend.shop.svc.cluster.local");
    assert!(domains.contains(&"backend.shop".to_owned()));
    assert!(!domains.contains(&"backend".to_owned()));
}

#[test]
fn wildcard_hosts_give_way_to_exact_ones() {
    let vs = |name: &str, host: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec: {{hosts: ['{host}'], http: [{{name: {name}, route: [{{destination: {{host: backend}}}}]}}]}}
---
"
        )
    };
    let yaml = format!(
        "{}{}",
        vs("wild", "*.shop.svc.cluster.local"),
        vs("zz-exact", "backend")
    );
    let (snapshot, _) = explicit(&yaml);
    assert_eq!(names(&backend(&snapshot)), ["zz-exact"]);
    let store = virtual_host(&snapshot, "80/store.shop.svc.cluster.local");
    assert_eq!(names(&store.rules), ["wild"]);
}

#[test]
fn hosts_that_are_no_service_are_on_port_80() {
    let (snapshot, diagnostics) = explicit(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: outside, namespace: shop}
spec: {hosts: [api.example.com], http: [{name: outside, route: [{destination: {host: backend}}]}]}
",
    );
    let host = virtual_host(&snapshot, "80/api.example.com");
    assert_eq!(names(&host.rules), ["outside"]);
    assert!(has(&diagnostics, &["MESH0107", "api.example.com"]));
}

#[test]
fn an_alias_is_routed_as_what_it_stands_for() {
    let (snapshot, _) = explicit(
        "
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: backend.shop.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: api.example.com, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: backend, namespace: shop}
spec: {hosts: [backend], http: [{name: routed, route: [{destination: {host: alias}}]}]}
",
    );
    let alias = virtual_host(&snapshot, "8080/alias.shop.svc.cluster.local");
    assert_eq!(names(&alias.rules), ["routed"]);
    assert_eq!(
        target(&alias.rules[0]),
        "outbound|8080||backend.shop.svc.cluster.local"
    );
    let set = snapshot
        .get(
            &"endpoints/outside.shop.svc.cluster.local:80"
                .parse()
                .unwrap(),
        )
        .unwrap();
    let text = serde_json::to_string(&set.resource).unwrap();
    assert!(text.contains("api.example.com"), "{text}");
}

#[test]
fn the_ports_an_alias_lists_do_not_count() {
    let (snapshot, _) = explicit(
        "
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec:
  type: ExternalName
  externalName: backend.shop.svc.cluster.local
  ports: [{name: http, port: 80}]
",
    );
    let alias = virtual_host(&snapshot, "8080/alias.shop.svc.cluster.local");
    assert_eq!(
        target(&alias.rules[0]),
        "outbound|8080||backend.shop.svc.cluster.local"
    );
    let unknown = "80/alias.shop.svc.cluster.local".parse().unwrap();
    assert!(snapshot.get(&ResourceName::Routes(unknown)).is_none());
}

#[test]
fn services_are_seen_where_they_are_exported_to() {
    let hidden = "
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: other, annotations: {networking.istio.io/exportTo: '.'}}
spec: {clusterIP: 10.96.0.30, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: backend, namespace: shop}
spec: {hosts: [backend], http: [{route: [{destination: {host: hidden.other.svc.cluster.local}}]}]}
";
    let (snapshot, diagnostics) = explicit(hidden);
    assert!(target(&backend(&snapshot)[0]).contains("not exported"));
    assert!(has(&diagnostics, &["MESH0101", "exportTo"]));
    let name = "routes/80/hidden.other.svc.cluster.local";
    assert!(snapshot.get(&name.parse().unwrap()).is_none());
}

#[test]
fn a_sidecar_narrows_what_is_known_and_lets_nothing_else_out() {
    let yaml = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec:
  egress: [{hosts: ['./backend.shop.svc.cluster.local']}]
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: backend, namespace: shop}
spec: {hosts: [backend], http: [{route: [{destination: {host: store, port: {number: 80}}}]}]}
";
    let (snapshot, _) = captured(yaml);
    let store = "routes/80/store.shop.svc.cluster.local";
    assert!(snapshot.get(&store.parse().unwrap()).is_none());
    // What an imported route leads to is there all the same.
    let cluster = "cluster/outbound|80||store.shop.svc.cluster.local";
    assert!(snapshot.get(&cluster.parse().unwrap()).is_some());
    let rest = virtual_host(&snapshot, "8080/*");
    assert!(matches!(&rest.rules[0].action, RouteAction::Respond(answer) if answer.status == 502));
}

#[test]
fn redirected_connections_find_listeners_by_destination() {
    let yaml = "
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {clusterIP: 10.96.0.40, ports: [{name: tcp-x, port: 9000}, {name: plain, port: 9100}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: zz-loose, namespace: shop}
spec:
  hosts: [loose.example.com]
  resolution: NONE
  ports: [{number: 8080, name: tcp-y, protocol: TCP}]
";
    let (snapshot, diagnostics) = captured(yaml);
    let kind = |name: &str| {
        let entry = snapshot.get(&name.parse().unwrap()).unwrap();
        let Resource::Listener(listener) = &entry.resource else {
            panic!("{entry:?}");
        };
        (listener.bind.clone(), listener.kind.clone())
    };
    // HTTP at the address of its Service, and bytes elsewhere: neither is in the other's way.
    let (bind, http) = kind("listener/10.96.0.10_8080");
    assert!(matches!(
        bind,
        Bind::OriginalDestination {
            address: Some(_),
            ..
        }
    ));
    let ListenerKind::Outbound(http) = http else {
        panic!("{http:?}");
    };
    assert!(http.http.is_some() && http.silence == Silence::Wait);
    let (bind, loose) = kind("listener/0.0.0.0_8080");
    assert!(matches!(
        bind,
        Bind::OriginalDestination { address: None, .. }
    ));
    assert!(matches!(loose, ListenerKind::Outbound(loose) if loose.http.is_none()));
    // One TCP port of two services: their addresses tell them apart.
    for name in ["listener/10.96.0.11_9000", "listener/10.96.0.40_9000"] {
        let (_, tcp) = kind(name);
        assert!(matches!(
            tcp,
            ListenerKind::Outbound(tcp) if tcp.http.is_none() && tcp.tcp.rules.len() == 1
        ));
    }
    let (_, detect) = kind("listener/10.96.0.40_9100");
    assert!(matches!(
        detect,
        ListenerKind::Outbound(detect)
            if detect.http.is_some() && !detect.tcp.rules.is_empty() && detect.silence == Silence::Bytes
    ));
    assert!(!has(&diagnostics, &["MESH0302"]), "{diagnostics:?}");
}

#[test]
fn of_two_services_on_one_tcp_port_the_older_keeps_it_and_the_newer_is_named() {
    let yaml = "
apiVersion: v1
kind: Service
metadata: {name: aa-new, namespace: shop, creationTimestamp: '2026-03-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.41, ports: [{name: tcp-x, port: 9100}]}
---
apiVersion: v1
kind: Service
metadata: {name: zz-old, namespace: shop, creationTimestamp: '2025-03-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.42, ports: [{name: tcp-x, port: 9100}]}
";
    let (snapshot, diagnostics) = explicit(yaml);
    let listener = snapshot
        .get(&"listener/outbound/9100".parse().unwrap())
        .unwrap();
    let text = serde_json::to_string(&listener.resource).unwrap();
    assert!(text.contains("zz-old.shop"), "{text}");
    assert!(has(
        &diagnostics,
        &["MESH0302", "aa-new", "port 9100", "zz-old"]
    ));
}

#[test]
fn tcp_ports_conflict_where_nothing_tells_them_apart() {
    let yaml = "
apiVersion: v1
kind: Service
metadata: {name: zz-other, namespace: shop}
spec: {clusterIP: 10.96.0.40, ports: [{name: tcp-x, port: 9000}]}
";
    let (snapshot, diagnostics) = explicit(yaml);
    let listener = snapshot
        .get(&"listener/outbound/9000".parse().unwrap())
        .unwrap();
    let text = serde_json::to_string(&listener.resource).unwrap();
    assert!(text.contains("store.shop"), "{text}");
    assert!(has(
        &diagnostics,
        &["MESH0302", "zz-other", "port 9000", "store"]
    ));
}

#[test]
fn no_other_pod_answers_for_one_of_a_headless_service() {
    let world = world(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: 'True'}]}
",
    );
    let snapshot_in = |capture| {
        let compiled = compiled(&world, "shop/web-0", ProxyRole::Sidecar, capture);
        snapshot(&compiled)
    };
    let pods = "80/*.web.shop.svc.cluster.local";
    let names = [
        "*.web.shop.svc.cluster.local",
        "*.web.shop.svc",
        "*.web.shop",
        "*.web",
    ];
    let explicit = snapshot_in(CaptureMode::Explicit);
    assert_eq!(domains(&explicit, pods), names);
    let action = format!("{:?}", virtual_host(&explicit, pods).rules[0].action);
    assert!(
        action.contains("Fail") && action.contains("single pod"),
        "{action}"
    );
    let all = domains(&explicit, "80/web.shop.svc.cluster.local");
    assert!(
        all.contains(&"web".to_owned()) && !all.contains(&"*.web".to_owned()),
        "{all:?}"
    );

    // A redirected connection still knows to which pod it was going.
    let captured = snapshot_in(CaptureMode::OriginalDestination);
    let all = domains(&captured, "80/web.shop.svc.cluster.local");
    assert!(
        names.iter().all(|name| all.contains(&(*name).to_owned())),
        "{all:?}"
    );
}
