//! The programs of the cluster: built once from Go modules and kept in `~/.cache`, or taken from
//! the folder in `KUBEBUILDER_ASSETS` (the convention of envtest).

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::go::{self, Program};
use crate::tools;

/// The programs that are one file under several names.
const KUBERNETES: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];

/// Where each program is.
pub(super) struct Assets {
    kubernetes: PathBuf,
    pub(super) pause: PathBuf,
    pub(super) dns: PathBuf,
    pub(super) credentials: PathBuf,
}

impl Assets {
    /// One of the programs of Kubernetes.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.kubernetes.join(name)
    }
}

/// The folder of ready-made programs, if there is one.
fn given() -> Option<PathBuf> {
    let folder = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    folder.filter(|folder| !folder.as_os_str().is_empty())
}

/// `etcd` is among ready-made programs, or comes with Debian.
pub(super) fn etcd() -> Option<PathBuf> {
    let ready_made = given().map(|folder| folder.join("etcd"));
    ready_made
        .filter(|path| path.is_file())
        .or_else(|| tools::find("etcd"))
}

/// Finds every program and builds those that are not there yet.
pub(super) fn provide() -> Result<Assets> {
    let given = given();
    let complete = given.as_ref().filter(|folder| has_all(folder));
    if let (Some(folder), None) = (&given, &complete) {
        eprintln!(
            "note: {} (KUBEBUILDER_ASSETS) lacks some of {}; building them all",
            folder.display(),
            KUBERNETES.join(", ")
        );
    }
    let kubernetes = match complete {
        Some(folder) => folder.clone(),
        None => go::build(&KUBERNETES_PROGRAM).context(
            "KUBEBUILDER_ASSETS may name a folder with the programs of Kubernetes instead",
        )?,
    };
    Ok(Assets {
        kubernetes,
        pause: go::build(&PAUSE)?.join("pause"),
        dns: go::build(&DNS)?.join("coredns"),
        credentials: go::build(&CREDENTIALS)?.join("credentials"),
    })
}

fn has_all(folder: &Path) -> bool {
    KUBERNETES.iter().all(|name| folder.join(name).is_file())
}

/// Where these programs are kept.
const CACHE: &str = "mesh-kubernetes";

const KUBERNETES_PROGRAM: Program = Program {
    name: "kubernetes",
    module: "kubernetes",
    package: ".",
    sources: &["go.mod", "go.sum", "main.go"],
    links: &KUBERNETES,
    linker_flags: version_flags,
    cache: CACHE,
};
const PAUSE: Program = Program {
    name: "pause",
    module: "kubernetes",
    package: "./pause",
    sources: &["pause/main.go"],
    links: &[],
    linker_flags: version_flags,
    cache: CACHE,
};
const CREDENTIALS: Program = Program {
    name: "credentials",
    module: "kubernetes",
    package: "./credentials",
    sources: &["credentials/main.go"],
    links: &[],
    linker_flags: version_flags,
    cache: CACHE,
};
const DNS: Program = Program {
    name: "coredns",
    module: "kubernetes/dns",
    package: ".",
    sources: &["go.mod", "go.sum", "main.go"],
    links: &[],
    linker_flags: version_flags,
    cache: CACHE,
};

/// Flags that give the programs of Kubernetes the version they were published as; without one the
/// API server would call itself v0.0.0.
fn version_flags(manifest: &str) -> String {
    let mut flags = String::new();
    let version = manifest.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        words.by_ref().find(|word| *word == "k8s.io/kubernetes")?;
        words.next()
    });
    let Some(version) = version else { return flags };
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next(), numbers.next());
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", Some(version)),
            ("gitMajor", major),
            ("gitMinor", minor),
        ] {
            let value = value.unwrap_or("0");
            flags.extend([" -X ", package, ".", name, "=", value]);
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_told_the_version_of_the_module() {
        let flags = version_flags("require (\n\tk8s.io/kubernetes v1.35.4\n)\n");
        assert!(flags.contains("k8s.io/component-base/version.gitVersion=v1.35.4"));
        assert!(flags.contains("k8s.io/client-go/pkg/version.gitMinor=35"));
        assert_eq!(version_flags("require example.com/dns v1.14.2\n"), "");
    }

    #[test]
    fn the_sources_of_every_program_are_there() {
        let folder = crate::cargo::workspace_root().join("xtask");
        for program in [KUBERNETES_PROGRAM, PAUSE, CREDENTIALS, DNS] {
            go::key(&folder.join(program.module), program.sources).unwrap();
        }
    }
}
