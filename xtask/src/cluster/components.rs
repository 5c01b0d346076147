//! How each process of the cluster is started.

use std::path::PathBuf;

use super::assets::Assets;
use super::layout::{self, Layout};

/// All of them, in the order in which they are started; they are ended in the reverse order.
pub(super) const NAMES: [&str; 7] = [
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
];

/// A program and its arguments.
pub(super) type Invocation = (PathBuf, Vec<String>);

fn list(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|one| (*one).to_owned()).collect()
}

pub(super) fn etcd(layout: &Layout, program: PathBuf) -> Invocation {
    let clients = format!("http://{}", layout::ETCD);
    let peers = format!("http://{}", layout::ETCD_PEERS);
    let folder = layout.root().join("etcd").display().to_string();
    let cluster = format!("mesh={peers}");
    let arguments = list(&[
        "--name=mesh",
        "--data-dir",
        &folder,
        "--listen-client-urls",
        &clients,
        "--advertise-client-urls",
        &clients,
        "--listen-peer-urls",
        &peers,
        "--initial-advertise-peer-urls",
        &peers,
        "--initial-cluster",
        &cluster,
        "--logger=zap",
        "--log-level=warn",
        // What is in the cluster may be lost with the machine, and a disk is shared with builds.
        "--unsafe-no-fsync",
    ]);
    (program, arguments)
}

pub(super) fn containerd(layout: &Layout, program: PathBuf) -> Invocation {
    let file = layout.configuration().join("containerd.toml");
    let file = file.display().to_string();
    (program, list(&["--config", &file, "--log-level", "warn"]))
}

pub(super) fn api_server(layout: &Layout, assets: &Assets) -> Invocation {
    let of = |name: &str| layout.certificates().join(name).display().to_string();
    let issuer = format!("https://kubernetes.default.svc.{}", layout::CLUSTER_DOMAIN);
    let options: [(&str, String); 28] = [
        ("advertise-address", layout::NODE_ADDRESS.to_owned()),
        ("allow-privileged", "true".to_owned()),
        ("api-audiences", issuer.clone()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("bind-address", layout::NODE_ADDRESS.to_owned()),
        ("client-ca-file", of("ca.crt")),
        // Webhooks and extension servers are reached at the addresses of their pods.
        ("enable-aggregator-routing", "true".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("etcd-servers", format!("http://{}", layout::ETCD)),
        ("kubelet-certificate-authority", of("ca.crt")),
        (
            "kubelet-client-certificate",
            of("apiserver-kubelet-client.crt"),
        ),
        ("kubelet-client-key", of("apiserver-kubelet-client.key")),
        // The node's name is in no DNS.
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("proxy-client-cert-file", of("front-proxy-client.crt")),
        ("proxy-client-key-file", of("front-proxy-client.key")),
        // The same authority signs clients: only this name may speak for others.
        ("requestheader-allowed-names", "front-proxy".to_owned()),
        ("requestheader-client-ca-file", of("ca.crt")),
        (
            "requestheader-extra-headers-prefix",
            "X-Remote-Extra-".to_owned(),
        ),
        ("requestheader-group-headers", "X-Remote-Group".to_owned()),
        ("requestheader-username-headers", "X-Remote-User".to_owned()),
        ("secure-port", layout::API_PORT.to_string()),
        ("service-account-issuer", issuer),
        ("service-account-key-file", of("service-accounts.pub")),
        (
            "service-account-signing-key-file",
            of("service-accounts.key"),
        ),
        ("service-cluster-ip-range", layout::SERVICE_RANGE.to_owned()),
        ("tls-cert-file", of("apiserver.crt")),
        ("tls-private-key-file", of("apiserver.key")),
        ("profiling", "false".to_owned()),
    ];
    (assets.program("kube-apiserver"), flags(&options))
}

pub(super) fn controller_manager(layout: &Layout, assets: &Assets) -> Invocation {
    let of = |name: &str| layout.certificates().join(name).display().to_string();
    let own = of("controller-manager.kubeconfig");
    let options: [(&str, String); 12] = [
        ("authentication-kubeconfig", own.clone()),
        ("authorization-kubeconfig", own.clone()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("cluster-signing-cert-file", of("ca.crt")),
        ("cluster-signing-key-file", of("ca.key")),
        ("kubeconfig", own),
        // There is nobody to elect it from.
        ("leader-elect", "false".to_owned()),
        ("profiling", "false".to_owned()),
        ("requestheader-client-ca-file", of("ca.crt")),
        ("root-ca-file", of("ca.crt")),
        (
            "service-account-private-key-file",
            of("service-accounts.key"),
        ),
        ("use-service-account-credentials", "true".to_owned()),
    ];
    (assets.program("kube-controller-manager"), flags(&options))
}

pub(super) fn scheduler(layout: &Layout, assets: &Assets) -> Invocation {
    let own = layout.certificates().join("scheduler.kubeconfig");
    let own = own.display().to_string();
    let options: [(&str, String); 6] = [
        ("authentication-kubeconfig", own.clone()),
        ("authorization-kubeconfig", own.clone()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("kubeconfig", own),
        ("leader-elect", "false".to_owned()),
        ("profiling", "false".to_owned()),
    ];
    (assets.program("kube-scheduler"), flags(&options))
}

pub(super) fn kubelet(layout: &Layout, assets: &Assets) -> Invocation {
    let path = |path: PathBuf| path.display().to_string();
    let labels = "topology.kubernetes.io/region=local,topology.kubernetes.io/zone=local-a";
    let options: [(&str, String); 7] = [
        ("cert-dir", path(layout.root().join("kubelet/pki"))),
        ("config", path(layout.configuration().join("kubelet.yaml"))),
        ("hostname-override", layout::NODE.to_owned()),
        (
            "kubeconfig",
            path(layout.certificates().join("kubelet.kubeconfig")),
        ),
        ("node-ip", layout::NODE_ADDRESS.to_owned()),
        ("node-labels", labels.to_owned()),
        ("root-dir", path(layout.root().join("kubelet"))),
    ];
    (assets.program("kubelet"), flags(&options))
}

pub(super) fn proxy(layout: &Layout, assets: &Assets) -> Invocation {
    let file = layout.configuration().join("kube-proxy.yaml");
    let options = [("config", file.display().to_string())];
    (assets.program("kube-proxy"), flags(&options))
}

fn flags(options: &[(&str, String)]) -> Vec<String> {
    options
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}
