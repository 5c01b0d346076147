//! The programs of the cluster: built once from Go modules and kept in `~/.cache`, or taken from
//! the folder in `KUBEBUILDER_ASSETS` (the convention of envtest).

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::layout;
use super::progress::{self, Step};
use crate::{cargo, tools};

/// The programs that are one file under several names.
const KUBERNETES: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];

/// The oldest Go that builds them.
const GO: (u32, u32) = (1, 25);

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
        None => build(&KUBERNETES_PROGRAM)?,
    };
    Ok(Assets {
        kubernetes,
        pause: build(&PAUSE)?.join("pause"),
        dns: build(&DNS)?.join("coredns"),
        credentials: build(&CREDENTIALS)?.join("credentials"),
    })
}

fn has_all(folder: &Path) -> bool {
    KUBERNETES.iter().all(|name| folder.join(name).is_file())
}

/// A Go program of ours.
struct Program {
    name: &'static str,
    /// Folder of its module below `xtask/kubernetes`.
    module: &'static str,
    /// The package in the module.
    package: &'static str,
    /// The files, relative to the module, that decide what comes out.
    sources: &'static [&'static str],
    /// More names for the program.
    links: &'static [&'static str],
}

const KUBERNETES_PROGRAM: Program = Program {
    name: "kubernetes",
    module: ".",
    package: ".",
    sources: &["go.mod", "go.sum", "main.go"],
    links: &KUBERNETES,
};
const PAUSE: Program = Program {
    name: "pause",
    module: ".",
    package: "./pause",
    sources: &["pause/main.go"],
    links: &[],
};
const CREDENTIALS: Program = Program {
    name: "credentials",
    module: ".",
    package: "./credentials",
    sources: &["credentials/main.go"],
    links: &[],
};
const DNS: Program = Program {
    name: "coredns",
    module: "dns",
    package: ".",
    sources: &["go.mod", "go.sum", "main.go"],
    links: &[],
};

/// Builds a program unless that was done before; returns the folder it is in.
fn build(program: &Program) -> Result<PathBuf> {
    let module = cargo::workspace_root()
        .join("xtask/kubernetes")
        .join(program.module);
    let key = key(&module, program.sources)?;
    let cache = layout::cache()?.join("mesh-kubernetes");
    let folder = cache.join(format!("{}-{key}", program.name));
    if folder.join(program.name).is_file() {
        return Ok(folder);
    }
    let go = find_go()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    // It gets its name when it is complete; whoever is interrupted or loses a race leaves nothing
    // that looks like a finished program.
    let unfinished = tempfile::tempdir_in(&cache)?;
    let output = unfinished.path().join(program.name);
    let title = format!("build {} from Go modules", program.name);
    progress::step(&title, |step| compile(&go, &module, program, &output, step))?;
    for link in program.links {
        symlink(program.name, unfinished.path().join(link))?;
    }
    let finished = unfinished.keep();
    if let Err(error) = fs::rename(&finished, &folder) {
        fs::remove_dir_all(&finished)?;
        if !folder.join(program.name).is_file() {
            return Err(error).with_context(|| format!("cannot make {}", folder.display()));
        }
    }
    Ok(folder)
}

/// A digest of everything that decides what the program is.
fn key(module: &Path, sources: &[&str]) -> Result<String> {
    let mut digest = Sha256::new();
    for source in sources {
        let path = module.join(source);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        digest.update(source.as_bytes());
        digest.update((content.len() as u64).to_be_bytes());
        digest.update(content);
    }
    let hexadecimal: Vec<String> = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(hexadecimal.concat())
}

fn find_go() -> Result<PathBuf> {
    let advice = format!(
        "install Go {}.{} or newer from https://go.dev/dl and put it on the PATH, or let \
         KUBEBUILDER_ASSETS name a folder with the programs of Kubernetes",
        GO.0, GO.1
    );
    let usual = PathBuf::from("/usr/local/go/bin/go");
    let Some(go) = tools::find("go").or_else(|| usual.is_file().then_some(usual)) else {
        bail!("`go` builds Kubernetes for the tests and is not there; {advice}");
    };
    let output = Command::new(&go).args(["env", "GOVERSION"]).output()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if parse_version(&version).is_none_or(|found| found < GO) {
        bail!(
            "{} is {version:?}, which is too old; {advice}",
            go.display()
        );
    }
    Ok(go)
}

/// Major and minor of, for example, `go1.26.8`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split(['.', ' ', '-', 'r', 'b']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Flags that give the programs of Kubernetes the version they were published as; without one the
/// API server would call itself v0.0.0.
fn linker_flags(manifest: &str) -> String {
    let mut flags = "-s -w".to_owned();
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

fn go_command(go: &Path, module: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .stdin(Stdio::null());
    command
}

fn compile(
    go: &Path,
    module: &Path,
    program: &Program,
    output: &Path,
    step: &mut Step,
) -> Result<()> {
    step.doing("looking for its packages");
    let listed = go_command(go, module)
        .args(["list", "-deps", program.package])
        .output()?;
    let total = listed.stdout.split(|byte| *byte == b'\n').count();
    let manifest = fs::read_to_string(module.join("go.mod"))?;
    let mut child = go_command(go, module)
        .args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags"])
        .arg(linker_flags(&manifest))
        .arg("-o")
        .arg(output)
        .arg(program.package)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} could not be started", go.display()))?;
    let messages = child.stderr.take().context("go has no stderr")?;
    let (mut done, mut last) = (0, Vec::new());
    for line in BufReader::new(messages).lines().map_while(Result::ok) {
        done += usize::from(!line.starts_with("go: "));
        step.doing(&format!("{done} of at most {total} packages: {line}"));
        last.push(line);
        if last.len() > 20 {
            last.remove(0);
        }
    }
    if !child.wait()?.success() {
        bail!(
            "`go build {}` in {} failed:\n{}\nIs the network reachable, and a Go module proxy \
             (`go env GOPROXY`)?",
            program.package,
            module.display(),
            last.join("\n")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(parse_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_version("go1.25rc1"), Some((1, 25)));
        assert!(parse_version("go1.9.1").unwrap() < GO);
        assert_eq!(parse_version("devel"), None);
    }

    #[test]
    fn the_programs_are_told_the_version_of_the_module() {
        let flags = linker_flags("require (\n\tk8s.io/kubernetes v1.35.4\n)\n");
        assert!(flags.contains("k8s.io/component-base/version.gitVersion=v1.35.4"));
        assert!(flags.contains("k8s.io/client-go/pkg/version.gitMinor=35"));
        assert_eq!(linker_flags("require example.com/dns v1.14.2\n"), "-s -w");
    }

    #[test]
    fn every_source_decides_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a", "1");
        write("b", "2");
        let first = key(folder.path(), &["a", "b"]).unwrap();
        assert_eq!(first.len(), 16);
        assert_eq!(first, key(folder.path(), &["a", "b"]).unwrap());
        write("b", "3");
        assert_ne!(first, key(folder.path(), &["a", "b"]).unwrap());
        let message = key(folder.path(), &["c"]).unwrap_err().to_string();
        assert!(message.contains("/c"), "{message}");
    }

    #[test]
    fn the_sources_of_every_program_are_there() {
        let module = cargo::workspace_root().join("xtask/kubernetes");
        for program in [KUBERNETES_PROGRAM, PAUSE, CREDENTIALS, DNS] {
            key(&module.join(program.module), program.sources).unwrap();
        }
    }
}
