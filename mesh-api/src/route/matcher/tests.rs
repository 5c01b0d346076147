//! What matches, by the rules users know from `HTTPMatchRequest`.

use super::*;

fn view<'a>(path: &'a str, query: Option<&'a str>, headers: &'a Headers) -> RequestView<'a> {
    RequestView {
        path,
        query,
        method: "GET",
        scheme: "http",
        authority: "backend:8080",
        headers,
    }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
    let mut map = Headers::new();
    for (name, value) in pairs {
        map.append(*name, http::HeaderValue::from_static(value));
    }
    map
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(Arc::from(text))
}

fn on_header(name: &'static str, value: ValueMatch) -> HeaderMatch {
    HeaderMatch {
        name: Matched::parse(name).unwrap(),
        value,
    }
}

#[test]
fn prefix_is_raw_text_and_regex_is_anchored() {
    let none = Headers::new();
    let path = |text, ignore_case| RequestMatch {
        path: Some(PathMatch { text, ignore_case }),
        ..RequestMatch::default()
    };
    let prefix = path(StringMatch::Prefix(Arc::from("/inventory")), false);
    assert!(prefix.matches(&view("/inventory2", None, &none)));
    assert!(!prefix.matches(&view("/Inventory", None, &none)));
    assert!(
        path(StringMatch::Prefix(Arc::from("/inv")), true).matches(&view("/INV/é", None, &none))
    );
    assert!(
        !path(StringMatch::Prefix(Arc::from("/inve")), true).matches(&view("/in", None, &none))
    );
    let regex = path(StringMatch::Regex(Pattern::new("/a|/b").unwrap()), false);
    assert!(regex.matches(&view("/b", None, &none)));
    assert!(!regex.matches(&view("/b/c", None, &none)));
    assert!(!regex.matches(&view("x/b", None, &none)));
}

#[test]
fn a_regex_that_is_invalid_or_too_large_is_refused() {
    for bad in ["(", "a)(b", "(?:a{1000}){1000}", &"a".repeat(5000)] {
        assert!(Pattern::new(bad).is_err(), "{}", bad.len());
    }
}

#[test]
fn absent_headers_never_match_but_pass_without_headers() {
    let none = Headers::new();
    let with = RequestMatch {
        headers: vec![on_header("x-user", ValueMatch::Text(exact("tester")))],
        ..RequestMatch::default()
    };
    let without = RequestMatch {
        without_headers: vec![on_header("x-user", ValueMatch::Text(exact("tester")))],
        ..RequestMatch::default()
    };
    let tester = headers(&[("x-user", "tester")]);
    assert!(with.matches(&view("/", None, &tester)) && !with.matches(&view("/", None, &none)));
    assert!(
        without.matches(&view("/", None, &none)) && !without.matches(&view("/", None, &tester))
    );
    let no_header = RequestMatch {
        without_headers: vec![on_header("x-user", ValueMatch::Present)],
        ..RequestMatch::default()
    };
    assert!(no_header.matches(&view("/", None, &none)));
    assert!(!no_header.matches(&view("/", None, &tester)));
}

#[test]
fn parts_of_the_request_can_be_matched_like_headers() {
    let none = Headers::new();
    let matches = |name, text: &str, query| {
        let with = RequestMatch {
            headers: vec![on_header(name, ValueMatch::Text(exact(text)))],
            ..RequestMatch::default()
        };
        let without = RequestMatch {
            without_headers: vec![on_header(name, ValueMatch::Text(exact(text)))],
            ..RequestMatch::default()
        };
        let request = view("/a", query, &none);
        assert_ne!(with.matches(&request), without.matches(&request), "{name}");
        with.matches(&request)
    };
    assert!(matches(":authority", "backend:8080", None));
    assert!(!matches(":authority", "backend", None));
    assert!(matches(":method", "GET", None));
    assert!(matches(":scheme", "http", None));
    assert!(matches(":path", "/a", None) && matches(":path", "/a?b", Some("b")));
    assert!(!matches(":path", "/a", Some("b")));
    let there = RequestMatch {
        headers: vec![on_header(":authority", ValueMatch::Present)],
        ..RequestMatch::default()
    };
    assert!(there.matches(&view("/", None, &none)));
    assert!(Matched::parse(":status").is_none() && Matched::parse("X-A").is_none());
}

#[test]
fn several_lines_of_a_header_are_one_list() {
    let two = headers(&[("x-user", "a"), ("x-user", "tester")]);
    let on = |value| RequestMatch {
        headers: vec![on_header("x-user", ValueMatch::Text(exact(value)))],
        ..RequestMatch::default()
    };
    assert!(on("a,tester").matches(&view("/", None, &two)));
    assert!(!on("tester").matches(&view("/", None, &two)));
}

#[test]
fn the_first_query_value_counts() {
    let none = Headers::new();
    let query = |value| RequestMatch {
        query: vec![QueryMatch {
            name: Arc::from("v"),
            value,
        }],
        ..RequestMatch::default()
    };
    let two = ValueMatch::Text(exact("2"));
    assert!(query(two.clone()).matches(&view("/", Some("a=1&v=2&v=3"), &none)));
    assert!(!query(two.clone()).matches(&view("/", Some("v=3&v=2"), &none)));
    // As they are written: an escape is not the character it stands for.
    assert!(!query(two).matches(&view("/", Some("%76=%32"), &none)));
    let written = ValueMatch::Text(exact("a%20b"));
    assert!(query(written).matches(&view("/", Some("v=a%20b"), &none)));
    assert!(query(ValueMatch::Present).matches(&view("/", Some("v"), &none)));
    assert!(!query(ValueMatch::Present).matches(&view("/", None, &none)));
}

#[test]
fn catch_all_is_a_bare_prefix_or_dot_star() {
    let slash = RequestMatch {
        path: Some(PathMatch {
            text: StringMatch::Prefix(Arc::from("/")),
            ignore_case: false,
        }),
        ..RequestMatch::default()
    };
    assert!(slash.is_catch_all() && RequestMatch::default().is_catch_all());
    assert!(
        !RequestMatch {
            method: Some(exact("GET")),
            ..slash
        }
        .is_catch_all()
    );
}

#[test]
fn substitution_uses_backslash_groups() {
    let pattern = Pattern::unanchored("/v([0-9])/").unwrap();
    assert_eq!(
        pattern.replace_all("/v1/x/v2/", r"/api-\1/"),
        "/api-1/x/api-2/"
    );
    assert_eq!(pattern.replace_all("/v1/", r"$1\\"), r"$1\");
}
