//! A restart has what whoever was running has, whatever was written meanwhile and before.

use proptest::prelude::*;

use super::*;

const FILES: [&str; 2] = ["a.yaml", "b.yaml"];

/// What counts of every object, without where it stood.
fn believed(folder: &Folder) -> BTreeMap<ObjectKey, Result<Object, Selects>> {
    folder.state.live.clone()
}

/// The formers as a start finds them, through the stored document.
fn kept(folder: &Folder) -> Kept {
    let mut kept = Kept::default();
    kept.formers.clone_from(&folder.state.formers);
    let (text, left_out) = kept.to_text();
    assert_eq!(left_out, []);
    let (read, wrong) = Kept::read(&text);
    assert_eq!(wrong, []);
    assert_eq!(read, kept);
    read
}

/// The folder as a start finds it.
fn restarted(folder: &Folder, files: &BTreeMap<&str, String>) -> Folder {
    let mut again = Folder {
        state: Reconciler::new(SETTLE, Start::new("istio-system", kept(folder))),
        now: folder.now,
    };
    for (place, text) in files {
        again.observe(place, Content::Bytes(text.clone().into_bytes()));
    }
    again.state.flush();
    again
}

fn broken(text: &str) -> String {
    text.replace("kind:", "kind")
}

#[test]
fn a_broken_file_and_a_refused_object_keep_what_they_were() {
    let good = both("1", "2");
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
                  metadata: {name: c, namespace: shop, labels: {x: 'y'}}\nspec: {action: ALLOW}\n";
    let bad_policy = policy.replace("ALLOW", "MAYBE");
    let mut folder = Folder::new(&[("a.yaml", &good), ("b.yaml", policy)]);
    folder.write("a.yaml", &broken(&good));
    folder.write("b.yaml", &bad_policy);
    folder.wait(400);
    let files = BTreeMap::from([("a.yaml", broken(&good)), ("b.yaml", bad_policy)]);
    let again = restarted(&folder, &files);
    assert_eq!(again.live().len(), 3);
    assert_eq!(believed(&again), believed(&folder));
    // A second restart, too.
    let again = restarted(&again, &files);
    assert_eq!(believed(&again), believed(&folder));
    // What is repaired while nobody looks counts as it is then, and what is gone is gone.
    let files = BTreeMap::from([("a.yaml", service("a", "7"))]);
    let again = restarted(&folder, &files);
    assert_eq!(again.live(), ["a"]);
    assert!(again.state.formers.is_empty());
}

/// Without what is in it nobody knows whether the mesh is open.
#[test]
fn a_start_waits_for_folders_that_cannot_be_listed() {
    let mut state = Reconciler::new(SETTLE, Start::new("istio-system", Kept::default()));
    let bytes = Content::Bytes(service("a", "1").into_bytes());
    state.observe(&Arc::from("a.yaml"), bytes, Instant::now());
    assert!(state.see(false));
    let batch = state.flush();
    assert!(!batch.initial_complete && batch.changes.is_empty());
    assert!(!state.see(true));
    let batch = state.flush();
    assert!(batch.initial_complete && batch.changes.len() == 1);
    // Once it has begun, what cannot be listed any more stays as it is.
    assert!(!state.see(false));
    let bytes = Content::Bytes(service("a", "2").into_bytes());
    state.observe(&Arc::from("a.yaml"), bytes, Instant::now());
    assert_eq!(state.flush().changes.len(), 1);
}

/// What may be found in a file.
fn content() -> impl Strategy<Value = Option<String>> {
    let object = |name: &'static str| {
        (0..4_u8).prop_map(move |port| match port {
            0 => service(name, "none"),
            port => service(name, &port.to_string()),
        })
    };
    let file = prop_oneof![
        object("a"),
        object("b"),
        (object("a"), object("c")).prop_map(|(a, c)| format!("{a}---\n{c}")),
        (object("b"), object("a")).prop_map(|(b, a)| format!("{b}---\n{a}")),
    ];
    let unnamed = |text: String| Some(text.replacen("{name:", "{nmae:", 1));
    prop_oneof![
        1 => Just(None),
        2 => file.clone().prop_map(unnamed),
        2 => file.clone().prop_map(|text| Some(broken(&text))),
        6 => file.prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_restart_believes_what_whoever_was_running_believes(
        steps in prop::collection::vec((0..2_usize, content(), 0..4_u8), 1..14),
    ) {
        // One of the two is started again now and then.
        let mut other = Folder::new(&[]);
        let mut folder = Folder::new(&[]);
        let mut files = BTreeMap::new();
        for (file, content, then) in steps {
            let place = FILES[file];
            for one in [&mut folder, &mut other] {
                match &content {
                    Some(text) => one.write(place, text),
                    None => one.delete(place),
                };
            }
            match content {
                Some(text) => files.insert(place, text),
                None => files.remove(place),
            };
            if then > 0 {
                folder.wait(400);
                other.wait(400);
                if then > 1 {
                    other = restarted(&other, &files);
                }
                prop_assert_eq!(believed(&other), believed(&folder));
                prop_assert_eq!(&other.state.formers, &folder.state.formers);
            }
        }
    }
}
