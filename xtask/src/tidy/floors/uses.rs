//! Which rooms of its crate a source file names: by `crate::`, in braces or not, in a `use` or in
//! the middle of code, and by as many `super::` as lead to the root.

use crate::tidy::source::{self, Token};

/// One mention of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) room: String,
    pub(super) line: usize,
}

/// The mentions in a file that holds `module`.
pub(super) fn of(module: &[&str], text: &str) -> Vec<Use> {
    let tokens = source::tokens(&source::mask(text));
    let mut found = Vec::new();
    // How deep in braces the modules begin that are written out in this file.
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let here = tokens.get(at..).unwrap_or_default();
        match token.text.as_str() {
            "{" => {
                if at >= 2 && tokens.get(at - 2).is_some_and(|word| word.text == "mod") {
                    inline.push(depth);
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
            }
            "crate" => named(here.get(1..).unwrap_or_default(), &mut found),
            "super" => {
                let steps = steps(here);
                if steps == module.len() + inline.len() {
                    named(here.get(steps * 3 - 2..).unwrap_or_default(), &mut found);
                }
                // The others of the chain are not chains of their own.
                at += (steps - 1) * 3;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// How many times `super` stands in a row, at least once.
fn steps(tokens: &[Token]) -> usize {
    let mut steps = 1;
    while source::starts(
        tokens.get(steps * 3 - 2..).unwrap_or_default(),
        &[":", ":", "super"],
    ) {
        steps += 1;
    }
    steps
}

/// The rooms named by what follows the crate's root.
fn named(after: &[Token], found: &mut Vec<Use>) {
    if !source::starts(after, &[":", ":"]) {
        return;
    }
    let after = after.get(2..).unwrap_or_default();
    let mut add = |token: &Token| {
        found.push(Use {
            room: token.text.clone(),
            line: token.line,
        });
    };
    if !source::starts(after, &["{"]) {
        after.first().into_iter().for_each(add);
        return;
    }
    let mut depth = 0_usize;
    for pair in after.windows(2) {
        let [here, next] = pair else { return };
        match here.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
        let begins = matches!(here.text.as_str(), "{" | ",");
        if depth == 1 && begins && next.text != "}" {
            add(next);
        }
    }
}
