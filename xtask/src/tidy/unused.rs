//! Rule on public items of libraries: somebody besides their own tests uses them.
//!
//! What is private the compiler watches. Of a public item it must believe that another crate
//! wants it, although all crates that could stand in this workspace. So names that stand nowhere
//! but where they are defined are looked for by reading. Reading knows words, not types: of two
//! functions called `new` one may go unused and not be found.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::source::{self, Token};
use super::tree::{Tree, is_test};

/// The package whose library is there for the tests beside it.
const FOR_TESTS: &str = "examples";

/// Words that may stand between `pub` and what is defined.
const BEFORE: &[&str] = &["const", "async", "unsafe", "extern"];
/// What defines something that others name.
const KINDS: &[&str] = &[
    "fn", "struct", "enum", "trait", "type", "const", "static", "union",
];

/// A public item of a library.
struct Item<'t> {
    path: &'t str,
    line: usize,
    kind: &'static str,
    name: String,
}

/// Where a word stands in the workspace.
#[derive(Debug, Clone, Default)]
struct Uses<'t> {
    /// How often anywhere in code that is no test.
    said: usize,
    /// How often outside of imports and of the heads of implementations, where naming is not using.
    meant: usize,
    /// How often as the name of what is defined there, public or not.
    defined: usize,
    /// The packages whose tests say it.
    tested_by: BTreeSet<&'t str>,
}

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let read: Vec<(&str, Vec<Token>)> = tree
        .with_ending(&["rs"])
        .map(|(path, text)| {
            // What a build script has code written with stands in its strings.
            let script = path.ends_with("build.rs");
            let text = if script {
                text.to_owned()
            } else {
                source::mask(text)
            };
            (path, source::tokens(&text))
        })
        .collect();
    let test_modules: BTreeSet<String> = read
        .iter()
        .flat_map(|(path, tokens)| test_modules(path, tokens))
        .collect();
    let mut words: BTreeMap<String, Uses<'_>> = BTreeMap::new();
    let mut items = Vec::new();
    for (path, tokens) in &read {
        let tests_only = is_test(path) || test_modules.iter().any(|module| is_in(path, module));
        let (code, tests) = if tests_only {
            (Vec::new(), tokens.clone())
        } else {
            split(tokens)
        };
        let package = package(path);
        for token in tests {
            let uses = words.entry(token.text).or_default();
            uses.tested_by.insert(package);
        }
        count(&code, &mut words);
        if tree.has(&format!("{package}/src/lib.rs")) {
            public_items(path, &code, &mut items);
        }
    }
    items.retain(|item| {
        words
            .get(&item.name)
            .is_none_or(|uses| !is_used(item, uses))
    });
    let violation = |item: Item<'_>| {
        let advice = format!(
            "nothing but its own tests uses `{}`; remove it, or make it private to them",
            item.name
        );
        Violation::new(item.path, item.line, "unused", advice)
    };
    items.into_iter().map(violation).collect()
}

fn is_used(item: &Item<'_>, uses: &Uses<'_>) -> bool {
    let own = package(item.path);
    let mut tested_by = uses.tested_by.iter();
    if tested_by.any(|package| *package != own || own == FOR_TESTS) {
        return true;
    }
    // A trait is used where it is implemented and where it is imported for its methods.
    let named = if item.kind == "trait" {
        uses.said
    } else {
        uses.meant
    };
    named > uses.defined
}

/// The folder of the package that a source file belongs to.
fn package(path: &str) -> &str {
    let folders = ["/src/", "/tests/", "/benches/"];
    let ends = folders.iter().filter_map(|folder| path.find(folder));
    ends.min().and_then(|end| path.get(..end)).unwrap_or(path)
}

/// Whether a file is that module or below it; a module is a path without its ending.
fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The length of the attribute that begins here, and whether it keeps what follows to tests.
fn attribute(tokens: &[Token]) -> Option<(usize, bool)> {
    if !source::starts(tokens, &["#", "["]) {
        return None;
    }
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "[" => depth += 1,
            "]" if depth == 1 => {
                let inside = tokens.get(2..at).unwrap_or_default();
                let has = |word: &str| inside.iter().any(|token| token.text == word);
                let for_tests = source::starts(inside, &["cfg"]) && has("test") && !has("not");
                return Some((at + 1, for_tests));
            }
            "]" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The length of the item that begins here: to its `;`, or to the end of its block.
fn item_length(tokens: &[Token]) -> usize {
    let (mut round, mut curly) = (0_usize, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" => round += 1,
            ")" | "]" => round = round.saturating_sub(1),
            "{" => curly += 1,
            "}" => {
                curly = curly.saturating_sub(1);
                if curly == 0 && round == 0 {
                    return at + 1;
                }
            }
            ";" if round == 0 && curly == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The tokens of a file that are not kept to tests, and those that are.
fn split(tokens: &[Token]) -> (Vec<Token>, Vec<Token>) {
    let (mut code, mut tests) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let here = tokens.get(at..).unwrap_or_default();
        if let Some((length, true)) = attribute(here) {
            let length = length + item_length(here.get(length..).unwrap_or_default());
            tests.extend(here.iter().take(length).cloned());
            at += length;
        } else {
            code.push(token.clone());
            at += 1;
        }
    }
    (code, tests)
}

/// The modules with files of their own that a file keeps to tests, as paths without an ending.
fn test_modules(path: &str, tokens: &[Token]) -> Vec<String> {
    let folder = path.strip_suffix(".rs").unwrap_or(path);
    let (parent, own) = folder.rsplit_once('/').unwrap_or(("", folder));
    let folder = if matches!(own, "lib" | "main") {
        parent
    } else {
        folder
    };
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let here = tokens.get(at..).unwrap_or_default();
        let Some((mut length, true)) = attribute(here) else {
            continue;
        };
        while let Some((more, _)) = attribute(here.get(length..).unwrap_or_default()) {
            length += more;
        }
        let item = here.get(length..).unwrap_or_default();
        let words = item
            .iter()
            .take(item_length(item))
            .map(|token| token.text.as_str());
        let words: Vec<&str> = words.collect();
        if let [.., "mod", name, ";"] = words.as_slice() {
            found.push(format!("{folder}/{name}"));
        }
    }
    found
}

/// The name that is defined here, if one is, with its kind.
fn defined(tokens: &[Token]) -> Option<(&'static str, &Token)> {
    let [keyword, name, ..] = tokens else {
        return None;
    };
    let kind = KINDS.iter().find(|kind| **kind == keyword.text)?;
    let is_name = name
        .text
        .starts_with(|c: char| c.is_alphabetic() || c == '_')
        && !KINDS.contains(&name.text.as_str())
        && !BEFORE.contains(&name.text.as_str());
    is_name.then_some((kind, name))
}

fn count(code: &[Token], words: &mut BTreeMap<String, Uses<'_>>) {
    // Within an import or the head of an implementation.
    let (mut import, mut head) = (false, false);
    for (at, token) in code.iter().enumerate() {
        let here = code.get(at..).unwrap_or_default();
        let begins = at == 0
            || code.get(at - 1).is_some_and(|before| {
                matches!(
                    before.text.as_str(),
                    ";" | "{" | "}" | "]" | ")" | "pub" | "unsafe"
                )
            });
        match token.text.as_str() {
            "use" if begins => import = true,
            "impl" if begins => head = true,
            ";" => (import, head) = (false, false),
            "{" if !import => head = false,
            _ => {}
        }
        if let Some((_, name)) = defined(here) {
            words.entry(name.text.clone()).or_default().defined += 1;
        }
        // Under another name it cannot be followed any further.
        let renamed = here.get(1).is_some_and(|next| next.text == "as");
        let uses = words.entry(token.text.clone()).or_default();
        uses.said += 1;
        if renamed || !(import || head) {
            uses.meant += 1;
        }
    }
}

fn public_items<'t>(path: &'t str, code: &[Token], items: &mut Vec<Item<'t>>) {
    for (at, token) in code.iter().enumerate() {
        // `pub(crate)` the compiler watches.
        if token.text != "pub" || code.get(at + 1).is_some_and(|next| next.text == "(") {
            continue;
        }
        let mut after = code.get(at + 1..).unwrap_or_default();
        while defined(after).is_none()
            && after
                .first()
                .is_some_and(|word| BEFORE.contains(&word.text.as_str()))
        {
            after = after.get(1..).unwrap_or_default();
        }
        if let Some((kind, name)) = defined(after) {
            items.push(Item {
                path,
                line: name.line,
                kind,
                name: name.text.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: (&str, &str) = ("a/src/lib.rs", "//! A.\npub mod b;\n");

    /// The names that are said to be unused.
    fn unused(user: &str, text: &str) -> Vec<String> {
        let tree = Tree::of([LIB, ("a/src/b.rs", text), ("c/src/main.rs", user)]);
        let names = check(&tree).into_iter();
        names
            .map(|one| one.advice.split('`').nth(1).unwrap().to_owned())
            .collect()
    }

    #[test]
    fn what_nobody_names_is_unused_and_what_is_not_public_is_the_compilers() {
        let text = "pub fn a() {}\npub const fn bb() {}\npub(crate) fn c() {}\nfn d() {}\n\
                    pub struct E;\npub const F: u8 = 1;\npub type G = u8;\npub trait H {}\n";
        assert_eq!(unused("", text), ["a", "bb", "E", "F", "G", "H"]);
        let user = "fn main() { a(); bb(); x::<E>(F as G); }\nimpl H for X {}";
        assert_eq!(unused(user, text), [""; 0]);
    }

    #[test]
    fn comments_texts_imports_and_implementations_are_no_uses() {
        let text = "pub struct A;\nimpl A { fn new() {} }\nimpl Default for A {}\n";
        for user in [
            "// A\n/// [`A`]\nfn main() { \"A\"; }",
            "use a::b::A;",
            "pub use a::b::{A, C};",
        ] {
            assert_eq!(unused(user, text), ["A"], "{user}");
        }
        assert_eq!(unused("use a::b::A as B;", text), [""; 0]);
        assert_eq!(unused("fn f(a: impl Fn(A)) {}", text), [""; 0]);
    }

    #[test]
    fn tests_are_no_uses_wherever_they_stand() {
        let text = "pub fn a() {}\n#[cfg(test)]\nmod tests { fn t() { a(); } }\n\
                    #[cfg(any(test, feature = \"testing\"))]\npub mod testing;\n";
        let called = "fn t() { a(); }";
        for place in [
            "a/src/b/tests.rs",
            "a/src/b/testing.rs",
            "a/src/b/testing/more.rs",
            "a/tests/t.rs",
        ] {
            let tree = Tree::of([LIB, ("a/src/b.rs", text), (place, called)]);
            assert_eq!(check(&tree).len(), 1, "{place}");
        }
        for place in [
            "a/src/c.rs",
            "c/src/main.rs",
            "c/tests/t.rs",
            "c/src/d/tests.rs",
        ] {
            let tree = Tree::of([LIB, ("a/src/b.rs", text), (place, called)]);
            assert_eq!(check(&tree), [], "{place}");
        }
    }

    #[test]
    fn only_libraries_have_items_for_others_and_some_are_for_tests() {
        let tree = Tree::of([("a/src/main.rs", "pub fn a() {}")]);
        assert_eq!(check(&tree), []);
        let tree = Tree::of([
            ("examples/src/lib.rs", "pub fn a() {}"),
            ("examples/tests/t.rs", "fn t() { a(); }"),
        ]);
        assert_eq!(check(&tree), []);
    }
}
