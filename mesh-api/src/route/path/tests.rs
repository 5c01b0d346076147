//! Normal forms, by table and by property.

use proptest::prelude::*;

use super::*;

const FORMS: [NormalForm; 4] = [
    NormalForm::AsGiven,
    NormalForm::Base,
    NormalForm::MergeSlashes,
    NormalForm::DecodeAndMergeSlashes,
];

#[test]
fn base_is_rfc_3986_with_backslashes() {
    for (given, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/../../x", "/x"),
        ("/..", "/"),
        ("/a/%2e%2E/b", "/b"),
        ("/%61%2D", "/a-"),
        ("/a%2fb", "/a%2fb"),
        ("/a%5cb", "/a%5cb"),
        ("/a%252fb", "/a%252fb"),
        ("/a\\b\\..\\c", "/a/c"),
        ("//a//b", "//a//b"),
        ("/a//../b", "/a/b"),
        ("/.hidden", "/.hidden"),
        ("/a/...", "/a/..."),
        ("/a;x/b;y", "/a;x/b;y"),
        ("/100%25", "/100%25"),
        ("/%25zz", "/%25zz"),
        ("/ä", "/ä"),
    ] {
        assert_eq!(
            normalize(given, NormalForm::Base).unwrap(),
            expected,
            "{given}"
        );
    }
}

#[test]
fn the_other_forms_do_less_and_more() {
    for (given, as_given, merged, decoded) in [
        ("/a/../b", "/a/../b", "/b", "/b"),
        ("/%61", "/%61", "/a", "/a"),
        ("/a\\b", "/a\\b", "/a/b", "/a/b"),
        ("//a///b/", "//a///b/", "/a/b/", "/a/b/"),
        ("/a//../b", "/a//../b", "/a/b", "/a/b"),
        ("/a%2f%5Cb", "/a%2f%5Cb", "/a%2f%5Cb", "/a/b"),
        ("/A/%2F..", "/A/%2F..", "/A/%2F..", "/A/"),
    ] {
        // What only decoding resolves is refused where it is not decoded.
        for (form, expected) in [
            (NormalForm::AsGiven, as_given),
            (NormalForm::MergeSlashes, merged),
            (NormalForm::DecodeAndMergeSlashes, decoded),
        ] {
            match normalize(given, form) {
                Ok(normal) => assert_eq!(normal, expected, "{given} {form:?}"),
                Err(refused) => {
                    assert_eq!(refused, Malformed::Hidden, "{given} {form:?}");
                    assert!(given.contains("%2F..") && form == NormalForm::MergeSlashes);
                }
            }
        }
    }
}

#[test]
fn what_no_path_may_contain_is_refused_in_every_form() {
    for form in FORMS {
        for (given, why) in [
            ("a", Malformed::NotRooted),
            ("", Malformed::NotRooted),
            ("*", Malformed::NotRooted),
            ("/%zz", Malformed::Escape),
            ("/%", Malformed::Escape),
            ("/%4", Malformed::Escape),
            ("/%%32%65", Malformed::Escape),
            ("/public/%%32%65%%32%65/admin", Malformed::Escape),
            ("/%00", Malformed::Character),
            ("/a#b", Malformed::Character),
            ("/a b", Malformed::Character),
            ("/a\tb", Malformed::Character),
            ("/a\u{7f}", Malformed::Character),
        ] {
            assert_eq!(normalize(given, form), Err(why), "{given} {form:?}");
        }
    }
    assert_eq!(check("q=%zz"), Err(Malformed::Escape));
    assert_eq!(check("q=%00"), Err(Malformed::Character));
    assert_eq!(check("q=/../x?y&a%20b"), Ok(()));
}

#[test]
fn what_another_reader_would_resolve_is_refused() {
    for given in [
        "/a/..%2fb",
        "/a/%2e%2e%5cb",
        "/a/%252e%252e/b",
        "/a/%25252e%25252e/b",
        "/a/..;/b",
        "/a/..;x=y/b",
        "/a/.;/b",
        "/a/..%3b/b",
        "/a%2500b",
        "/a%2f..%2fb",
    ] {
        assert_eq!(
            normalize(given, NormalForm::Base),
            Err(Malformed::Hidden),
            "{given}"
        );
    }
    let deep = format!("/a%{}41", "25".repeat(30_000));
    assert_eq!(normalize(&deep, NormalForm::Base), Err(Malformed::Hidden));
    let strict = NormalForm::DecodeAndMergeSlashes;
    for given in ["/a%252fb", "/a%255cb", "/a%25252Fb"] {
        assert_eq!(normalize(given, strict), Err(Malformed::Hidden), "{given}");
    }
}

#[test]
fn what_a_rewrite_joins_is_not_resolved() {
    for (given, expected) in [("/a/b", "/a/b"), ("//users", "//users"), ("/a%41", "/aA")] {
        assert_eq!(settle(given, NormalForm::Base).unwrap(), expected);
    }
    assert_eq!(
        settle("//users", NormalForm::MergeSlashes).unwrap(),
        "/users"
    );
    for given in [
        "/static/../admin",
        "/static/./x",
        "/a/%2e%2e/b",
        "/a\\..\\b",
        "/a/..;/b",
    ] {
        assert_eq!(
            settle(given, NormalForm::Base),
            Err(Malformed::Hidden),
            "{given}"
        );
        assert_eq!(settle(given, NormalForm::AsGiven).unwrap(), given);
    }
    assert_eq!(settle("/a%2", NormalForm::AsGiven), Err(Malformed::Escape));
}

/// One piece of what attackers build paths of.
fn piece() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "/", "//", "\\", ".", "..", ";", "a", "B", "%", "%2", "%25", "%2e", "%2E", "%2f", "%5c",
        "%5C", "%3b", "%00", "%41", "%c0%ae", "%e4", "25", "2e", "2f", "#", "\u{0}", "ä", "*", "~",
        "%7e", "5c", "%32", "%35", "...", "admin", " ",
    ])
}

/// What a path looks like after some rounds of undoing its escapes, if that differs from before.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let hex = hex.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(plain) if byte == b'%' => {
                out.push(plain);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn segments(text: &[u8]) -> Vec<Vec<u8>> {
    let slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    text.split(slash).map(<[u8]>::to_vec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn normalising_again_changes_nothing(pieces in proptest::collection::vec(piece(), 0..14)) {
        let path = format!("/{}", pieces.concat());
        for form in FORMS {
            let Ok(once) = normalize(&path, form) else { continue };
            let again = normalize(&once, form);
            prop_assert_eq!(again.as_deref(), Ok(&*once), "{} {:?}", path, form);
            prop_assert!(!once.contains(['#', '\u{0}', ' ']), "{}", once);
        }
    }

    /// Whatever is not refused keeps its segments for every reader: those that split first, those
    /// that undo escapes first, as often as they like, and those that cut parameters off.
    #[test]
    fn no_decoder_finds_a_way_out(pieces in proptest::collection::vec(piece(), 0..14)) {
        let path = format!("/{}", pieces.concat());
        for form in [NormalForm::Base, NormalForm::MergeSlashes, NormalForm::DecodeAndMergeSlashes] {
            let Ok(normal) = normalize(&path, form) else { continue };
            let mut text = normal.as_bytes().to_vec();
            let matched = segments(&text);
            for round in 0..40 {
                for segment in segments(&text) {
                    let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
                    prop_assert!(name != b"." && name != b"..", "{normal} after {round} rounds");
                }
                if form == NormalForm::DecodeAndMergeSlashes {
                    prop_assert_eq!(segments(&text).len(), matched.len(), "{}", normal);
                }
                prop_assert!(!text.contains(&0), "{normal} after {round} rounds");
                text = decode(&text);
            }
            if form != NormalForm::Base {
                prop_assert!(!normal.contains("//"), "{}", normal);
            }
        }
    }
}
