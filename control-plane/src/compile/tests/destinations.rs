//! Which connections a service takes from a redirected client, and which it leaves alone.

use mesh_api::listener::UnmatchedTraffic;

use super::*;
use crate::model::{Change, MeshSettings, World};
use crate::testing::objects;

const HTTP: FirstBytes<'_> = FirstBytes::Http;
const BYTES: FirstBytes<'_> = FirstBytes::Other;

fn sni(name: &str) -> FirstBytes<'_> {
    FirstBytes::Tls(Some(name))
}

/// An address outside the mesh.
const OUTSIDE: &str = "93.184.216.34";

fn entry(name: &str, created: u32, spec: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: other, creationTimestamp: '20{created}-01-01T00:00:00Z'}}
spec: {{{spec}}}
---
"
    )
}

/// What the client meets for a call to each of these, as `TARGET` or `TARGET, but EXPECTED`.
fn check(snapshot: &Snapshot, calls: &[(&str, FirstBytes<'_>, &str)]) {
    for (to, first, expected) in calls {
        assert_eq!(meets(snapshot, to, *first), *expected, "{to} {first:?}");
    }
}

#[test]
fn a_service_takes_its_own_address_and_no_other_of_its_port() {
    let ports = [443, 3306, 5432, 6379];
    for port in ports {
        let yaml = format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: greedy, namespace: other}}
spec: {{clusterIP: 10.96.0.50, selector: {{app: greedy}}, ports: [{{name: http-x, port: {port}}}]}}
"
        );
        let (snapshot, _) = captured(&yaml);
        let at = |address: &str| format!("{address}:{port}");
        let (own, outside) = (at("10.96.0.50"), at(OUTSIDE));
        check(
            &snapshot,
            &[
                (&own, HTTP, "http"),
                (&outside, HTTP, "nothing"),
                (&outside, sni("api.example.com"), "nothing"),
                (&outside, BYTES, "nothing"),
            ],
        );
        // Nobody even looks at the first bytes, so servers that speak first are not kept waiting.
        let table = Table::of(snapshot.listeners());
        assert_eq!(table.find(outside.parse().unwrap(), None), Found::Unknown);
    }
}

#[test]
fn a_headless_service_takes_the_addresses_of_its_workloads() {
    let yaml = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: other}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: other, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.0.2.1], conditions: {ready: true}}]
ports: [{name: http, port: 443}]
";
    let (snapshot, _) = captured(yaml);
    check(
        &snapshot,
        &[
            ("10.0.2.1:443", HTTP, "http"),
            ("10.0.2.1:443", BYTES, "PassthroughCluster"),
            ("10.0.2.2:443", HTTP, "nothing"),
            ("10.0.2.2:443", sni("web"), "nothing"),
        ],
    );
}

#[test]
fn an_entry_without_address_takes_what_names_it() {
    let yaml = entry(
        "api",
        20,
        "hosts: [api.example.com], resolution: DNS, ports: [\
         {number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}, \
         {number: 9443, name: auto}]",
    );
    let (snapshot, diagnostics) = captured(&yaml);
    let (tls, http, auto) = (
        "93.184.216.34:443",
        "93.184.216.34:80",
        "93.184.216.34:9443",
    );
    check(
        &snapshot,
        &[
            (tls, sni("api.example.com"), "outbound|443||api.example.com"),
            (tls, sni("www.example.com"), "nothing"),
            (tls, FirstBytes::Tls(None), "nothing"),
            (tls, HTTP, "nothing"),
            (tls, BYTES, "nothing"),
            (http, HTTP, "http"),
            (http, sni("api.example.com"), "nothing"),
            (http, BYTES, "nothing"),
            (auto, HTTP, "http"),
            (
                auto,
                sni("api.example.com"),
                "outbound|9443||api.example.com",
            ),
            (auto, sni("www.example.com"), "nothing"),
            (auto, BYTES, "nothing"),
        ],
    );
    assert!(
        has(
            &diagnostics,
            &["MESH0312", "other/api", "port 9443", "protocol: TCP"]
        ),
        "{diagnostics:?}"
    );
}

#[test]
fn blocks_take_their_addresses_and_the_longest_comes_first() {
    let tcp = "resolution: NONE, ports: [{number: 9000, name: tcp, protocol: TCP}]";
    let yaml = [
        entry("all", 18, &format!("hosts: [all.test], {tcp}")),
        entry(
            "wide",
            19,
            &format!("hosts: [wide.test], addresses: [10.50.0.0/16], {tcp}"),
        ),
        entry(
            "narrow",
            20,
            &format!("hosts: [narrow.test], addresses: [10.50.7.0/24], {tcp}"),
        ),
        entry(
            "one",
            21,
            &format!("hosts: [one.test], addresses: [10.50.7.7], {tcp}"),
        ),
    ];
    let to = |host: &str| format!("outbound|9000||{host}.test");
    let (snapshot, diagnostics) = captured(&yaml.concat());
    check(
        &snapshot,
        &[
            ("10.50.7.7:9000", BYTES, &to("one")),
            ("10.50.7.8:9000", BYTES, &to("narrow")),
            ("10.50.8.8:9000", BYTES, &to("wide")),
            ("10.51.0.1:9000", BYTES, &to("all")),
        ],
    );
    assert!(!has(&diagnostics, &["MESH0302"]), "{diagnostics:?}");
    // Without the one for any address, the others leave it alone.
    let [_, wide, ..] = &yaml;
    let (snapshot, _) = captured(wide);
    check(
        &snapshot,
        &[
            ("10.50.8.8:9000", BYTES, &to("wide")),
            ("10.51.0.1:9000", BYTES, "nothing"),
        ],
    );
}

#[test]
fn an_older_wildcard_does_not_hide_a_name() {
    let tls = "resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]";
    let yaml = [
        entry("wide", 18, &format!("hosts: ['*.example.com'], {tls}")),
        entry("deep", 19, &format!("hosts: ['*.b.example.com'], {tls}")),
        entry("api", 20, &format!("hosts: [api.example.com], {tls}")),
    ];
    let (snapshot, diagnostics) = captured(&yaml.concat());
    let at = "93.184.216.34:443";
    check(
        &snapshot,
        &[
            (at, sni("api.example.com"), "outbound|443||api.example.com"),
            (at, sni("x.b.example.com"), "outbound|443||*.b.example.com"),
            (at, sni("b.example.com"), "outbound|443||*.example.com"),
            (at, sni("example.com"), "nothing"),
        ],
    );
    assert!(!has(&diagnostics, &["MESH0302"]), "{diagnostics:?}");
}

#[test]
fn subnets_of_routes_narrow_their_service() {
    let yaml = entry(
        "wide",
        18,
        "hosts: [wide.test], addresses: [10.50.0.0/16], resolution: NONE, \
         ports: [{number: 9000, name: tcp, protocol: TCP}]",
    ) + "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wide, namespace: shop}
spec:
  hosts: [wide.test]
  tcp:
  - match: [{destinationSubnets: [10.50.0.0/20], port: 9000}]
    route: [{destination: {host: store.shop.svc.cluster.local, port: {number: 9000}}}]
  - match: [{destinationSubnets: [10.50.7.0/24], port: 9000}]
    route: [{destination: {host: backend.shop.svc.cluster.local, port: {number: 8080}}}]
  - match: [{destinationSubnets: [10.60.0.0/16], port: 9000}]
    route: [{destination: {host: store.shop.svc.cluster.local, port: {number: 80}}}]
";
    let (snapshot, _) = captured(&yaml);
    check(
        &snapshot,
        &[
            (
                "10.50.7.7:9000",
                BYTES,
                "outbound|8080||backend.shop.svc.cluster.local",
            ),
            (
                "10.50.1.1:9000",
                BYTES,
                "outbound|9000||store.shop.svc.cluster.local",
            ),
            // What no route names goes to the service itself, as without routes.
            ("10.50.99.1:9000", BYTES, "outbound|9000||wide.test"),
            (
                "10.60.0.1:9000",
                BYTES,
                "outbound|80||store.shop.svc.cluster.local",
            ),
            ("10.70.0.1:9000", BYTES, "nothing"),
        ],
    );
}

#[test]
fn a_service_keeps_its_own_address_whatever_entry_is_older() {
    let claim = |protocol: &str, host: &str| {
        entry(
            "claim",
            10,
            &format!(
                "hosts: [{host}], addresses: [10.96.0.10, 10.96.0.11], resolution: NONE, ports: [\
                 {{number: 8080, name: a, protocol: {protocol}}}, \
                 {{number: 9000, name: b, protocol: {protocol}}}]"
            ),
        )
    };
    for protocol in ["HTTP", "TLS", "TCP"] {
        let (snapshot, _) = captured(&claim(protocol, "evil.test"));
        let store = "outbound|9000||store.shop.svc.cluster.local";
        check(
            &snapshot,
            &[
                ("10.96.0.10:8080", HTTP, "http"),
                ("10.96.0.10:8080", sni("evil.test"), "PassthroughCluster"),
                ("10.96.0.11:9000", HTTP, store),
                ("10.96.0.11:9000", sni("evil.test"), store),
                ("10.96.0.11:9000", BYTES, store),
            ],
        );
        // Whoever calls the address as a host means the Service, too.
        let host = virtual_host(&snapshot, "8080/backend.shop.svc.cluster.local");
        assert!(
            host.domains
                .iter()
                .any(|domain| domain.to_string() == "10.96.0.10")
        );
    }
    // A Service the client does not see keeps its address as well.
    let hidden = claim("TCP", "evil.test")
        + "
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: other, annotations: {networking.istio.io/exportTo: '.'}}
spec: {clusterIP: 10.96.0.77, ports: [{name: tcp, port: 9000}]}
";
    let (snapshot, _) = captured(&hidden.replace("[10.96.0.10, ", "[10.96.0.77, "));
    check(&snapshot, &[("10.96.0.77:9000", BYTES, "nothing")]);
}

#[test]
fn services_and_entries_of_one_port_number_are_not_in_each_others_way() {
    let yaml = entry(
        "api",
        18,
        "hosts: [api.example.com], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]",
    ) + &entry(
        "legacy",
        19,
        "hosts: [legacy.example.com], resolution: DNS, ports: [\
         {number: 443, name: http, protocol: HTTP}]",
    ) + "
apiVersion: v1
kind: Service
metadata: {name: http-443, namespace: other, creationTimestamp: '2010-01-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.50, ports: [{name: http-443, port: 443}]}
";
    let (snapshot, diagnostics) = captured(&yaml);
    check(
        &snapshot,
        &[
            ("10.96.0.50:443", HTTP, "http"),
            (
                "93.184.216.34:443",
                sni("api.example.com"),
                "outbound|443||api.example.com",
            ),
            ("93.184.216.34:443", HTTP, "http"),
        ],
    );
    assert!(!has(&diagnostics, &["MESH0302"]), "{diagnostics:?}");
}

#[test]
fn a_misnamed_port_is_carried_to_its_service_and_named() {
    let yaml = "
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: other}
spec: {clusterIP: 10.96.0.50, ports: [{name: http, port: 8200, targetPort: 8443}, {name: web, port: 9300}]}
";
    let mut world = World::new(MeshSettings {
        outbound_traffic: UnmatchedTraffic::Refuse,
        ..MeshSettings::default()
    });
    world.apply(objects(&shop(yaml)).into_iter().map(Change::Applied));
    let mode = CaptureMode::OriginalDestination;
    let compiled = compiled(&world, "shop/client", ProxyRole::Sidecar, mode);
    let snapshot = snapshot(&compiled);
    check(
        &snapshot,
        &[
            ("10.96.0.50:8200", HTTP, "http"),
            ("10.96.0.50:8200", sni("vault"), "PassthroughCluster"),
            ("10.96.0.50:8200", BYTES, "PassthroughCluster"),
            ("10.96.0.51:8200", sni("vault"), "nothing"),
        ],
    );
    let diagnostics: Vec<String> = compiled.diagnostics().map(ToString::to_string).collect();
    for parts in [
        ["MESH0314", "other/vault", "port 8200", "appProtocol: https"],
        ["MESH0312", "other/vault", "port 9300", "appProtocol: tcp"],
    ] {
        assert!(has(&diagnostics, &parts), "{diagnostics:?}");
    }
}

#[test]
fn bytes_without_an_address_take_their_port_and_it_is_said() {
    let tcp = |resolution: &str| {
        entry(
            "db",
            18,
            &format!(
                "hosts: [db.example.com], resolution: {resolution}, ports: [\
                 {{number: 5432, name: tcp, protocol: TCP}}]"
            ),
        )
    };
    let (snapshot, diagnostics) = captured(&tcp("DNS"));
    check(
        &snapshot,
        &[("93.184.216.34:5432", BYTES, "outbound|5432||db.example.com")],
    );
    assert!(
        has(&diagnostics, &["MESH0313", "other/db", "port 5432"]),
        "{diagnostics:?}"
    );
    let (_, diagnostics) = captured(&tcp("NONE"));
    assert!(!has(&diagnostics, &["MESH0313"]), "{diagnostics:?}");
}

#[test]
fn hosts_that_are_no_service_are_found_at_any_address_of_port_80() {
    let yaml = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: old, namespace: shop}
spec:
  hosts: [old.example.com]
  http: [{redirect: {authority: new.example.com}}]
";
    let (snapshot, _) = captured(yaml);
    check(
        &snapshot,
        &[
            ("93.184.216.34:80", HTTP, "http"),
            ("93.184.216.34:80", BYTES, "nothing"),
        ],
    );
    let (snapshot, _) = captured("");
    check(&snapshot, &[("93.184.216.34:80", HTTP, "nothing")]);
}
