//! What a Nack may say: something about what this server sent, once each, in bounded words.
//!
//! A proxy belongs to whoever runs its pod. What it says about things it was never sent is counted
//! and dropped, and looking at a Nack costs no more than making the push did.

use std::collections::BTreeSet;

use mesh_api::error::{RejectedName, Rejection};
use mesh_api::limits::{MAX_NAME_BYTES, MAX_REJECTIONS};
use mesh_api::name::ResourceName;
use mesh_api::proto;
use mesh_api::version::Version;

use super::view::{InFlight, View};

/// Characters of a field or reason that are kept.
const LONGEST: usize = 200;
/// Rejections that are looked at beyond those there is a resource for: of resources that a
/// removal would leave behind.
const SPARE: usize = 16;

/// The rejections of a Nack that count.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rejections {
    /// The first about each resource.
    pub(super) known: Vec<Rejection>,
    /// How many said nothing about what was sent, or came after enough others.
    pub(super) dropped: usize,
}

/// Reads what a proxy says against `push`, of which `view` is what it held before.
pub(super) fn read(push: &InFlight, view: &View, all: Vec<proto::Rejection>) -> Rejections {
    let most = (2 * push.len() + SPARE).min(MAX_REJECTIONS);
    let mut read = Rejections {
        dropped: all.len().saturating_sub(most),
        ..Rejections::default()
    };
    let mut seen: BTreeSet<ResourceName> = BTreeSet::new();
    for one in all.into_iter().take(most) {
        let proto::Rejection {
            name,
            version,
            field,
            reason,
        } = one;
        let name = (name.len() <= MAX_NAME_BYTES).then(|| name.parse::<ResourceName>());
        let Some(Ok(name)) = name else {
            read.dropped += 1;
            continue;
        };
        let version = Version(version);
        let sent = push.carried(&name) == Some(version) || view.version(&name) == Some(version);
        if !sent {
            read.dropped += 1;
        } else if seen.insert(name.clone()) {
            read.known.push(Rejection {
                resource: RejectedName::Known(name),
                version,
                field: path(&field),
                reason: words(&reason),
            });
        }
    }
    read
}

/// A field's path, if it has the form of one (`rules[2].action.forward`); else nothing, which means
/// the resource as a whole.
fn path(text: &str) -> String {
    let name = |text: &str| {
        let mut letters = text.bytes();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'_')
    };
    let index = |text: &str| {
        text.strip_suffix(']').is_some_and(|digits| {
            (1..=9).contains(&digits.len()) && digits.bytes().all(|one| one.is_ascii_digit())
        })
    };
    let is_path = text.len() <= LONGEST
        && text.split('.').all(|part| match part.split_once('[') {
            None => name(part),
            Some((field, rest)) => name(field) && rest.split('[').all(index),
        });
    if is_path {
        text.to_owned()
    } else {
        String::new()
    }
}

/// Free text as one line of bounded length.
fn words(text: &str) -> String {
    let letters = text.chars().take(LONGEST);
    letters
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_pass_for_paths() {
        for good in ["name", "rules[2].action.forward.timeout", "a_1[0][12].b"] {
            assert_eq!(path(good), good);
        }
        let long = "a".repeat(LONGEST + 1);
        for bad in [
            "",
            "Rules",
            "rules[]",
            "rules[x]",
            "rules[1",
            "a..b",
            "a.",
            "see http://evil.example",
            "a[1]b",
            "ä",
            &long,
        ] {
            assert_eq!(path(bad), "", "{bad}");
        }
    }

    #[test]
    fn words_stay_on_their_line() {
        assert_eq!(words("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(words(&"ä".repeat(1000)).chars().count(), LONGEST);
    }
}
