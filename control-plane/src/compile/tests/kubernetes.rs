//! What a redirected client gets in a cluster: the services every cluster has, and services that
//! share a port number.

use mesh_api::cluster::ClusterEndpoints;
use mesh_api::destination::FirstBytes;
use mesh_api::endpoint::EndpointAddress;
use mesh_api::name::ClusterName;

use super::*;
use crate::model::endpoints::endpoint_set;

const CLUSTER: &str = "
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default}
spec: {clusterIP: 10.96.0.1, ports: [{name: https, port: 443, targetPort: 6443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
endpoints: [{addresses: [172.16.0.1], conditions: {ready: true}}]
ports: [{name: https, port: 6443}]
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.2
  selector: {k8s-app: kube-dns}
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.30
  clusterIPs: [10.96.0.30, 'fd00::30']
  selector: {app: web}
  ports:
  - {name: http, port: 8080, targetPort: web, nodePort: 30080}
  - {name: tcp-raw, port: 6379}
---
apiVersion: v1
kind: Service
metadata: {name: cache, namespace: shop, creationTimestamp: '2020-01-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.31, selector: {app: cache}, ports: [{name: tcp, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop, creationTimestamp: '2020-01-01T00:00:00Z'}
spec:
  clusterIP: None
  selector: {app: db}
  ports: [{name: tcp-db, port: 8080}, {name: any, port: 9999}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- {addresses: [10.0.2.1], conditions: {ready: true}, hostname: db-0}
- {addresses: [10.0.2.2], conditions: {ready: true}, hostname: db-1}
- {addresses: [10.0.2.3], conditions: {ready: false}, hostname: db-2}
ports: [{name: tcp-db, port: 8080}, {name: any, port: 9999}]
---
apiVersion: v1
kind: Service
metadata: {name: queue, namespace: shop}
spec: {clusterIP: None, selector: {app: queue}, ports: [{name: tcp, port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: queue-1, namespace: shop, labels: {kubernetes.io/service-name: queue}}
addressType: IPv4
endpoints: [{addresses: [10.0.3.1], conditions: {ready: true}}]
ports: [{name: tcp, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: db.example.com, ports: [{name: tcp, port: 5432}]}
";

/// Where plain bytes to a destination go.
fn bytes_to(snapshot: &Snapshot, destination: &str) -> String {
    meets(snapshot, destination, FirstBytes::Other)
}

fn endpoints_of(snapshot: &Snapshot, name: &str) -> ClusterEndpoints {
    let name: ClusterName = name.parse().unwrap();
    let entry = snapshot.get(&ResourceName::Cluster(name)).unwrap();
    let Resource::Cluster(cluster) = &entry.resource else {
        panic!("{entry:?}");
    };
    cluster.endpoints.clone()
}

#[test]
fn the_clusters_own_services_are_reached() {
    let (snapshot, _) = captured(CLUSTER);
    assert_eq!(
        bytes_to(&snapshot, "10.96.0.1:443"),
        "outbound|443||kubernetes.default.svc.cluster.local"
    );
    // Names are looked up by TCP too; UDP is not captured at all.
    assert_eq!(
        bytes_to(&snapshot, "10.96.0.2:53"),
        "outbound|53||kube-dns.kube-system.svc.cluster.local"
    );
}

#[test]
fn services_with_one_port_number_do_not_disturb_each_other() {
    let (snapshot, diagnostics) = captured(CLUSTER);
    let cluster = |name: &str| format!("outbound|8080||{name}.shop.svc.cluster.local");
    // HTTP by its Host header at the addresses of the Services that speak it.
    for address in ["10.96.0.30:8080", "[fd00::30]:8080", "10.96.0.10:8080"] {
        assert_eq!(meets(&snapshot, address, FirstBytes::Http), "http");
    }
    assert_eq!(
        meets(&snapshot, "93.184.216.34:8080", FirstBytes::Http),
        "nothing"
    );
    virtual_host(&snapshot, "8080/web.shop.svc.cluster.local");
    virtual_host(&snapshot, "8080/backend.shop.svc.cluster.local");
    assert_eq!(bytes_to(&snapshot, "10.96.0.31:8080"), cluster("cache"));
    // Workloads of headless services by their own addresses, those that are ready.
    for address in ["10.0.2.1:8080", "10.0.2.2:8080"] {
        assert_eq!(bytes_to(&snapshot, address), cluster("db"));
    }
    assert_eq!(bytes_to(&snapshot, "10.0.2.3:8080"), "nothing");
    assert_eq!(bytes_to(&snapshot, "10.0.3.1:8080"), cluster("queue"));
    assert_eq!(
        endpoints_of(&snapshot, &cluster("db")),
        ClusterEndpoints::OriginalDestination
    );
    assert!(!has(&diagnostics, &["MESH0302"]), "{diagnostics:?}");
}

#[test]
fn every_virtual_address_of_a_service_leads_to_it() {
    let (snapshot, _) = captured(CLUSTER);
    for address in ["10.96.0.30:6379", "[fd00::30]:6379"] {
        assert_eq!(
            bytes_to(&snapshot, address),
            "outbound|6379||web.shop.svc.cluster.local"
        );
    }
    let host = virtual_host(&snapshot, "8080/web.shop.svc.cluster.local");
    for name in ["web", "web.shop", "10.96.0.30", "[fd00::30]"] {
        let named = host.domains.iter().any(|domain| domain.to_string() == name);
        assert!(named, "{name}: {:?}", host.domains);
    }
}

#[test]
fn another_name_takes_no_port_of_the_whole_world() {
    let (snapshot, _) = captured(CLUSTER);
    assert_eq!(bytes_to(&snapshot, "93.184.216.34:5432"), "nothing");
    assert_eq!(bytes_to(&snapshot, "93.184.216.34:9999"), "nothing");
}

/// The addresses of a service's endpoints, with their health and zone.
fn endpoints(yaml: &str, name: &str) -> Vec<String> {
    let world = world(yaml);
    let set = endpoint_set(&world, &name.parse().unwrap()).unwrap();
    set.endpoints
        .iter()
        .map(|one| {
            let EndpointAddress::Socket(address) = &one.address else {
                panic!("{one:?}");
            };
            format!("{address} {:?} {}", one.health, one.locality.zone)
        })
        .collect()
}

#[test]
fn endpoints_follow_their_slices() {
    let yaml = "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: a}}
spec: {nodeName: n1, containers: []}
status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {clusterIP: 10.96.0.5, selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-4, namespace: shop, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: a}}
- {addresses: [10.0.0.2], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.0.0.3], conditions: {ready: false, serving: false, terminating: true}}
- {addresses: [10.0.0.4], conditions: {ready: false}}
- {addresses: [10.0.0.5], nodeName: n1}
ports: [{name: http, port: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-6, namespace: shop, labels: {kubernetes.io/service-name: a}}
addressType: IPv6
endpoints: [{addresses: ['fd00::1'], conditions: {ready: true}, targetRef: {kind: Pod, name: a}}]
ports: [{name: http, port: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand, namespace: shop, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
endpoints: [{addresses: [10.9.9.9]}]
ports: [{name: http, port: 9090}]
";
    assert_eq!(
        endpoints(yaml, "a.shop.svc.cluster.local:80"),
        [
            "10.0.0.1:8080 Healthy eu-1",
            "10.0.0.2:8080 Draining ",
            "10.0.0.5:8080 Healthy eu-1",
            "10.9.9.9:9090 Healthy ",
        ]
    );
}

#[test]
fn an_address_belongs_to_the_pod_that_lives() {
    let pod = |name: &str, rest: &str| {
        format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop{rest}}}
status: {{phase: Running, podIP: 10.0.0.1, conditions: [{{type: Ready, status: 'True'}}]}}
---
"
        )
    };
    let ended = pod("a-ended", "").replace("Running", "Succeeded");
    let ending = pod("b-ending", ", deletionTimestamp: '2024-01-01T00:00:00Z'");
    let living = pod("c-living", "");
    for yaml in [
        format!("{ended}{ending}{living}"),
        format!("{living}{ending}{ended}"),
    ] {
        let world = world(&yaml);
        let found = world.workload_at("10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!(&*found.id.name, "c-living");
    }
    let world = world(&format!("{ended}{ending}"));
    let found = world.workload_at("10.0.0.1".parse().unwrap()).unwrap();
    assert_eq!(&*found.id.name, "b-ending");
}
