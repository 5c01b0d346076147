//! Fills in the configuration files of the cluster, which are in `xtask/kubernetes`.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::layout::{self, Layout};

const CONTAINERD: &str = include_str!("../../kubernetes/containerd.toml");
const CNI: &str = include_str!("../../kubernetes/cni.json");
const KUBELET: &str = include_str!("../../kubernetes/kubelet.yaml");
const KUBE_PROXY: &str = include_str!("../../kubernetes/kube-proxy.yaml");
const DNS: &str = include_str!("../../kubernetes/dns.yaml");

/// What the files have in common.
pub(super) struct Values<'a> {
    pub(super) layout: &'a Layout,
    pub(super) pause_image: &'a str,
    pub(super) dns_image: &'a str,
    pub(super) upstream: &'a [IpAddr],
}

/// Writes every configuration file into the cluster's folder.
pub(super) fn write(values: &Values<'_>) -> Result<()> {
    let folder = values.layout.configuration();
    let known = known(values);
    for (name, template) in [
        ("containerd.toml", CONTAINERD),
        ("cni/10-mesh.conflist", CNI),
        ("kubelet.yaml", KUBELET),
        ("kube-proxy.yaml", KUBE_PROXY),
        ("dns.yaml", DNS),
    ] {
        let filled = fill(template, &known).with_context(|| format!("the template of {name}"))?;
        write_file(&folder.join(name), &filled)?;
    }
    Ok(())
}

/// Writes a file and the folders above it. One that says this already is not touched: kube-proxy
/// ends itself when its file is written to.
pub(super) fn write_file(path: &Path, content: &str) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == content.as_bytes()) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn known(values: &Values<'_>) -> BTreeMap<&'static str, String> {
    let layout = values.layout;
    let path = |path: &Path| path.display().to_string();
    BTreeMap::from([
        ("state", path(layout.root())),
        ("certificates", path(&layout.certificates())),
        ("containerd_socket", path(&layout.containerd_socket())),
        ("pause_image", values.pause_image.to_owned()),
        ("dns_image", values.dns_image.to_owned()),
        ("other_names", other_names(values.upstream)),
        ("node", layout::NODE.to_owned()),
        ("node_address", layout::NODE_ADDRESS.to_owned()),
        ("dns_address", layout::DNS_ADDRESS.to_owned()),
        ("cluster_domain", layout::CLUSTER_DOMAIN.to_owned()),
        ("control_group", layout.control_group()),
        ("cni_plugins", layout::CNI_PLUGINS.to_owned()),
        ("pod_network", layout.pod_network()),
        ("pod_bridge", layout::POD_BRIDGE.to_owned()),
        ("pod_range", layout::POD_RANGE.to_owned()),
    ])
}

/// What the DNS server does with names outside of the cluster: a test must not depend on the
/// network, so they do not exist unless a server to ask is given.
fn other_names(upstream: &[IpAddr]) -> String {
    if upstream.is_empty() {
        return "template ANY ANY {\n            rcode NXDOMAIN\n        }".to_owned();
    }
    let servers: Vec<String> = upstream.iter().map(IpAddr::to_string).collect();
    format!("cache 5\n        forward . {}", servers.join(" "))
}

/// Replaces every `${name}`.
fn fill(template: &str, known: &BTreeMap<&str, String>) -> Result<String> {
    let mut filled = String::with_capacity(template.len());
    let mut pieces = template.split("${");
    filled.extend(pieces.next());
    for piece in pieces {
        let (name, rest) = piece.split_once('}').context("a `${` without its `}`")?;
        let Some(value) = known.get(name) else {
            bail!("nothing is known as `{name}`");
        };
        filled.push_str(value);
        filled.push_str(rest);
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn written(upstream: &[IpAddr]) -> tempfile::TempDir {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let layout = Layout::new(Some(folder.path())).unwrap();
        write(&Values {
            layout: &layout,
            pause_image: "localhost/pause:1",
            dns_image: "localhost/coredns:2",
            upstream,
        })
        .unwrap();
        folder
    }

    fn read(folder: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(folder.path().join("etc").join(name)).unwrap()
    }

    #[test]
    fn the_filled_in_files_say_what_the_cluster_is_made_of() {
        let folder = written(&[]);
        let cni: Value = serde_json::from_str(&read(&folder, "cni/10-mesh.conflist")).unwrap();
        assert_eq!(cni["plugins"][0]["bridge"], layout::POD_BRIDGE);
        let ranges = &cni["plugins"][0]["ipam"]["ranges"];
        assert_eq!(ranges[0][0]["subnet"], layout::POD_RANGE);
        let kubelet: Value = serde_saphyr::from_str(&read(&folder, "kubelet.yaml")).unwrap();
        assert_eq!(kubelet["clusterDNS"][0], layout::DNS_ADDRESS);
        // No registry has these images: deleting one breaks the cluster for good.
        assert_eq!(kubelet["imageGCHighThresholdPercent"], 100);
        let root = folder.path().to_str().unwrap();
        assert_eq!(
            kubelet["containerRuntimeEndpoint"],
            format!("unix://{root}/run/containerd.sock")
        );
        let runtime = read(&folder, "containerd.toml");
        assert!(runtime.contains("sandbox_image = \"localhost/pause:1\""));
        assert!(runtime.contains(&format!("root = \"{root}/containerd/root\"")));
        let proxy: Value = serde_saphyr::from_str(&read(&folder, "kube-proxy.yaml")).unwrap();
        assert_eq!(proxy["clusterCIDR"], layout::POD_RANGE);
        assert!(read(&folder, "dns.yaml").contains("image: localhost/coredns:2"));
    }

    #[test]
    fn names_of_the_world_do_not_exist_unless_a_server_is_given() {
        let closed = read(&written(&[]), "dns.yaml");
        assert!(closed.contains("rcode NXDOMAIN"), "{closed}");
        assert!(!closed.contains("forward"), "{closed}");
        let open = read(&written(&["192.0.2.53".parse().unwrap()]), "dns.yaml");
        assert!(open.contains("forward . 192.0.2.53\n"), "{open}");
        assert!(!open.contains("NXDOMAIN"), "{open}");
    }

    #[test]
    fn a_file_that_needs_no_change_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/file");
        write_file(&path, "one").unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        write_file(&path, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
        write_file(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }

    #[test]
    fn a_placeholder_that_nobody_fills_is_an_error() {
        let known = BTreeMap::from([("a", "1".to_owned())]);
        assert_eq!(fill("x ${a} y ${a}", &known).unwrap(), "x 1 y 1");
        let message = fill("${b}", &known).unwrap_err().to_string();
        assert!(message.contains("`b`"), "{message}");
        assert!(fill("${a", &known).is_err());
    }
}
