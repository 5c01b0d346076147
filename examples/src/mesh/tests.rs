//! The parts of the harness that do not need the mesh's binaries.

use std::os::unix::fs::PermissionsExt as _;

use super::child::Child;
use super::*;

fn stand_in(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_part_that_dies_at_start_is_reported_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["proxy", "shop"] {
        stand_in(folder.path(), name, "exit 0");
    }
    stand_in(
        folder.path(),
        "control-plane",
        "echo no such flag $1; exit 3",
    );
    let binaries = Some(folder.path().to_path_buf());
    let options = MeshOptions {
        binaries,
        ..MeshOptions::default()
    };
    let error = format!("{:#}", Mesh::start(options).await.unwrap_err());
    assert!(error.contains("control-plane (http://127."), "{error}");
    assert!(error.contains("exit status: 3"), "{error}");
    assert!(error.contains("| no such flag serve"), "{error}");
}

#[tokio::test]
async fn a_missing_binary_says_how_to_build_it() {
    let folder = tempfile::tempdir().unwrap();
    let binaries = Some(folder.path().to_path_buf());
    let options = MeshOptions {
        binaries,
        ..MeshOptions::default()
    };
    let error = format!("{:#}", Mesh::start(options).await.unwrap_err());
    assert!(error.contains("control-plane is missing"), "{error}");
    assert!(error.contains("cargo build"), "{error}");
}

#[test]
fn two_meshes_never_share_a_prefix() {
    let (first, _) = instance::first_free(|_| Vec::new()).unwrap();
    let (second, _) = instance::first_free(|_| Vec::new()).unwrap();
    assert_ne!(first.ip(0, 1), second.ip(0, 1));
    let text = second.localize("address: 127.80.2.1\nother: 127.8.0.1");
    assert_eq!(
        text,
        format!("address: {}\nother: 127.8.0.1", second.ip(2, 1))
    );
}

#[test]
fn a_child_ends_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    stand_in(folder.path(), "sleeper", "sleep 600");
    let log = folder.path().join("log");
    let child = Child::spawn(&folder.path().join("sleeper"), &[], &log).unwrap();
    let proc = format!("/proc/{}", child.pid());
    assert!(Path::new(&proc).exists());
    drop(child);
    assert!(!Path::new(&proc).exists());
}

#[test]
fn the_shop_folder_speaks_of_every_workload() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shop");
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            text += &std::fs::read_to_string(path).unwrap();
        }
    }
    for address in [
        "127.80.0.1",
        "127.80.1.1",
        "127.80.2.1",
        "127.80.2.2",
        "127.80.3.1",
    ] {
        assert!(text.contains(&format!("address: {address}\n")), "{address}");
    }
    for app in ["1.101:8080", "2.101:8080", "2.102:9090", "3.101:7000"] {
        assert!(
            text.contains(&format!("defaultEndpoint: 127.80.{app}\n")),
            "{app}"
        );
    }
}
