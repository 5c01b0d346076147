//! Each rule on a small tree that breaks it, and on one that does not.

use super::tree::Tree;
use super::*;

/// The rules broken in a tree, as `path:line: rule`.
fn broken<const N: usize>(files: [(&str, &str); N]) -> Vec<String> {
    let brief = |v: &Violation| format!("{}:{}: {}", v.path, v.line, v.rule);
    check(&Tree::of(files)).iter().map(brief).collect()
}

#[test]
fn a_file_says_why_it_exists() {
    assert_eq!(broken([("a.rs", "fn a() {}\n")]), ["a.rs:1: module-doc"]);
    assert!(broken([("a.rs", "//! Why.\nfn a() {}\n")]).is_empty());
}

#[test]
fn files_stay_short_and_tests_may_be_longer() {
    let text = format!("//! Why.\n{}", "const A: u8 = 1;\n".repeat(450));
    assert_eq!(
        broken([("x/src/a.rs", &text)]),
        ["x/src/a.rs:401: file-length"]
    );
    assert_eq!(
        broken([("x/src/main.rs", &text)]),
        ["x/src/main.rs:61: file-length"]
    );
    assert!(broken([("x/tests/a.rs", &text), ("x/src/a/tests.rs", &text)]).is_empty());
}

#[test]
fn functions_stay_short() {
    let body = |lines: usize| format!("//! Why.\nfn a() {{\n{}}}\n", "    b();\n".repeat(lines));
    assert_eq!(broken([("a.rs", &body(81))]), ["a.rs:2: function-length"]);
    assert!(broken([("a.rs", &body(80))]).is_empty());
}

#[test]
fn modules_are_named_after_their_folder() {
    assert_eq!(
        broken([("x/src/a/mod.rs", "//! Why.\n")]),
        ["x/src/a/mod.rs:1: mod-file"]
    );
}

#[test]
fn nothing_unfinished() {
    for unfinished in [
        concat!("fn a() { to", "do!() }"),
        concat!("fn a() { unimple", "mented!(\"x\") }"),
        concat!("#[ign", "ore = \"slow\"]\nfn a() {}"),
        concat!("// FIX", "ME: later"),
        concat!("// TO", "DO(me) later"),
    ] {
        let text = format!("//! Why.\n{unfinished}\n");
        assert_eq!(
            broken([("a.rs", &text)]),
            ["a.rs:2: unfinished"],
            "{unfinished}"
        );
    }
    assert!(broken([("a.rs", "//! Why.\nfn todo() { ignore() }\n")]).is_empty());
}

#[test]
fn names_say_something() {
    let vague = "//! Why.\nstruct PoolManager;\nenum Inner {}\ntrait ByteUtils {}\n";
    assert_eq!(
        broken([("a.rs", vague)]),
        ["a.rs:2: name", "a.rs:3: name", "a.rs:4: name"]
    );
    assert_eq!(
        broken([("a.rs", "//! Why.\nfn get_a() {}\n")]),
        ["a.rs:2: name"]
    );
    let fine = "//! Why. struct XManager\nstruct Managers;\nfn forget_a() { x::<FooHandler>() }\n";
    assert!(broken([("a.rs", fine)]).is_empty());
}

/// The table of crates, as far as these tests need it.
const ARROW: (&str, &str) = (
    "ARCHITECTURE.md",
    "| crate | what it is | may use |\n|---|---|---|\n| `mesh-api` | words | nothing of ours |\n\
     | `proxy` in a folder | | `mesh-api` |\n| `control-plane` | | `mesh-api` |\n\
     | `examples` | | anything |\n",
);

const PROXY: &str = "[package]\nname = \"proxy\"\nlints.workspace = true\n";

#[test]
fn the_arrow_between_crates() {
    for dependency in [
        "[dependencies]\ncontrol-plane.workspace = true\n",
        "[dev-dependencies]\ncontrol-plane = { path = \"../control-plane\" }\n",
        "[target.'cfg(unix)'.dependencies]\nother = { package = \"control-plane\" }\n",
        "[build-dependencies.control-plane]\npath = \"../control-plane\"\n",
    ] {
        let text = format!("{PROXY}{dependency}");
        let found = broken([ARROW, ("proxy/Cargo.toml", &text)]);
        assert_eq!(found.len(), 1, "{dependency}: {found:?}");
        assert!(found[0].ends_with("crate-arrow"), "{found:?}");
    }
    let fine = format!("{PROXY}[dependencies]\nmesh-api.workspace = true\nhyper = \"1\"\n");
    assert!(broken([ARROW, ("proxy/Cargo.toml", &fine)]).is_empty());
}

#[test]
fn examples_may_use_any_crate_and_a_new_crate_must_say_what_it_uses() {
    let manifest = |name: &str| {
        format!(
            "[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n[dependencies]\nproxy = {{}}\n"
        )
    };
    assert!(broken([ARROW, ("examples/Cargo.toml", &manifest("examples"))]).is_empty());
    assert_eq!(
        broken([ARROW, ("new/Cargo.toml", &manifest("new"))]),
        ["new/Cargo.toml:1: crate-arrow"]
    );
}

#[test]
fn crates_share_the_lints() {
    let text = "[package]\nname = \"proxy\"\n";
    assert_eq!(
        broken([ARROW, ("proxy/Cargo.toml", text)]),
        ["proxy/Cargo.toml:1: lints"]
    );
}

#[test]
fn a_second_tls_stack_is_found_in_the_lock_file() {
    let lock = "[[package]]\nname = \"rustls\"\n\n[[package]]\nname = \"ring\"\n";
    assert_eq!(
        broken([("Cargo.lock", lock)]),
        ["Cargo.lock:5: banned-crate"]
    );
}

#[test]
fn documents_name_files_that_exist() {
    let text =
        "See `proxy/src/a.rs`, `proxy/src/{a,b}.rs`.\nAnd `proxy/src/c/`, `main.rs`, `*/x.rs`.\n";
    let found = broken([("ARCHITECTURE.md", text), ("proxy/src/a.rs", "//! Why.\n")]);
    assert_eq!(
        found,
        ["ARCHITECTURE.md:1: path", "ARCHITECTURE.md:2: path"]
    );
}

#[test]
fn an_example_has_a_readme_yaml_and_a_test() {
    let readme = ("examples/canary/README.md", "# Canary");
    let yaml = ("examples/canary/mesh.yaml", "kind: Service\n");
    let test = (
        "examples/tests/stories.rs",
        "//! Why.\nfn a() { run(\"canary\") }\n",
    );
    assert!(broken([readme, yaml, test]).is_empty());
    assert_eq!(broken([readme, test]).len(), 1);
    assert_eq!(broken([readme, yaml]).len(), 1);
    assert_eq!(broken([yaml, test]).len(), 1);
}

#[test]
fn yaml_has_no_tabs() {
    assert_eq!(
        broken([("deploy/a.yaml", "a:\n\tb: 1\n")]),
        ["deploy/a.yaml:2: yaml-tab"]
    );
}
