//! One name, one text.

use super::*;

#[test]
fn names_print_and_parse_to_themselves() {
    for text in [
        "listener/0.0.0.0_8080",
        "routes/8080/backend.shop.svc.cluster.local",
        "routes/8443.shop-https/*.example.com",
        "routes/80/*",
        "cluster/outbound|8080|v1|backend.shop.svc.cluster.local",
        "cluster/outbound|8080||backend.shop.svc.cluster.local",
        "cluster/inbound|9080||",
        "cluster/PassthroughCluster",
        "endpoints/backend.shop.svc.cluster.local:8080",
        "endpoints/api.example.com:443/shop/api.v2",
        "policy/inbound/9080",
        "workload/127.80.1.1",
        "workload/2001:db8::7",
        "settings/proxy",
    ] {
        let name: ResourceName = text.parse().unwrap();
        assert_eq!(name.to_string(), text);
    }
}

#[test]
fn text_that_names_nothing_is_refused() {
    for text in [
        "",
        "cluster",
        "cluster/",
        "cluster/outbound|0||x",
        "cluster/outbound|80||",
        "routes/99999/x",
        "routes/080/x",
        "endpoints/x",
        "endpoints/x:80/",
        "endpoints/x:80/shop",
        "endpoints/x:80//api",
        "endpoints/x:80/shop/",
        "endpoints/x:80/shop/api/v1",
        "workload/backend",
        "workload/0:0::1",
        "routes/80./x",
        "settings/other",
        "pod/x",
    ] {
        assert!(text.parse::<ResourceName>().is_err(), "{text}");
    }
}
