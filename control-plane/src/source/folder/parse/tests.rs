//! Cutting streams into documents, and every kind of nonsense.

use proptest::prelude::*;

use super::*;
use crate::crd::Outcome;

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n";

fn service(name: &str) -> String {
    SERVICE.replace("NAME", name)
}

fn names(place: &str, text: &str) -> Vec<(String, usize, usize)> {
    parse(place, text.as_bytes())
        .unwrap()
        .into_iter()
        .map(|document| {
            let key = document.decoded.key.unwrap();
            (key.name, document.position.document, document.position.line)
        })
        .collect()
}

#[test]
fn documents_are_numbered_and_located() {
    let text = format!(
        "# a comment\n---\n# another\n{}---\n\n--- # empty\n{}...\n%YAML 1.2\n---\n{}",
        service("one"),
        service("two"),
        service("three")
    );
    let expected = [("one", 1, 4), ("two", 2, 11), ("three", 3, 18)];
    let expected: Vec<_> = expected
        .map(|(name, d, l)| (name.to_owned(), d, l))
        .to_vec();
    assert_eq!(names("a.yaml", &text), expected);
}

#[test]
fn markers_inside_texts_do_not_cut() {
    let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  annotations:\n    x: |\n      ---\n      b\n";
    assert_eq!(names("a.yaml", text).len(), 1);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_fine() {
    let text =
        format!("\u{feff}---\r\n{}---\r\n{}", service("a"), service("b")).replace('\n', "\r\n");
    assert_eq!(names("a.yaml", &text.replace("\r\r", "\r")).len(), 2);
}

#[test]
fn lists_are_taken_apart() {
    let item = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"NAME"},"spec":{}}"#;
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"List","items":[{},{}]}}"#,
        item.replace("NAME", "a"),
        item.replace("NAME", "b")
    );
    assert_eq!(names("a.json", &text).len(), 2);
    assert_eq!(names("a.yaml", &text).len(), 2);
}

#[test]
fn broken_syntax_names_the_line() {
    let text = format!("{}---\na: [1\nb: 2\n", service("a"));
    let broken = parse("a.yaml", text.as_bytes()).unwrap_err();
    assert_eq!(
        broken.position,
        Some(Position {
            document: 2,
            line: 6
        })
    );
    assert!(
        broken.problem.message.starts_with("not YAML, at line "),
        "{}",
        broken.problem.message
    );
    assert!(parse("a.yaml", b"a: 1\na: 2\n").is_err(), "a key twice");
    assert!(
        parse("a.yaml", b"a: \xff\n")
            .unwrap_err()
            .problem
            .message
            .contains("line 1 is not UTF-8")
    );
    assert!(parse("a.json", b"{").is_err());
    assert!(parse("a.json", b" ").unwrap().is_empty());
}

#[test]
fn bombs_are_refused() {
    let levels = (1..9).map(|level| {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        format!(
            "a{level}: &a{level} [{aliases}]
"
        )
    });
    let text = format!(
        "a0: &a0 [{}]
{}",
        ["x"; 10].join(", "),
        levels.collect::<String>()
    );
    assert!(parse("a.yaml", text.as_bytes()).is_err());
    assert!(parse("a.yaml", "[".repeat(100_000).as_bytes()).is_err());
    assert!(parse("a.json", "[".repeat(100_000).as_bytes()).is_err());
    let deep = format!("{}x\n", "a: {".repeat(500));
    assert!(parse("a.yaml", deep.as_bytes()).is_err());
}

#[test]
fn only_texts_without_an_end_look_unfinished() {
    assert!(looks_unfinished("a.yaml", b"a: 1"));
    assert!(!looks_unfinished("a.yaml", b"a: 1\n"));
    assert!(!looks_unfinished("a.yaml", b""));
    assert!(!looks_unfinished("a.json", b"{}"));
}

/// Pieces of real documents, so that chance gets far enough to reach every step.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("apiVersion: networking.istio.io/v1\n".to_owned()),
        Just("kind: VirtualService\n".to_owned()),
        Just("kind: DestinationRule\n".to_owned()),
        Just("metadata: {name: a}\n".to_owned()),
        Just("spec:\n".to_owned()),
        Just("  hosts: [a]\n".to_owned()),
        Just("  http:\n  - route:\n    - destination: {host: b}\n".to_owned()),
        Just("    timeout: 5s\n".to_owned()),
        Just("---\n".to_owned()),
        Just("...\n".to_owned()),
        Just("  subsets: [{name: *x}]\n".to_owned()),
        Just("  host: &x a\n".to_owned()),
        "[ -~\n]{0,12}",
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        drop(parse("a.yaml", &bytes));
        drop(parse("a.json", &bytes));
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        drop(parse("a.yaml", text.as_bytes()));
    }

    #[test]
    fn any_mix_of_pieces_is_survived(pieces in proptest::collection::vec(fragment(), 0..12)) {
        if let Ok(documents) = parse("a.yaml", pieces.concat().as_bytes()) {
            for document in documents {
                let refused = document.decoded.outcome == Outcome::Rejected;
                prop_assert!(!refused || !document.decoded.problems.is_empty());
            }
        }
    }
}
