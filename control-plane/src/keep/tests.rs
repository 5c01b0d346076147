//! What is stored, when, and what becomes of failures.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use mesh_kubernetes::testing::FakeApi;
use serde_json::json;

use super::*;

fn kept(mode: &str) -> Arc<Kept> {
    let mode = ("outboundTrafficPolicy.mode".to_owned(), json!(mode));
    let mut kept = Kept::default();
    kept.settings = Some(BTreeMap::from([mode]));
    Arc::new(kept)
}

/// Fails some times, then takes what it is given.
#[derive(Clone, Default)]
struct Flaky {
    failures: Arc<AtomicUsize>,
    written: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Place for Flaky {
    async fn write(&self, text: String) -> Result<(), String> {
        if self.failures.load(Ordering::SeqCst) > 0 {
            self.failures.fetch_sub(1, Ordering::SeqCst);
            return Err("no space left".to_owned());
        }
        self.written.lock().push(text);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_now_is_stored_later_and_the_newest_counts() {
    let place = Flaky::default();
    place.failures.store(3, Ordering::SeqCst);
    let (newest, receiver) = watch::channel(None);
    let (_always, ours) = watch::channel(true);
    let storing = run(place.clone(), receiver, ours);
    let storing = tokio::spawn(storing);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Nothing is stored before the first state is complete.
    assert_eq!(place.failures.load(Ordering::SeqCst), 3);
    newest.send_replace(Some(kept("ALLOW_ANY")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    newest.send_replace(Some(kept("REGISTRY_ONLY")));
    tokio::time::sleep(Duration::from_mins(1)).await;
    let written = place.written.lock().clone();
    assert_eq!(written, [kept("REGISTRY_ONLY").to_text().0]);
    // The same again is not written again, but for once in a while: somebody may have changed it.
    newest.send_replace(Some(kept("REGISTRY_ONLY")));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(place.written.lock().len(), 1);
    tokio::time::sleep(AFRESH).await;
    assert_eq!(place.written.lock().len(), 2);
    drop(newest);
    storing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_stores_and_a_new_one_stores_what_it_has() {
    let place = Flaky::default();
    let (newest, receiver) = watch::channel(Some(kept("ALLOW_ANY")));
    let (leading, ours) = watch::channel(false);
    tokio::spawn(run(place.clone(), receiver, ours));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(place.written.lock().is_empty());
    for round in 1..=2 {
        leading.send_replace(true);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(place.written.lock().len(), round);
        leading.send_replace(false);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(newest);
}

#[tokio::test]
async fn a_file_holds_what_is_kept_and_a_damaged_one_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeptFile::in_directory(&folder.path().join("not/yet"));
    assert_eq!(file.load(), (Kept::default(), Vec::new()));
    let kept = kept("REGISTRY_ONLY");
    for _ in 0..2 {
        file.write(kept.to_text().0).await.unwrap();
    }
    assert_eq!(file.load(), (Kept::clone(&kept), Vec::new()));
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for damage in ["{", "\u{0}"] {
        std::fs::write(file.path(), damage).unwrap();
        let (read, wrong) = file.load();
        assert!(read.is_empty() && wrong.len() == 1, "{damage:?}");
    }
    std::fs::write(file.path(), vec![b' '; crate::model::kept::MAX_BYTES + 1]).unwrap();
    assert!(file.load().1[0].why.contains("larger"));
    // Where a file should be is a folder: an error that names it, not a crash.
    std::fs::remove_file(file.path()).unwrap();
    std::fs::create_dir(file.path()).unwrap();
    let error = file.write(String::new()).await.unwrap_err();
    assert!(error.contains("kept-configuration.json"), "{error}");
}

#[tokio::test]
async fn the_config_map_is_patched_and_never_created() {
    let api = FakeApi::new();
    let place = KeptConfigMap::new(api.client(), "istio-system");
    let path = format!("/api/v1/namespaces/istio-system/configmaps/{NAME}");
    let error = place.write("x".to_owned()).await.unwrap_err();
    assert!(error.contains("does not exist"), "{error}");
    assert_eq!(api.object(&path), None);
    api.put(&path, json!({"data": {"other": "stays"}}));
    place.write("x".to_owned()).await.unwrap();
    let data = api.object(&path).unwrap()["data"].clone();
    assert_eq!(data, json!({"kept": "x", "other": "stays"}));
}
