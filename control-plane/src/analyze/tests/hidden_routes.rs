//! TCP and TLS routes that no connection reaches are named, and only those.

use super::*;

/// The routes of a virtual service that are called unreachable.
fn unreachable(spec: &str) -> Vec<String> {
    let yaml = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a, namespace: \
         shop}}\nspec:\n  hosts: [raw, '*.raw.example', raw.example]\n  gateways: [mesh, edge]\n{spec}"
    );
    let found = in_shop(&format!("{RAW}{yaml}")).into_iter();
    found
        .filter(|one| one.code == codes::UNREACHABLE_ROUTE)
        .map(|one| one.field)
        .collect()
}

const RAW: &str = "
apiVersion: v1
kind: Service
metadata: {name: raw, namespace: shop}
spec:
  clusterIP: 10.96.0.9
  selector: {app: raw}
  ports: [{name: tcp, port: 9000}, {name: tcp-b, port: 9001}, {name: tls, port: 443}]
---
";

const TO: &str = "route: [{destination: {host: raw, port: {number: 9000}}}]";

/// What is found of routes with these lists of conditions, in this order.
fn hidden(protocol: &str, routes: &[&str]) -> Vec<String> {
    let routes: Vec<String> = routes
        .iter()
        .map(|matches| format!("    - {{match: [{matches}], {TO}}}\n"))
        .collect();
    unreachable(&format!("  {protocol}:\n{}", routes.join("")))
}

#[test]
fn gateways_of_tcp_and_tls_matches_are_looked_for() {
    for (protocol, rest) in [("tcp", "port: 9000"), ("tls", "sniHosts: [raw.example]")] {
        let yaml = format!(
            "{RAW}apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a, \
             namespace: shop}}\nspec: {{hosts: [raw.example], {protocol}: [{{match: [{{gateways: \
             [edgy], {rest}}}], {TO}}}]}}\n"
        );
        let found = of(&in_shop(&yaml), "MESH0404");
        assert!(
            found.len() == 1 && found[0].contains("shop/edgy"),
            "{protocol}: {found:?}"
        );
    }
}

#[test]
fn tcp_routes_are_hidden_by_those_that_take_all_their_connections() {
    for (first, second, is_hidden) in [
        ("{gateways: [mesh]}", "{gateways: [edge]}", false),
        ("{gateways: [mesh, edge]}", "{gateways: [edge]}", true),
        ("{port: 9000}", "{port: 9001}", false),
        (
            "{port: 9000}",
            "{port: 9000, sourceLabels: {app: web}}",
            true,
        ),
        ("{sourceLabels: {app: web}}", "{port: 9000}", false),
        (
            "{sourceLabels: {app: web}}",
            "{sourceLabels: {app: web, version: v1}}",
            true,
        ),
        ("{sourceNamespace: shop}", "{sourceNamespace: other}", false),
        ("{sourceNamespace: shop}", "{sourceNamespace: shop}", true),
        // The most specific block wins, whichever comes first.
        (
            "{destinationSubnets: [10.0.0.0/8]}",
            "{destinationSubnets: [10.1.0.0/16]}",
            false,
        ),
        (
            "{destinationSubnets: [10.1.0.0/16]}",
            "{destinationSubnets: [10.0.0.0/8]}",
            false,
        ),
        (
            "{destinationSubnets: [10.1.0.0/16, 10.2.3.4]}",
            "{destinationSubnets: [10.1.2.3/16]}",
            true,
        ),
        ("{destinationSubnets: [10.0.0.0/8]}", "{port: 9000}", false),
        (
            "{port: 9000}",
            "{port: 9000, destinationSubnets: [10.0.0.0/8]}",
            true,
        ),
    ] {
        let found = hidden("tcp", &[first, second]);
        let expected: &[&str] = if is_hidden { &["spec.tcp[1]"] } else { &[] };
        assert_eq!(found, expected, "{first} before {second}");
    }
    let both = ["{port: 9000}", "{port: 9001}"];
    let third = "{port: 9001}, {port: 9000, sourceNamespace: shop}";
    assert_eq!(hidden("tcp", &[both[0], both[1], third]), ["spec.tcp[2]"]);
    let more = "{port: 9001}, {port: 9002}";
    assert!(hidden("tcp", &[both[0], both[1], more]).is_empty());
    // No match at all is for every connection.
    let catch_all = format!("  tcp:\n    - {{{TO}}}\n    - {{match: [{{port: 9000}}], {TO}}}\n");
    assert_eq!(unreachable(&catch_all), ["spec.tcp[1]"]);
}

#[test]
fn tls_routes_are_hidden_by_those_with_their_names() {
    for (first, second, is_hidden) in [
        (
            "{sniHosts: [raw.example]}",
            "{sniHosts: [a.raw.example]}",
            false,
        ),
        (
            "{sniHosts: [raw.example]}",
            "{sniHosts: [RAW.example]}",
            true,
        ),
        (
            "{sniHosts: [raw.example], port: 443}",
            "{sniHosts: [raw.example]}",
            false,
        ),
        (
            "{sniHosts: [raw.example]}",
            "{sniHosts: [raw.example], port: 443}",
            true,
        ),
        // The most specific name wins, whichever comes first.
        (
            "{sniHosts: ['*.raw.example']}",
            "{sniHosts: [a.raw.example]}",
            false,
        ),
        (
            "{sniHosts: [a.raw.example, b.raw.example]}",
            "{sniHosts: [b.raw.example]}",
            true,
        ),
        // And before it the most specific block.
        (
            "{sniHosts: [raw.example]}",
            "{sniHosts: [raw.example], destinationSubnets: [10.0.0.0/8]}",
            false,
        ),
        (
            "{sniHosts: [raw.example], destinationSubnets: [10.0.0.0/8]}",
            "{sniHosts: [raw.example], destinationSubnets: [10.0.0.0/8]}",
            true,
        ),
        (
            "{sniHosts: [raw.example], sourceLabels: {app: web}}",
            "{sniHosts: [raw.example]}",
            false,
        ),
        (
            "{sniHosts: [raw.example], gateways: [mesh]}",
            "{sniHosts: [raw.example], gateways: [edge]}",
            false,
        ),
        (
            "{sniHosts: [raw.example], sourceNamespace: shop}",
            "{sniHosts: [raw.example], sourceNamespace: shop}",
            true,
        ),
    ] {
        let found = hidden("tls", &[first, second]);
        let expected: &[&str] = if is_hidden { &["spec.tls[1]"] } else { &[] };
        assert_eq!(found, expected, "{first} before {second}");
    }
}

/// What one client never reaches is no finding where another does.
#[test]
fn routes_of_other_virtual_services_hide_from_all_clients_or_not() {
    let one = |name: &str, conditions: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, \
             namespace: shop}}\nspec: {{hosts: [raw], tcp: [{{match: [{conditions}], {TO}}}]}}\n---\n"
        )
    };
    for (first, second, is_hidden) in [
        ("{port: 9000}", "{port: 9000}", true),
        ("{port: 9000}", "{port: 9001}", false),
        ("{sourceLabels: {app: web}}", "{port: 9000}", false),
        (
            "{port: 9000}",
            "{port: 9000, sourceLabels: {app: web}}",
            true,
        ),
    ] {
        let yaml = format!("{RAW}{}{}", one("a", first), one("b", second));
        let found = of(&in_shop(&yaml), "MESH0105");
        let named = found.iter().any(|one| one.contains("shop/b spec.tcp[0]"));
        assert_eq!(named, is_hidden, "{first} before {second}: {found:?}");
        assert_eq!(found.len(), usize::from(is_hidden), "{found:?}");
    }
}
