//! The settings of the mesh, the namespaces in sight, and the Secrets of gateways.

use super::*;

const MESH: &str = "/api/v1/namespaces/istio-system/configmaps/istio";

#[tokio::test]
async fn settings_act_or_are_named_and_outlive_mistakes() {
    let api = cluster();
    let settings = |text: &str| json!({"data": {"mesh": text}});
    api.put(
        MESH,
        settings("rootNamespace: mesh\nenableTracing: true\ntypo: 1\n"),
    );
    let mut running = Running::start(api.client(), timing());
    let batch = running.complete().await;
    let mesh = batch.mesh.expect("settings");
    assert_eq!(mesh.config.root_namespace(), "mesh");
    assert_eq!(mesh.not_acted_on, ["enableTracing"]);
    assert!(running.has_said(&["ConfigMap istio-system/istio", "mesh.typo", "unknown key"]));

    api.put(MESH, settings("rootNamespace: [unfinished"));
    running
        .says(&[
            "is not YAML",
            "last settings that could be read stay in force",
        ])
        .await;
    assert!(!running.has_said(&["mesh.typo"]));
    api.put(MESH, settings("connectTimeout: 3s"));
    let mesh = loop {
        if let Some(mesh) = running.next().await.mesh {
            break mesh;
        }
    };
    assert_eq!(mesh.config.root_namespace(), "istio-system");
    running.takes_back(&["is not YAML"]).await;
    api.delete(MESH);
    running.says(&["is gone", "stay in force"]).await;
}

#[tokio::test]
async fn namespaces_come_into_sight_and_go_out_of_it() {
    let api = cluster();
    let selecting = "discoverySelectors: [{matchLabels: {mesh: 'yes'}}]";
    api.put(MESH, json!({"data": {"mesh": selecting}}));
    api.put("/api/v1/namespaces/other", json!({"metadata": {}}));
    let service = json!({"spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}});
    api.put("/api/v1/namespaces/other/services/hidden", service.clone());
    api.put("/api/v1/namespaces/istio-system/services/istiod", service);
    let mut running = Running::start(api.client(), timing());
    let changes = texts(&running.complete().await.changes);
    assert!(
        changes.contains(&"+ VirtualService shop/backend".to_owned()),
        "{changes:?}"
    );
    assert!(
        changes.contains(&"+ Service istio-system/istiod".to_owned()),
        "{changes:?}"
    );
    assert!(
        !changes.contains(&"+ Service other/hidden".to_owned()),
        "{changes:?}"
    );

    api.put(
        "/api/v1/namespaces/other",
        json!({"metadata": {"labels": {"mesh": "yes"}}}),
    );
    let changes = running.changes().await;
    assert_eq!(changes, ["+ Service other/hidden", "+ Namespace other"]);
    api.put(
        "/api/v1/namespaces/shop",
        json!({"metadata": {"labels": {"mesh": "no"}}}),
    );
    let changes = running.changes().await;
    assert!(
        changes.contains(&"- VirtualService shop/backend".to_owned()),
        "{changes:?}"
    );
    assert!(changes.contains(&"- Pod shop/a".to_owned()), "{changes:?}");
    // Without selectors everything is in sight.
    api.put(MESH, json!({"data": {"mesh": "{}"}}));
    let changes = running.changes().await;
    assert!(changes.contains(&"+ Pod shop/a".to_owned()), "{changes:?}");
}

#[tokio::test]
async fn secrets_of_gateways_are_looked_at_where_their_pods_are() {
    let api = cluster();
    let gateway = "/apis/networking.istio.io/v1/namespaces/shop/gateways/web";
    api.put(
        gateway,
        json!({"spec": {"selector": {"istio": "ingressgateway"}, "servers": [{
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"],
            "tls": {"mode": "SIMPLE", "credentialName": "web-tls"}
        }]}}),
    );
    let mut ingress = pod("ingress", "10.0.1.1");
    ingress["metadata"]["labels"] = json!({"istio": "ingressgateway"});
    api.put("/api/v1/namespaces/edge/pods/ingress", ingress);
    let mut running = started(&api).await;
    running
        .says(&["Gateway shop/web", "Secret edge/web-tls does not exist"])
        .await;
    assert!(running.has_said(&["spec.servers[0].tls.credentialName"]));
    let secrets: Vec<String> = api
        .seen()
        .iter()
        .filter(|one| one.path.contains("secrets"))
        .map(|one| {
            format!(
                "{} {}",
                one.path,
                one.query.contains("metadata.name%3Dweb-tls")
            )
        })
        .collect();
    assert!(!secrets.is_empty());
    // Never all Secrets, not even of one namespace.
    for request in secrets {
        assert_eq!(request, "/api/v1/namespaces/edge/secrets true");
    }

    let secret = "/api/v1/namespaces/edge/secrets/web-tls";
    api.put(
        secret,
        json!({"data": {"tls.crt": "bm9uZQ==", "tls.key": "S0VZ"}}),
    );
    running
        .says(&["Gateway shop/web", "tls.crt holds no certificate"])
        .await;
    api.delete(gateway);
    running.takes_back(&["Gateway shop/web"]).await;
}
