//! Notes what the machine was like before the cluster, and brings it back to that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::configuration::write_file;
use super::layout::Layout;
use super::network;

/// Kernel settings that the components or we change.
const SETTINGS: [&str; 8] = [
    "net/ipv4/ip_forward",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Folders that programs make at places that cannot be chosen, the deeper ones first.
const FOLDERS: [&str; 12] = [
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/run/containerd/io.containerd.runtime.v1.linux",
    "/run/containerd/io.containerd.runtime.v2.task",
    "/run/containerd/s",
    "/run/containerd",
    "/opt/containerd/bin",
    "/opt/containerd/lib",
    "/opt/containerd",
];

/// What the machine was like.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Before {
    settings: BTreeMap<String, String>,
    chains: BTreeSet<String>,
    tables: BTreeSet<String>,
    folders: BTreeSet<String>,
}

/// Notes the state of the machine unless that was done when the cluster was first started.
pub(super) fn note(layout: &Layout) -> Result<()> {
    let path = layout.before();
    if path.exists() {
        return Ok(());
    }
    let occupied = fs::read_dir(layout.root()).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        bail!(
            "{} holds something that is no cluster of ours; choose another folder with --state",
            layout.root().display()
        );
    }
    let settings = SETTINGS.iter().filter_map(|name| {
        let value = fs::read_to_string(setting(name)).ok()?;
        Some(((*name).to_owned(), value.trim().to_owned()))
    });
    let folders = FOLDERS.iter().filter(|path| Path::new(path).exists());
    let before = Before {
        settings: settings.collect(),
        chains: network::plugin_chains(),
        tables: network::tables()?,
        folders: folders.map(|path| (*path).to_owned()).collect(),
    };
    write_file(&path, &serde_json::to_string_pretty(&before)?)
}

/// What was noted; `None` if the folder is none of ours.
pub(super) fn read(layout: &Layout) -> Result<Option<Before>> {
    let path = layout.before();
    match fs::read(&path) {
        Ok(noted) => {
            let parsed = serde_json::from_slice(&noted);
            Ok(Some(parsed.with_context(|| path.display().to_string())?))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// Lets packets pass between pods, and lets the rules see those that stay on the bridge.
pub(super) fn change_settings() -> Result<()> {
    for name in ["net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"] {
        let path = setting(name);
        if !path.exists() {
            // Where it is a module, it is loaded with the first use.
            network::output("modprobe", &["br_netfilter"], None)
                .with_context(|| format!("{} is missing", path.display()))?;
        }
        fs::write(&path, "1").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Before {
    /// Undoes the changes of kernel settings.
    pub(super) fn restore_settings(&self) -> Result<()> {
        for (name, value) in &self.settings {
            let path = setting(name);
            let now = fs::read_to_string(&path).unwrap_or_default();
            if now.trim() != value {
                fs::write(&path, value)
                    .with_context(|| format!("cannot set {} to {value}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Removes the packet filter rules.
    pub(super) fn remove_rules(&self, layout: &Layout) -> Result<()> {
        network::remove_rules(&layout.pod_network(), &self.chains, &self.tables)
    }

    /// Removes what programs left at fixed places: what is ours, then folders that are new and
    /// empty.
    pub(super) fn remove_folders(&self, layout: &Layout) -> Result<()> {
        let cache = Path::new("/var/lib/cni/results");
        let notes: Vec<String> = fs::read_dir(cache)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        let ours = network_notes(&notes, &layout.pod_network());
        remove_entries(cache, |entry| {
            let name = entry.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| ours.contains(name))
        })?;
        remove_entries(Path::new("/var/log/containers"), |entry| {
            fs::read_link(entry).is_ok_and(|target| target.starts_with(layout.root()))
        })?;
        let new = |path: &&&str| !self.folders.contains(**path);
        let devices = "/var/lib/kubelet/device-plugins";
        if !self.folders.contains(devices) {
            remove_entries(Path::new(devices), |_| true)?;
        }
        for path in FOLDERS.iter().filter(new) {
            match fs::remove_dir(path) {
                Ok(()) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                    ) => {}
                Err(error) => return Err(error).with_context(|| (*path).to_owned()),
            }
        }
        Ok(())
    }
}

/// The files that network plugins keep about our pods: those of our network, and those of the
/// loopback interfaces of the same pods.
fn network_notes<'a>(names: &'a [String], network: &str) -> BTreeSet<&'a str> {
    let pods: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix(network)?.strip_prefix('-'))
        .filter_map(|rest| Some(rest.rsplit_once('-')?.0))
        .collect();
    let of_ours = |name: &&str| {
        let (before, _) = name.rsplit_once('-').unwrap_or_default();
        let pod = before.rsplit('-').next().unwrap_or_default();
        pods.contains(pod)
    };
    names.iter().map(String::as_str).filter(of_ours).collect()
}

fn remove_entries(folder: &Path, ours: impl Fn(&Path) -> bool) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if ours(&path) {
            let is_folder = path.is_dir() && !path.is_symlink();
            let removed = if is_folder {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Unmounts everything below the cluster's folder.
pub(super) fn unmount(layout: &Layout) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // The last one first: it may lie on another.
    for point in mount_points(&mounts, layout.root()).iter().rev() {
        network::output("umount", &["--lazy", point], None)?;
    }
    Ok(())
}

/// The mount points below a folder, in the order in which they were mounted.
fn mount_points(mounts: &str, root: &Path) -> Vec<String> {
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        // Letters that would break the format are octal numbers there.
        .map(|point| point.replace("\\040", " ").replace("\\134", "\\"))
        .filter(|point| Path::new(point).starts_with(root))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_of_other_networks_stay() {
        let names = [
            "mesh-pods-00-aa-eth0",
            "cni-loopback-aa-lo",
            "cni-loopback-bb-lo",
            "mesh-pods-11-bb-eth0",
        ]
        .map(str::to_owned);
        let ours = network_notes(&names, "mesh-pods-00");
        assert_eq!(
            ours,
            BTreeSet::from(["mesh-pods-00-aa-eth0", "cni-loopback-aa-lo"])
        );
    }

    #[test]
    fn only_mounts_below_the_folder_are_ours() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
             2 1 0:2 / /c/a rw - tmpfs t rw\n\
             3 2 0:3 / /c/a/with\\040space rw - tmpfs t rw\n\
             4 1 0:4 / /cluster rw - tmpfs t rw\n";
        let found = mount_points(mounts, Path::new("/c"));
        assert_eq!(found, ["/c/a", "/c/a/with space"]);
    }

    #[test]
    fn a_folder_with_other_things_is_refused() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        fs::write(folder.path().join("thesis.txt"), "").unwrap();
        let layout = Layout::new(Some(folder.path())).unwrap();
        let message = note(&layout).unwrap_err().to_string();
        assert!(message.contains("no cluster of ours"), "{message}");
        assert!(read(&layout).unwrap().is_none());
    }
}
