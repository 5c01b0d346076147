//! The control groups that pods run in, and how everything in them is ended.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use super::layout::Layout;
use super::process::{self, Process};

/// The cluster's folder in every hierarchy of control groups: the one of version 2, or those of
/// the controllers of version 1.
fn control_groups(layout: &Layout) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let mut hierarchies = vec![top.to_path_buf()];
    if !top.join("cgroup.controllers").exists() {
        let entries = fs::read_dir(top).into_iter().flatten().flatten();
        hierarchies = entries
            .map(|entry| entry.path())
            .filter(|path| path.join("cgroup.procs").exists() && !path.is_symlink())
            .collect();
    }
    hierarchies
        .iter()
        .map(|path| path.join(layout.control_group()))
        .collect()
}

/// Makes the control groups that the kubelet puts its own below.
pub(super) fn make_control_groups(layout: &Layout) -> Result<()> {
    for folder in control_groups(layout) {
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the control group {}", folder.display()))?;
        // A new group of this controller may run nowhere until it is told where.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (own, above) = (folder.join(file), folder.join("..").join(file));
            if folder.join("cpuset.cpu_exclusive").exists() {
                fs::write(&own, fs::read_to_string(above)?)
                    .with_context(|| own.display().to_string())?;
            }
        }
    }
    Ok(())
}

/// Kills everything that runs in pods of the cluster.
pub(super) fn kill_pods(layout: &Layout) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let members: BTreeSet<i32> = control_groups(layout)
            .iter()
            .flat_map(|group| members(group))
            .collect();
        if members.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes of pods do not end: {members:?}");
        }
        for pid in members {
            // One that is gone already is what we want.
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
        }
        process::nap();
    }
}

fn members(group: &Path) -> Vec<i32> {
    let mut found: Vec<i32> = fs::read_to_string(group.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect();
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(members(&entry.path()));
        }
    }
    found
}

/// Removes the control groups; they are empty by now.
pub(super) fn remove_control_groups(layout: &Layout) -> Result<()> {
    for group in control_groups(layout) {
        remove_group(&group)?;
    }
    Ok(())
}

fn remove_group(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path())?;
        }
    }
    // The kernel takes a moment to notice that the last process is gone.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| {
                    format!("cannot remove the control group {}", group.display())
                });
            }
            Err(_) => process::nap(),
        }
    }
}

/// Ends the processes that containerd puts between itself and the containers, and removes their
/// sockets, which are at a place that cannot be chosen.
pub(super) fn end_shims(layout: &Layout) -> Result<()> {
    let address = layout.containerd_socket().display().to_string();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&str> = command
            .split(|byte| *byte == 0)
            .map(|word| std::str::from_utf8(word).unwrap_or_default())
            .collect();
        let Some(socket) = shim_socket(&words, &address) else {
            continue;
        };
        if let Some(process) = Process::of(pid) {
            process.stop(Duration::ZERO)?;
        }
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context(socket.display().to_string());
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The socket of a shim, if the command line is that of one of ours.
fn shim_socket(words: &[&str], address: &str) -> Option<PathBuf> {
    let program = words.first()?.rsplit('/').next()?;
    let value = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        words.get(at + 1).copied()
    };
    if !program.starts_with("containerd-shim") || value("-address")? != address {
        return None;
    }
    let of = format!("{address}/{}/{}", value("-namespace")?, value("-id")?);
    let name: Vec<String> = Sha256::digest(of)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Some(Path::new("/run/containerd/s").join(name.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_shim_is_told_by_its_command_line() {
        let words = [
            "/usr/bin/containerd-shim-runc-v2",
            "-namespace",
            "k8s.io",
            "-id",
            "abc",
            "-address",
            "/s/run/containerd.sock",
        ];
        let socket = shim_socket(&words, "/s/run/containerd.sock").unwrap();
        assert_eq!(socket.parent(), Some(Path::new("/run/containerd/s")));
        assert_eq!(socket.file_name().unwrap().len(), 64);
        assert_eq!(shim_socket(&words, "/run/containerd/containerd.sock"), None);
        assert_eq!(shim_socket(&["sh", "-address", "/s"], "/s"), None);
    }
}
