//! Where everything of the cluster is: its folder, its addresses and its names. One place, so
//! that what `up` makes is exactly what `down` removes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::tools;

pub(super) const NODE: &str = "mesh-node";
pub(super) const NODE_BRIDGE: &str = "mesh-node";
pub(super) const NODE_ADDRESS: &str = "10.213.0.1";
pub(super) const POD_BRIDGE: &str = "mesh-pods";
pub(super) const POD_RANGE: &str = "10.214.0.0/16";
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";
pub(super) const API_SERVICE_ADDRESS: &str = "10.96.0.1";
pub(super) const DNS_ADDRESS: &str = "10.96.0.10";
pub(super) const API_PORT: u16 = 6443;
pub(super) const ETCD: &str = "127.0.0.1:23790";
pub(super) const ETCD_PEERS: &str = "127.0.0.1:23800";
pub(super) const CNI_PLUGINS: &str = "/usr/lib/cni";
pub(super) const CLUSTER_DOMAIN: &str = "cluster.local";

/// Unix sockets below the folder have paths of at most 107 bytes.
const LONGEST_FOLDER: usize = 60;

/// What is in the folder of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The given folder, or the usual one below the home folder.
    pub(super) fn new(given: Option<&Path>) -> Result<Self> {
        let root = match given {
            Some(path) => {
                std::path::absolute(path).with_context(|| format!("--state {}", path.display()))?
            }
            None => tools::cache()?.join("mesh-cluster"),
        };
        let text = root.to_string_lossy();
        // The path stands in configuration files of five syntaxes and in shell scripts.
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "/-_.".contains(letter);
        if !text.chars().all(plain) || text.len() > LONGEST_FOLDER {
            bail!(
                "the cluster's folder {text} must be of letters, digits and `-_.` and at most \
                 {LONGEST_FOLDER} bytes long; choose another one with --state"
            );
        }
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Says that the folder is ours, and what was there before the cluster.
    pub(super) fn before(&self) -> PathBuf {
        self.root.join("before.json")
    }

    /// The control group of everything in pods.
    pub(super) fn control_group(&self) -> String {
        format!("mesh-cluster-{}", self.digest())
    }

    /// What the network of the pods is called in the notes of the network plugins.
    pub(super) fn pod_network(&self) -> String {
        format!("mesh-pods-{}", self.digest())
    }

    /// Tells the traces of this cluster from those of one with another folder, which may run at
    /// the same time in another network namespace.
    fn digest(&self) -> String {
        let digest = Sha256::digest(self.root.to_string_lossy().as_bytes());
        let start: Vec<String> = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        start.concat()
    }

    pub(super) fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    pub(super) fn certificates(&self) -> PathBuf {
        self.root.join("certificates")
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.certificates().join("admin.kubeconfig")
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.root.join("etc")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    pub(super) fn process(&self, component: &str) -> PathBuf {
        self.root.join("run").join(format!("{component}.json"))
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.root.join("run/containerd.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_below_the_folder() {
        let layout = Layout::new(Some(Path::new("/var/tmp/c"))).unwrap();
        for path in [
            layout.before(),
            layout.kubeconfig(),
            layout.log("etcd"),
            layout.process("etcd"),
            layout.containerd_socket(),
        ] {
            assert!(path.starts_with("/var/tmp/c"), "{}", path.display());
        }
    }

    #[test]
    fn the_traces_of_two_clusters_differ() {
        let layout = |path: &str| Layout::new(Some(Path::new(path))).unwrap();
        assert_ne!(layout("/a").control_group(), layout("/b").control_group());
        assert_ne!(layout("/a").pod_network(), layout("/b").pod_network());
        assert_eq!(layout("/a").pod_network(), layout("/a").pod_network());
    }

    #[test]
    fn a_folder_that_would_break_configuration_or_sockets_is_refused() {
        let long = format!("/tmp/{}", "x".repeat(LONGEST_FOLDER));
        for path in ["/tmp/with space", "/tmp/$HOME", "/tmp/\"quoted\"", &long] {
            let message = Layout::new(Some(Path::new(path))).unwrap_err().to_string();
            assert!(message.contains("--state"), "{message}");
        }
    }
}
