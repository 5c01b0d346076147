//! The state machine: what is believed when, who wins, and what is said.

use super::*;
use crate::crd::Kind;

mod history;

const SETTLE: Duration = Duration::from_millis(300);

struct Folder {
    state: Reconciler,
    now: Instant,
}

impl Folder {
    /// A folder whose initial state holds these files.
    fn new(files: &[(&str, &str)]) -> Self {
        let mut folder = Self {
            state: Reconciler::new(SETTLE, Start::new("istio-system", Kept::default())),
            now: Instant::now(),
        };
        for (place, text) in files {
            folder.observe(place, Content::Bytes(text.as_bytes().to_vec()));
        }
        let first = folder.state.flush();
        assert!(first.initial_complete);
        folder
    }

    fn observe(&mut self, place: &str, content: Content) {
        self.state.observe(&Arc::from(place), content, self.now);
    }

    fn write(&mut self, place: &str, text: &str) -> Batch {
        self.observe(place, Content::Bytes(text.as_bytes().to_vec()));
        self.state.flush()
    }

    fn delete(&mut self, place: &str) -> Batch {
        self.observe(place, Content::Missing);
        self.state.flush()
    }

    fn wait(&mut self, millis: u64) -> Batch {
        self.now += Duration::from_millis(millis);
        self.state.tick(self.now);
        self.state.flush()
    }

    fn live(&self) -> Vec<String> {
        self.state.live.keys().map(|key| key.name.clone()).collect()
    }
}

fn service(name: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

fn both(a: &str, b: &str) -> String {
    format!("{}---\n{}", service("a", a), service("b", b))
}

fn changes(batch: &Batch) -> Vec<String> {
    batch
        .changes
        .iter()
        .map(|change| match change {
            Change::Applied(Object::Service(service)) => {
                format!("{}={}", service.key.name, service.spec.ports[0].port)
            }
            Change::Applied(other) => panic!("{other:?}"),
            Change::Removed(key) => format!("-{}", key.name),
            Change::Refused(key, _) => format!("!{}", key.name),
        })
        .collect()
}

fn said(batch: &Batch) -> Vec<String> {
    batch
        .reports
        .iter()
        .flat_map(|place| {
            let taken_back = place
                .reports
                .is_empty()
                .then(|| format!("{} is fine", place.place));
            place
                .reports
                .iter()
                .map(ToString::to_string)
                .chain(taken_back)
        })
        .collect()
}

#[test]
fn the_first_batch_is_complete_even_of_an_empty_folder() {
    let mut state = Reconciler::new(SETTLE, Start::new("istio-system", Kept::default()));
    assert_eq!(
        state.flush(),
        Batch {
            mesh: Some(Arc::default()),
            kept: Some(Arc::default()),
            initial_complete: true,
            ..Batch::default()
        }
    );
    assert!(state.flush().is_empty());
    let mut folder = Folder {
        state: Reconciler::new(SETTLE, Start::new("istio-system", Kept::default())),
        now: Instant::now(),
    };
    let text = both("1", "2");
    // At the start nothing can be half written for long: what is there is taken as it is.
    let first = folder.write("a.yaml", text.trim_end());
    assert_eq!(changes(&first), ["a=1", "b=2"]);
    assert!(first.initial_complete);
}

#[test]
fn only_what_is_different_is_sent_and_at_once() {
    let mut folder = Folder::new(&[("a.yaml", &both("1", "2"))]);
    assert_eq!(changes(&folder.write("a.yaml", &both("1", "3"))), ["b=3"]);
    assert!(folder.write("a.yaml", &both("1", "3")).is_empty());
    assert!(changes(&folder.write("a.yaml", &format!("# more\n{}", both("1", "3")))).is_empty());
    assert_eq!(folder.state.deadline(), None);
}

#[test]
fn a_broken_file_keeps_exactly_its_own_objects() {
    let mut folder = Folder::new(&[("a.yaml", &both("1", "2")), ("c.yaml", &service("c", "3"))]);
    let broken = format!("{}---\nx: [\n", service("a", "9"));
    assert!(
        folder.write("a.yaml", &broken).is_empty(),
        "may be half written"
    );
    assert_eq!(
        changes(&folder.write("c.yaml", &service("c", "4"))),
        ["c=4"]
    );
    let batch = folder.wait(300);
    assert!(changes(&batch).is_empty());
    assert!(
        said(&batch)[0].starts_with("error: a.yaml, document 2 (line 6): not YAML"),
        "{:?}",
        said(&batch)
    );
    assert!(said(&batch)[1].contains("the last good versions of its 2 objects stay in force"));
    assert_eq!(folder.live(), ["a", "b", "c"]);
    let batch = folder.write("a.yaml", &both("9", "2"));
    assert_eq!(changes(&batch), ["a=9"]);
    assert_eq!(said(&batch), ["a.yaml is fine"]);
}

#[test]
fn a_bad_document_holds_back_only_itself() {
    let mut folder = Folder::new(&[("a.yaml", &both("1", "2"))]);
    let batch = folder.write("a.yaml", &both("70000", "3"));
    assert_eq!(changes(&batch), ["b=3"]);
    assert!(
        said(&batch)[0].starts_with(
            "error: a.yaml, document 1 (line 1): Service default/a: spec.ports[0].port: 70000"
        ),
        "{:?}",
        said(&batch)
    );
    assert!(said(&batch)[1].contains("last good version stays in force"));
    assert_eq!(changes(&folder.write("a.yaml", &both("5", "3"))), ["a=5"]);
}

#[test]
fn a_document_that_was_never_good_is_refused_by_name() {
    let mut folder = Folder::new(&[]);
    assert_eq!(changes(&folder.write("a.yaml", &service("a", "0"))), ["!a"]);
    assert!(changes(&folder.write("a.yaml", &service("a", "70000"))).is_empty());
    assert_eq!(
        changes(&folder.write("a.yaml", &service("a", "1"))),
        ["a=1"]
    );
}

#[test]
fn a_misspelled_kind_or_name_does_not_remove_the_object() {
    let mut folder = Folder::new(&[("a.yaml", &both("1", "2"))]);
    folder.write(
        "a.yaml",
        &both("1", "2").replacen("kind: Service", "kind: Servce", 1),
    );
    assert!(changes(&folder.wait(1000)).is_empty());
    folder.write("a.yaml", &both("1", "2").replacen("name: a", "nam: a", 1));
    assert!(changes(&folder.wait(1000)).is_empty());
    assert_eq!(folder.live(), ["a", "b"]);
    folder.write("a.yaml", &service("b", "2"));
    assert_eq!(changes(&folder.wait(300)), ["-a"]);
}

#[test]
fn removed_documents_leave_after_a_while() {
    let mut folder = Folder::new(&[("a.yaml", &both("1", "2"))]);
    let batch = folder.write("a.yaml", &service("a", "5"));
    assert_eq!(changes(&batch), ["a=5"], "changes do not wait");
    assert!(folder.wait(299).is_empty());
    assert_eq!(changes(&folder.wait(1)), ["-b"]);
    let mut folder = Folder::new(&[("a.yaml", &both("1", "2"))]);
    folder.write("a.yaml", &service("a", "1"));
    folder.wait(200);
    assert!(changes(&folder.write("a.yaml", &both("1", "2"))).is_empty());
    assert!(folder.wait(1000).is_empty(), "it came back in time");
}

#[test]
fn a_file_cut_off_or_emptied_for_a_moment_changes_nothing() {
    let text = both("1", "2");
    for half in [
        "",
        "\n",
        "# nothing\n",
        text.split_at(40).0,
        text.split_at(100).0,
    ] {
        let mut folder = Folder::new(&[("a.yaml", &text)]);
        assert!(folder.write("a.yaml", half).is_empty(), "{half:?}");
        folder.wait(200);
        assert!(changes(&folder.write("a.yaml", &text)).is_empty());
        assert!(changes(&folder.wait(1000)).is_empty());
        assert_eq!(folder.live(), ["a", "b"]);
    }
    let mut folder = Folder::new(&[("a.yaml", &text)]);
    folder.write("a.yaml", "");
    assert!(folder.wait(299).is_empty());
    assert_eq!(changes(&folder.wait(1)), ["-a", "-b"], "it stayed empty");
}

#[test]
fn a_deleted_file_is_believed_after_a_while() {
    let mut folder = Folder::new(&[("a.yaml", &service("a", "1"))]);
    assert!(folder.delete("a.yaml").is_empty());
    folder.wait(200);
    assert!(
        changes(&folder.write("a.yaml", &service("a", "1"))).is_empty(),
        "written anew"
    );
    assert!(folder.wait(1000).is_empty());
    folder.delete("a.yaml");
    folder.wait(200);
    folder.delete("a.yaml");
    assert_eq!(
        changes(&folder.wait(100)),
        ["-a"],
        "seen twice, but gone since the first"
    );
    assert!(folder.delete("a.yaml").is_empty());
}

#[test]
fn a_renamed_file_goes_on_without_a_gap() {
    for gone_first in [true, false] {
        let mut folder = Folder::new(&[("a.yaml", &service("a", "1"))]);
        if gone_first {
            folder.observe("a.yaml", Content::Missing);
        }
        folder.observe("z.yaml", Content::Bytes(service("a", "1").into_bytes()));
        folder.observe("a.yaml", Content::Missing);
        let batch = folder.state.flush();
        assert!(batch.is_empty(), "{batch:?}");
        assert!(folder.wait(1000).is_empty());
        assert_eq!(folder.live(), ["a"]);
        assert_eq!(
            changes(&folder.write("z.yaml", &service("a", "2"))),
            ["a=2"]
        );
    }
}

#[test]
fn of_two_files_the_first_by_name_wins_whichever_was_there_first() {
    let mut folder = Folder::new(&[("m.yaml", &service("a", "1"))]);
    let batch = folder.write("b.yaml", &service("a", "2"));
    assert_eq!(changes(&batch), ["a=2"], "as after a restart");
    assert_eq!(
        said(&batch),
        [
            "error: m.yaml, document 1 (line 1): Service default/a: is also defined in b.yaml, document 1 (line 1), which stays in force; remove or rename one of the two"
        ]
    );
    assert_eq!(changes(&folder.delete("b.yaml")), ["a=1"]);
    assert!(changes(&folder.wait(300)).is_empty());
    assert_eq!(folder.live(), ["a"]);
    let mut folder = Folder::new(&[
        ("b.yaml", &service("a", "2")),
        ("m.yaml", &service("a", "1")),
    ]);
    assert_eq!(
        changes(&folder.write("b.yaml", &service("a", "3"))),
        ["a=3"]
    );
    assert!(changes(&folder.write("m.yaml", &service("a", "4"))).is_empty());
}

#[test]
fn twice_in_one_file_the_first_wins() {
    let mut folder = Folder::new(&[]);
    let batch = folder.write(
        "a.yaml",
        &format!("{}---\n{}", service("a", "1"), service("a", "2")),
    );
    assert_eq!(changes(&batch), ["a=1"]);
    assert!(said(&batch)[0].starts_with("error: a.yaml, document 2 (line 6): Service default/a: is also defined in a.yaml, document 1"), "{:?}", said(&batch));
}

#[test]
fn an_unusable_file_keeps_its_objects_and_is_reported_at_once() {
    let mut folder = Folder::new(&[("a.yaml", &service("a", "1"))]);
    folder.observe(
        "a.yaml",
        Content::Unusable(Broken::file("is too large", "split it")),
    );
    let batch = folder.state.flush();
    assert!(changes(&batch).is_empty());
    assert!(said(&batch)[0].starts_with("error: a.yaml: is too large; split it"));
    let batch = folder.write("a.yaml", &service("a", "1"));
    assert_eq!(said(&batch), ["a.yaml is fine"]);
    assert!(changes(&batch).is_empty());
}

#[test]
fn notices_come_and_go() {
    let mut folder = Folder::new(&[]);
    let place: Arc<str> = Arc::from(".");
    folder
        .state
        .notice(&place, vec![Problem::new(Severity::Error, "gone")]);
    assert_eq!(said(&folder.state.flush()), ["error: .: gone"]);
    folder
        .state
        .notice(&place, vec![Problem::new(Severity::Error, "gone")]);
    assert!(folder.state.flush().is_empty());
    folder.state.notice(&place, Vec::new());
    assert_eq!(said(&folder.state.flush()), [". is fine"]);
}

#[test]
fn reports_carry_the_object_and_the_field() {
    let mut folder = Folder::new(&[]);
    let batch = folder.write("a.yaml", &service("a", "0"));
    let report = &batch.reports[0].reports[0];
    assert_eq!(
        report.object,
        Some(ObjectKey::new(Kind::Service, "default", "a"))
    );
    assert_eq!(report.field.as_deref(), Some("spec.ports[0].port"));
    assert_eq!(report.severity, Severity::Error);
}

const CLOSED: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}
";

fn is_closed(reading: &MeshReading) -> bool {
    use mesh_api::mesh_config::OutboundMode;
    reading.config.outbound_traffic_policy.mode == OutboundMode::RegistryOnly
}

#[test]
fn settings_stand_in_the_config_map_of_the_root_namespace() {
    let mut folder = Folder::new(&[("a.yaml", &both("1", "2"))]);
    let batch = folder.write("mesh.yaml", CLOSED);
    assert!(is_closed(batch.mesh.as_ref().expect("settings")));
    assert_eq!(said(&batch), Vec::<String>::new());
    // A mistake changes nothing, in whatever way it is made, and is said.
    let typo = CLOSED.replace("REGISTRY_ONLY", "REGISTRY_ONLLY");
    let batch = folder.write("mesh.yaml", &typo);
    assert_eq!(batch.mesh, None);
    assert!(said(&batch)[0].contains("did you mean REGISTRY_ONLY?"));
    folder.write("mesh.yaml", &CLOSED.replace("kind:", "kind"));
    let batch = folder.wait(400);
    assert_eq!(batch.mesh, None);
    let reports = said(&batch).join(" ");
    assert!(reports.contains("may stand in mesh.yaml"), "{reports}");
    folder.delete("mesh.yaml");
    let batch = folder.wait(400);
    assert_eq!(batch.mesh, None);
    assert!(said(&batch).join(" ").contains("is gone"));
    let batch = folder.write("mesh.yaml", &CLOSED.replace("REGISTRY_ONLY", "ALLOW_ANY"));
    assert!(!is_closed(&batch.mesh.expect("settings")));
}

#[test]
fn settings_elsewhere_or_twice_are_named() {
    let elsewhere = CLOSED.replace(", namespace: istio-system", "");
    let mut folder = Folder::new(&[("b.yaml", CLOSED)]);
    let batch = folder.write("c.yaml", &elsewhere);
    assert!(
        said(&batch)[0].contains("stand in istio-system"),
        "{batch:?}"
    );
    // The first file by name counts, whichever was there first.
    let batch = folder.write("a.yaml", &CLOSED.replace("REGISTRY_ONLY", "ALLOW_ANY"));
    assert!(!is_closed(&batch.mesh.clone().expect("settings")));
    assert!(said(&batch).join(" ").contains("also defined in a.yaml"));
}

/// One that stood back must not come into force because the one before it was spoilt.
#[test]
fn settings_that_cannot_be_read_are_not_replaced_by_later_ones() {
    let open = CLOSED.replace("REGISTRY_ONLY", "ALLOW_ANY");
    let mut folder = Folder::new(&[("a.yaml", CLOSED), ("b.yaml", &open)]);
    folder.write("a.yaml", &CLOSED.replace("kind:", "kind"));
    let batch = folder.wait(400);
    assert!(batch.mesh.is_none(), "{batch:?}");
    let reports = said(&batch).join(" ");
    assert!(reports.contains("may stand in a.yaml"), "{reports}");
}

#[test]
fn a_restart_finds_the_last_good_settings_and_a_first_start_waits_for_good_ones() {
    let typo = CLOSED.replace("REGISTRY_ONLY", "REGISTRY_ONLLY");
    let broken = CLOSED.replace("kind:", "kind");
    for text in [&typo, &broken] {
        let observe = |kept: Kept| {
            let mut state = Reconciler::new(SETTLE, Start::new("istio-system", kept));
            let bytes = Content::Bytes(text.as_bytes().to_vec());
            state.observe(&Arc::from("mesh.yaml"), bytes, Instant::now());
            state
        };
        let mode = "outboundTrafficPolicy.mode".to_owned();
        let mut kept = Kept::default();
        kept.settings = Some(KeptSettings::from([(mode, "REGISTRY_ONLY".into())]));
        let batch = observe(kept).flush();
        assert!(batch.initial_complete);
        assert!(is_closed(&batch.mesh.expect("settings")), "{text}");

        let mut state = observe(Kept::default());
        let batch = state.flush();
        assert!(
            !batch.initial_complete && batch.changes.is_empty(),
            "{text}"
        );
        assert!(
            said(&batch)
                .join(" ")
                .contains("nothing is pushed until it"),
            "{text}"
        );
        assert!(state.flush().is_empty());
        let bytes = Content::Bytes(CLOSED.as_bytes().to_vec());
        state.observe(&Arc::from("mesh.yaml"), bytes, Instant::now());
        let batch = state.flush();
        assert!(batch.initial_complete);
        assert!(is_closed(&batch.mesh.expect("settings")));
    }
}
