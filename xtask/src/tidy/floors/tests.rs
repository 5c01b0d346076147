//! The rule on small crates: what leads down passes, what does not is named with both floors.

use super::super::Violation;
use super::super::tree::Tree;
use super::check;

const DRAWN: &str = "text\n```floors a/src\ntop  app\nmid  left right\nlow  one+two base\n```\n";

/// The violations of a crate with these five rooms, some of them with this text.
fn found(texts: &[(&str, &str)]) -> Vec<Violation> {
    let text = |path: &str| {
        let own = texts.iter().find(|(other, _)| *other == path);
        own.map_or("", |(_, text)| *text)
    };
    check(&Tree::of([
        ("ARCHITECTURE.md", DRAWN),
        ("a/src/app.rs", text("app.rs")),
        ("a/src/base.rs", text("base.rs")),
        ("a/src/base/deep/er.rs", text("base/deep/er.rs")),
        ("a/src/left.rs", text("left.rs")),
        ("a/src/lib.rs", "mod app; use crate::app::x;"),
        ("a/src/one.rs", text("one.rs")),
        ("a/src/right.rs", text("right.rs")),
        ("a/src/two.rs", text("two.rs")),
    ]))
}

/// The lines at which a text of `path` breaks the rule.
fn lines(path: &str, text: &str) -> Vec<usize> {
    let found = found(&[(path, text)]);
    assert!(
        found
            .iter()
            .all(|one| one.rule == "floor" && one.path == format!("a/src/{path}"))
    );
    found.iter().map(|one| one.line).collect()
}

#[test]
fn down_is_allowed() {
    assert!(lines("app.rs", "use crate::{base, left::{self, x}, right};").is_empty());
    assert!(lines("left.rs", "use crate::base::x; fn f() { crate::left::y() }").is_empty());
    assert!(lines("one.rs", "use crate::two::x; // crate::app").is_empty());
    assert!(
        lines(
            "two.rs",
            "use crate::one::x; const A: &str = \"crate::app\";"
        )
        .is_empty()
    );
}

#[test]
fn up_is_refused_however_it_is_written() {
    for up in [
        "use crate::app::x;",
        "use crate::{app, base};",
        "use crate::{base::{self, x}, app::{y, z}};",
        "fn f() { let g = crate::app::g(1); }",
        "fn f(a: &crate::app::A) {}",
        "use super::app::x;",
        "mod m { use super::super::app::x; }",
        "#[cfg(test)]\nmod tests { use crate::app::x; }",
        "pub use crate::app;",
    ] {
        assert_eq!(lines("base.rs", up).len(), 1, "{up}");
    }
    assert_eq!(
        lines("base/deep/er.rs", "\nuse super::super::super::app::x;"),
        [2]
    );
    // Not to the root: a module of the room itself that is called like another room.
    assert!(lines("base/deep/er.rs", "use super::super::app::x;").is_empty());
    assert!(lines("base.rs", "mod m { use super::app::x; }").is_empty());
}

#[test]
fn sideways_is_refused_and_a_circle_with_it() {
    let both = found(&[
        ("left.rs", "use crate::right::x;"),
        ("right.rs", "use crate::left::x;"),
    ]);
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(lines("base.rs", "use crate::one::x;"), [1]);
}

#[test]
fn the_violation_names_both_floors_and_a_way_out() {
    let found = found(&[("base.rs", "\n\nuse crate::{\n    one,\n    app::x,\n};")]);
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    let [beside, above] = told.as_slice() else {
        panic!("{told:?}");
    };
    let start = "a/src/base.rs:4: floor: `base` (floor low) uses `one` (floor low), beside it;";
    assert!(beside.starts_with(start), "{beside}");
    let start = "a/src/base.rs:5: floor: `base` (floor low) uses `app` (floor top), above it;";
    assert!(above.starts_with(start), "{above}");
    assert!(
        above.contains("move what both need to a floor under them"),
        "{above}"
    );
}

#[test]
fn every_room_is_on_one_floor_and_there() {
    let drawn = "```floors a/src\nx app gone\ny app\n```\n";
    let found = check(&Tree::of([
        ("ARCHITECTURE.md", drawn),
        ("a/src/app.rs", ""),
        ("a/src/bin/tool.rs", ""),
        ("a/src/fresh.rs", ""),
        ("a/src/main.rs", ""),
    ]));
    let brief: Vec<String> = found
        .iter()
        .map(|one| format!("{}:{}", one.path, one.line))
        .collect();
    assert_eq!(
        brief,
        ["ARCHITECTURE.md:2", "ARCHITECTURE.md:3", "a/src/fresh.rs:1"],
        "{found:?}"
    );
}

#[test]
fn what_hides_its_room_is_refused() {
    assert_eq!(lines("left.rs", "use crate::Thing;"), [1]);
    assert_eq!(lines("left.rs", "use crate::*;"), [1]);
}
