//! The source on a real folder: how fast it is, and the tricks editors and Kubernetes play.

use std::fs;
use std::os::unix::fs::symlink;

use tokio::time::timeout;

use super::*;
use crate::crd::Object;
use crate::model::Change;

fn start() -> Start {
    Start::new("istio-system", Kept::default())
}

struct Source {
    folder: tempfile::TempDir,
    batches: channel::Receiver<Batch>,
    _watch: FolderWatch,
}

impl Source {
    /// Watches a folder that holds this file, past the first batch.
    async fn new(settings: Settings, first: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), first).unwrap();
        let (watch, batches) = watch(folder.path(), settings, start()).unwrap();
        let mut source = Self {
            folder,
            batches,
            _watch: watch,
        };
        let batch = source.next().await;
        assert!(batch.initial_complete);
        source
    }

    async fn next(&mut self) -> Batch {
        timeout(Duration::from_secs(10), self.batches.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// The changes of the next batch that has any.
    async fn changes(&mut self) -> Vec<String> {
        loop {
            let batch = self.next().await;
            if !batch.changes.is_empty() {
                return batch.changes.iter().map(name).collect();
            }
        }
    }

    async fn quiet(&mut self, millis: u64) {
        let batch = timeout(Duration::from_millis(millis), self.batches.recv()).await;
        assert!(batch.is_err(), "{batch:?}");
    }

    fn write(&self, place: &str, text: &str) {
        fs::write(self.folder.path().join(place), text).unwrap();
    }
}

fn name(change: &Change) -> String {
    match change {
        Change::Applied(Object::Service(service)) => {
            format!("{}={}", service.key.name, service.spec.ports[0].port)
        }
        Change::Applied(other) => panic!("{other:?}"),
        Change::Removed(key) => format!("-{}", key.name),
        Change::Refused(key, _) => format!("!{}", key.name),
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

#[tokio::test]
async fn a_write_is_effective_soon() {
    let mut source = Source::new(Settings::default(), &service("a", 1)).await;
    for port in 2..6 {
        let start = Instant::now();
        source.write("a.yaml", &service("a", port));
        assert_eq!(source.changes().await, [format!("a={port}")]);
        // The aim is 100 ms; the bound leaves room for a busy machine, but not for the rescan.
        assert!(
            start.elapsed() < Duration::from_millis(1500),
            "{:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
async fn editors_that_rename_and_lock_change_only_what_they_mean() {
    let mut source = Source::new(Settings::default(), &service("a", 1)).await;
    let path = |name: &str| source.folder.path().join(name);
    symlink("nobody@nowhere", path(".#a.yaml")).unwrap();
    fs::write(path("a.yaml~"), service("b", 1)).unwrap();
    fs::write(path(".a.yaml.swp"), service("c", 1)).unwrap();
    fs::write(path("a.yaml.tmp"), service("a", 2)).unwrap();
    fs::rename(path("a.yaml.tmp"), path("a.yaml")).unwrap();
    assert_eq!(source.changes().await, ["a=2"]);
    fs::rename(
        source.folder.path().join("a.yaml"),
        source.folder.path().join("b.yaml"),
    )
    .unwrap();
    source.quiet(600).await;
    source.write("b.yaml", &service("a", 3));
    assert_eq!(source.changes().await, ["a=3"]);
}

#[tokio::test]
async fn a_file_written_in_two_halves_is_taken_whole() {
    use std::io::Write;
    let mut source = Source::new(
        Settings::default(),
        &format!("{}---\n{}", service("a", 1), service("b", 1)),
    )
    .await;
    let text = format!("{}---\n{}", service("a", 2), service("b", 2));
    let (first, second) = text.split_at(text.len() - 20);
    let mut file = fs::File::create(source.folder.path().join("a.yaml")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    source.quiet(150).await;
    file.write_all(second.as_bytes()).unwrap();
    drop(file);
    assert_eq!(source.changes().await, ["a=2", "b=2"]);
}

#[tokio::test]
async fn a_mounted_config_map_is_swapped_by_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("..v1")).unwrap();
    fs::write(path("..v1/a.yaml"), service("a", 1)).unwrap();
    symlink("..v1", path("..data")).unwrap();
    symlink("..data/a.yaml", path("a.yaml")).unwrap();
    let (_watch, mut batches) = watch(folder.path(), Settings::default(), start()).unwrap();
    let first = batches.recv().await.unwrap();
    assert_eq!(first.changes.iter().map(name).collect::<Vec<_>>(), ["a=1"]);
    assert!(first.reports.is_empty(), "{:?}", first.reports);
    fs::create_dir(path("..v2")).unwrap();
    fs::write(path("..v2/a.yaml"), service("a", 2)).unwrap();
    symlink("..v2", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    let batch = timeout(Duration::from_secs(5), batches.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(batch.changes.iter().map(name).collect::<Vec<_>>(), ["a=2"]);
}

#[tokio::test]
async fn folders_in_folders_and_links_in_circles() {
    let mut source = Source::new(Settings::default(), &service("a", 1)).await;
    let inner = source.folder.path().join("x/y");
    fs::create_dir_all(&inner).unwrap();
    symlink(source.folder.path(), inner.join("loop")).unwrap();
    fs::write(inner.join("b.yml"), service("b", 1)).unwrap();
    assert_eq!(source.changes().await, ["b=1"]);
    fs::remove_dir_all(source.folder.path().join("x")).unwrap();
    assert_eq!(source.changes().await, ["-b"]);
}

#[tokio::test]
async fn it_works_without_file_events() {
    let poll = Duration::from_millis(50);
    let settings = Settings {
        events: false,
        poll,
        ..Settings::default()
    };
    let mut source = Source::new(settings, &service("a", 1)).await;
    source.write("a.yaml", &service("a", 2));
    assert_eq!(source.changes().await, ["a=2"]);
    fs::remove_file(source.folder.path().join("a.yaml")).unwrap();
    assert_eq!(source.changes().await, ["-a"]);
}

#[tokio::test]
async fn a_file_too_large_is_reported_and_changes_nothing() {
    let mut source = Source::new(Settings::default(), &service("a", 1)).await;
    let length = usize::try_from(scan::MAX_FILE_BYTES).unwrap() + 1;
    source.write("a.yaml", &"#".repeat(length));
    let batch = source.next().await;
    assert!(batch.changes.is_empty());
    assert!(
        batch.reports[0].reports[0]
            .message
            .contains("are more than")
    );
}

#[tokio::test]
async fn a_folder_that_goes_away_takes_nothing_with_it() {
    let poll = Duration::from_millis(50);
    let settings = Settings {
        events: false,
        poll,
        ..Settings::default()
    };
    let mut source = Source::new(settings, &service("a", 1)).await;
    let aside = source.folder.path().with_extension("aside");
    fs::rename(source.folder.path(), &aside).unwrap();
    let batch = source.next().await;
    assert!(batch.changes.is_empty());
    assert!(
        batch.reports[0].reports[0]
            .message
            .contains("cannot be listed")
    );
    source.quiet(600).await;
    fs::rename(&aside, source.folder.path()).unwrap();
    let batch = source.next().await;
    assert!(batch.changes.is_empty() && batch.reports[0].reports.is_empty());
}

#[test]
fn a_wrong_folder_is_an_error_at_once() {
    let error = watch(Path::new("/nowhere/at/all"), Settings::default(), start()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot read the folder /nowhere/at/all"),
        "{error}"
    );
}

#[tokio::test]
async fn it_ends_with_its_handle() {
    let folder = tempfile::tempdir().unwrap();
    let (watch, mut batches) = watch(folder.path(), Settings::default(), start()).unwrap();
    assert!(batches.recv().await.unwrap().initial_complete);
    drop(watch);
    assert!(
        timeout(Duration::from_secs(5), batches.recv())
            .await
            .unwrap()
            .is_none()
    );
}
