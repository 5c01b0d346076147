//! Regular expressions: bounded each, counted, and compiled once for all who have the same.
//!
//! What an expression costs cannot be seen from its text (`\pL{24}` is a megabyte), so it is
//! measured. Equal ones share one program for as long as any of them lives.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use regex_automata::meta::{BuildError, Regex};
use regex_automata::util::syntax;
use serde::{Serialize, Serializer};

/// What searching needs beside the program, for each thread, at most.
const SEARCH_BYTES: usize = 64 << 10;
/// What an expression costs beside its program, about: its text, what finds it, a little searching.
const FLAT_BYTES: usize = 8 << 10;
/// Verdicts that are remembered.
const VERDICTS: usize = 1024;

/// A regular expression that must match the whole text, or, unanchored, any part of it.
///
/// Equality, order and hash are those of the source, so that "unchanged" is `==`.
#[derive(Clone)]
pub struct Pattern(Arc<Program>);

/// A regular expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Its text is too long.
    #[error(
        "the regular expression cannot be used: it is {0} bytes long; at most {max} are allowed",
        max = Pattern::MAX_SOURCE
    )]
    TooLong(usize),
    /// Its program is too large.
    #[error(
        "the regular expression cannot be used: it takes more than {max} bytes once compiled; use \
         smaller repetition counts or fewer alternatives",
        max = Pattern::SIZE_LIMIT
    )]
    TooLarge,
    /// All programs of this process together are too large.
    #[error(
        "the regular expression cannot be used: all that are in use take more than {max} bytes; use \
         fewer or smaller ones",
        max = Pattern::PROCESS_LIMIT
    )]
    TooMany,
    /// It is none.
    #[error("the regular expression cannot be used: {0}")]
    Syntax(String),
}

impl InvalidPattern {
    fn of(error: &BuildError) -> Self {
        if error.size_limit().is_some() {
            return Self::TooLarge;
        }
        let syntax = error.syntax_error().map(ToString::to_string);
        Self::Syntax(syntax.unwrap_or_else(|| error.to_string()))
    }
}

type Key = (bool, Box<str>);

/// The programs there are.
static LIVE: LazyLock<Mutex<HashMap<Key, Weak<Program>>>> = LazyLock::new(Mutex::default);
/// What they cost.
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
/// What is known of expressions that were checked, so that nothing is compiled to be checked again.
static KNOWN: LazyLock<Mutex<HashMap<Key, Result<usize, InvalidPattern>>>> =
    LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here is left half-done by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Program {
    anchored: bool,
    source: Box<str>,
    cost: usize,
    /// Whether it is one of those in [`LIVE`].
    live: bool,
    compiled: OnceLock<Option<Regex>>,
}

impl Program {
    fn regex(&self) -> Option<&Regex> {
        let compiled = self
            .compiled
            .get_or_init(|| build(self.anchored, &self.source).ok());
        compiled.as_ref()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.live {
            LIVE_BYTES.fetch_sub(self.cost, Ordering::Relaxed);
        }
    }
}

/// Compiles an expression.
fn build(anchored: bool, source: &str) -> Result<Regex, InvalidPattern> {
    let config = Regex::config()
        .nfa_size_limit(Some(Pattern::SIZE_LIMIT))
        .onepass_size_limit(Some(SEARCH_BYTES))
        .hybrid_cache_capacity(SEARCH_BYTES);
    let newlines = syntax::Config::new().dot_matches_new_line(true);
    let mut builder = Regex::builder();
    let builder = builder.configure(config).syntax(newlines);
    let built = if anchored {
        // On its own first, so that `a)(b` is not made valid by the group that anchors it.
        let alone = syntax::parse_with(source, &newlines);
        alone.map_err(|error| InvalidPattern::Syntax(error.to_string()))?;
        builder.build(&format!("^(?:{source})$"))
    } else {
        builder.build(source)
    };
    built.map_err(|error| InvalidPattern::of(&error))
}

impl Pattern {
    /// Compiled memory a single expression may take.
    pub const SIZE_LIMIT: usize = 1 << 20;
    /// Longest accepted source.
    pub const MAX_SOURCE: usize = 4096;
    /// Compiled memory all expressions of a process may take that came over the wire: those of a
    /// configuration, and of the one that takes its place.
    pub const PROCESS_LIMIT: usize = 64 << 20;

    /// Compiles an expression (RE2 syntax, anchored at both ends), bounded in size.
    pub fn new(source: &str) -> Result<Self, InvalidPattern> {
        Self::live(true, source)
    }

    /// Compiles an expression that may match anywhere, for substitution.
    pub fn unanchored(source: &str) -> Result<Self, InvalidPattern> {
        Self::live(false, source)
    }

    /// As [`new`](Self::new), or [`unanchored`](Self::unanchored), but it is compiled only to be
    /// checked, and that once: for who passes it on and matches nothing by it.
    pub fn checked(anchored: bool, source: &str) -> Result<Self, InvalidPattern> {
        if source.len() > Self::MAX_SOURCE {
            return Err(InvalidPattern::TooLong(source.len()));
        }
        let key = (anchored, Box::from(source));
        let known = lock(&KNOWN).get(&key).cloned();
        let verdict = known.unwrap_or_else(|| {
            let verdict = build(anchored, source).map(|regex| cost(&regex));
            let mut known = lock(&KNOWN);
            if known.len() >= VERDICTS {
                known.clear();
            }
            known.insert(key, verdict.clone());
            verdict
        });
        Ok(Self(Arc::new(Program {
            anchored,
            source: Box::from(source),
            cost: verdict?,
            live: false,
            compiled: OnceLock::new(),
        })))
    }

    /// As [`new`](Self::new), or [`unanchored`](Self::unanchored), for what came over the wire: all
    /// of them together are bounded, too.
    pub fn received(anchored: bool, source: &str) -> Result<Self, InvalidPattern> {
        let pattern = Self::live(anchored, source)?;
        if LIVE_BYTES.load(Ordering::Relaxed) > Self::PROCESS_LIMIT {
            return Err(InvalidPattern::TooMany);
        }
        Ok(pattern)
    }

    fn live(anchored: bool, source: &str) -> Result<Self, InvalidPattern> {
        if source.len() > Self::MAX_SOURCE {
            return Err(InvalidPattern::TooLong(source.len()));
        }
        let key: Key = (anchored, Box::from(source));
        if let Some(program) = lock(&LIVE).get(&key).and_then(Weak::upgrade) {
            return Ok(Self(program));
        }
        // Not while others wait for the list.
        let regex = build(anchored, source)?;
        let program = Arc::new(Program {
            anchored,
            source: Box::from(source),
            cost: cost(&regex),
            live: true,
            compiled: OnceLock::from(Some(regex)),
        });
        LIVE_BYTES.fetch_add(program.cost, Ordering::Relaxed);
        let mut live = lock(&LIVE);
        if live.len() == live.capacity() {
            live.retain(|_, program| program.strong_count() > 0);
        }
        live.insert(key, Arc::downgrade(&program));
        Ok(Self(program))
    }

    /// The expression as the user wrote it.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Bytes it takes once compiled, about.
    pub fn cost(&self) -> usize {
        self.0.cost
    }

    /// Whether the text matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.regex().is_some_and(|regex| regex.is_match(text))
    }

    /// Replaces every match; `\1` in `replacement` is the first group, `\\` a backslash.
    pub fn replace_all<'t>(&self, text: &'t str, replacement: &str) -> Cow<'t, str> {
        let Some(regex) = self.0.regex() else {
            return Cow::Borrowed(text);
        };
        let mut replaced = String::new();
        let mut done = 0;
        for captures in regex.captures_iter(text) {
            let Some(found) = captures.get_match() else {
                continue;
            };
            replaced.push_str(text.get(done..found.start()).unwrap_or_default());
            let group = |index| {
                let span = captures.get_group(index)?;
                text.get(span.start..span.end)
            };
            substitute(replacement, group, &mut replaced);
            done = found.end();
        }
        if done == 0 && replaced.is_empty() {
            return Cow::Borrowed(text);
        }
        replaced.push_str(text.get(done..).unwrap_or_default());
        Cow::Owned(replaced)
    }
}

fn cost(regex: &Regex) -> usize {
    regex.memory_usage() + FLAT_BYTES
}

/// RE2's replacement syntax.
fn substitute<'t>(replacement: &str, group: impl Fn(usize) -> Option<&'t str>, out: &mut String) {
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(digit) if digit.is_ascii_digit() => {
                let index = digit.to_digit(10).and_then(|d| usize::try_from(d).ok());
                out.push_str(index.and_then(&group).unwrap_or_default());
            }
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        // The anchored and the unanchored form never meet in one field.
        self.source() == other.source()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source().hash(state);
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_expressions_are_one_program() {
        let one = Pattern::new("/shared/[a-f]+").unwrap();
        let other = Pattern::new("/shared/[a-f]+").unwrap();
        assert!(Arc::ptr_eq(&one.0, &other.0));
        let elsewhere = Pattern::unanchored("/shared/[a-f]+").unwrap();
        assert!(
            !Arc::ptr_eq(&one.0, &elsewhere.0),
            "it means something else"
        );
        drop((one, other));
        assert_eq!(
            Pattern::new("/shared/[a-f]+").unwrap().source(),
            "/shared/[a-f]+"
        );
    }

    #[test]
    fn what_is_checked_costs_what_it_would_and_matches_all_the_same() {
        let checked = Pattern::checked(true, "/checked/[0-9]{3}").unwrap();
        let compiled = Pattern::new("/checked/[0-9]{3}").unwrap();
        assert_eq!(checked.cost(), compiled.cost());
        assert!(checked.is_match("/checked/123") && !checked.is_match("/checked/1234"));
        for bad in ["a)(b", "(", "((a{100}){100}){100}"] {
            let error = Pattern::checked(true, bad).unwrap_err();
            assert_eq!(Pattern::checked(true, bad).unwrap_err(), error);
            assert_eq!(Pattern::new(bad).unwrap_err(), error);
        }
    }

    #[test]
    fn the_cost_is_the_programs_and_not_the_texts() {
        let cheap = Pattern::new("/a-long-but-simple-path/of-many-letters/.*").unwrap();
        let dear = Pattern::new(r"\pL{24}").unwrap();
        assert!(cheap.cost() < 64 << 10, "{}", cheap.cost());
        assert!(dear.cost() > 8 * cheap.cost(), "{}", dear.cost());
        assert!(dear.cost() < 4 * Pattern::SIZE_LIMIT, "{}", dear.cost());
    }
}
