//! What is kept is what is found again, and nothing else is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mesh_api::name::PolicyName;
use mesh_api::policy::{Policy, PolicyRule};
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::resource::Resource;
use mesh_api::snapshot::Entry;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn identity(name: &str) -> Identity {
    Identity {
        workload: format!("shop/{name}").parse().unwrap(),
        role: ProxyRole::Sidecar,
        capture_mode: CaptureMode::Explicit,
        software: "1",
    }
}

fn policy(name: &str, reason: &str) -> Resource {
    Policy::uniform(
        PolicyName(name.into()),
        PolicyRule::Refuse {
            reason: reason.into(),
        },
    )
    .into()
}

fn snapshot(names: &[&str]) -> Snapshot {
    Snapshot::of(names.iter().map(|name| policy(name, "because"))).unwrap()
}

fn place(directory: &TempDir) -> LastGood {
    LastGood::new(&directory.path().join("made"), &identity("backend"))
}

#[test]
fn what_is_kept_is_found_again() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    assert!(place.load().unwrap().is_none());
    for names in [&["a", "b"][..], &["a"], &[]] {
        let kept = snapshot(names);
        place.store(&kept).unwrap();
        assert_eq!(place.load().unwrap(), Some(kept));
    }
    let mode = fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let files = fs::read_dir(directory.path().join("made")).unwrap().count();
    assert_eq!(files, 1, "something was left beside it");
}

#[test]
fn a_policy_that_became_a_refusal_keeps_the_version_it_had() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    let pushed = Version(42);
    let entry = Entry {
        version: pushed,
        resource: policy("p", "it could not be read"),
    };
    let kept = Snapshot::default()
        .apply(Delta {
            set: vec![entry],
            removed: Vec::new(),
        })
        .unwrap();
    place.store(&kept).unwrap();
    let found = place.load().unwrap().unwrap();
    assert_eq!(found, kept);
    assert_eq!(found.versions().values().collect::<Vec<_>>(), [&pushed]);
}

#[test]
fn what_belongs_to_another_proxy_is_not_used() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    place.store(&snapshot(&["a"])).unwrap();
    let other = LastGood::new(&directory.path().join("made"), &identity("frontend"));
    let error = other.load().unwrap_err();
    assert!(matches!(&error, LastGoodError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("shop/backend"), "{error}");
}

#[test]
fn a_leftover_of_a_crash_is_in_nobodys_way() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    place.store(&snapshot(&["a"])).unwrap();
    fs::write(place.path.with_extension("new"), "half").unwrap();
    place.store(&snapshot(&["b"])).unwrap();
    assert_eq!(place.load().unwrap(), Some(snapshot(&["b"])));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_with_a_path() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let place = LastGood::new(&file, &identity("backend"));
    let error = place.store(&snapshot(&["a"])).unwrap_err();
    assert!(error.to_string().contains("last-good-config"), "{error}");
}

proptest! {
    /// Every damage is noticed.
    #[test]
    fn damage_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8, cut in any::<bool>()) {
        let place = LastGood::new(Path::new("/nowhere"), &identity("backend"));
        let mut bytes = place.encode(&snapshot(&["a", "b"]));
        prop_assert!(place.decode(&bytes).is_ok());
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1_u8 << bit;
        }
        prop_assert!(place.decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let place = LastGood::new(Path::new("/nowhere"), &identity("backend"));
        let mut file = format!("{FORMAT} {}\n", place.owner).into_bytes();
        file.extend(Version::of_body(&bytes).0.to_be_bytes());
        file.extend(&bytes);
        // The checksum fits; what it covers is anything at all.
        match place.decode(&file) {
            Ok(_)
            | Err(LastGoodError::Damaged(_) | LastGoodError::Refused { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_is_always_written_and_not_too_often() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    let (sender, receiver) = watch::channel(None);
    let keeping = tokio::spawn(place.clone().keep(receiver));
    let began = Instant::now();
    for number in 0..50 {
        sender.send_replace(Some(Arc::new(snapshot(&[&number.to_string()]))));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let newest = snapshot(&["49"]);
    while place.load().unwrap().as_ref() != Some(&newest) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    drop(sender);
    tokio::time::timeout(Duration::from_secs(5), keeping)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_tried_again_without_a_change() {
    let directory = TempDir::new().unwrap();
    let in_the_way = directory.path().join("data");
    fs::write(&in_the_way, "no directory").unwrap();
    let place = LastGood::new(&in_the_way, &identity("backend"));
    let (sender, receiver) = watch::channel(None);
    let keeping = tokio::spawn(place.clone().keep(receiver));
    let only = snapshot(&["a"]);
    sender.send_replace(Some(Arc::new(only.clone())));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(in_the_way.is_file());
    fs::remove_file(&in_the_way).unwrap();
    // Longer than the longest wait.
    tokio::time::sleep(Duration::from_secs(61)).await;
    let began = Instant::now();
    while place.load().unwrap_or_default().as_ref() != Some(&only) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(began.elapsed() < Duration::from_secs(61));
    }
    drop(sender);
    keeping.await.unwrap();
}
