//! Ends the cluster and removes everything of it, however much of it is there.

use std::fs::{self, File};
use std::io::ErrorKind;

use anyhow::{Context, Result, bail};

use super::components;
use super::layout::Layout;
use super::remains::{self, Before};
use super::{Options, network, pods, process, progress};
use crate::tools;

/// Keeps two commands from working on one cluster at once. The folder above that of the cluster
/// is locked, as the cluster's own comes and goes.
pub(super) fn lock(layout: &Layout) -> Result<File> {
    let above = layout.root().parent().context("--state is no folder")?;
    fs::create_dir_all(above).with_context(|| format!("cannot make {}", above.display()))?;
    let folder = File::open(above).with_context(|| format!("cannot open {}", above.display()))?;
    if folder.try_lock().is_err() {
        eprintln!("another `cargo xtask cluster` is at work; waiting for it");
        folder.lock()?;
    }
    Ok(folder)
}

/// Fails unless we may do everything a node does.
pub(super) fn require_root() -> Result<()> {
    if tools::is_root() {
        return Ok(());
    }
    bail!(
        "a Kubernetes node makes network interfaces and mounts, which needs root: run the same \
         command as root, for example with `sudo -E env PATH=\"$PATH\"` in front"
    )
}

/// Ends the cluster and removes everything of it. Fine if there is none.
pub(crate) fn down(options: &Options) -> Result<()> {
    let layout = Layout::new(options.state.as_deref())?;
    require_root()?;
    let _lock = lock(&layout)?;
    let Some(before) = remains::read(&layout)? else {
        return Ok(());
    };
    progress::step("end the processes", |step| {
        // The kubelet goes before containerd, and both before the pods: neither is left to start
        // an ended one anew.
        for name in components::NAMES.iter().rev() {
            step.doing(name);
            process::stop(&layout, name)?;
        }
        step.doing("pods");
        // A start that was under way may still add a process after the first look.
        for _ in 0..2 {
            pods::end_shims(&layout)?;
            pods::kill_pods(&layout)?;
            process::nap();
        }
        Ok(())
    })?;
    progress::step("remove what they made", |_| remove(&layout, &before))
}

fn remove(layout: &Layout, before: &Before) -> Result<()> {
    remains::unmount(layout)?;
    pods::remove_control_groups(layout)?;
    network::remove_interfaces()?;
    before.remove_rules(layout)?;
    before.restore_settings()?;
    before.remove_folders(layout)?;
    // What says that the folder is ours goes last: until then `down` can be repeated.
    for entry in fs::read_dir(layout.root())? {
        let path = entry?.path();
        if path == layout.before() {
            continue;
        }
        let is_folder = path.is_dir() && !path.is_symlink();
        let removed = if is_folder {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::remove_file(layout.before())?;
    match fs::remove_dir(layout.root()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| layout.root().display().to_string())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
