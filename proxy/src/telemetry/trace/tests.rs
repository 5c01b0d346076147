//! Known contexts, and properties over generated and arbitrary ones.

use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn request_ids_are_made_kept_and_replaced() {
    let mut request = HeaderMap::new();
    ensure_request_id(&mut request, RequestIds::Keep);
    let first = text(&request, "x-request-id").unwrap().to_owned();
    let groups: Vec<usize> = first.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    assert_eq!(first.as_bytes()[14], b'4');
    assert!(b"89ab".contains(&first.as_bytes()[19]), "{first}");

    ensure_request_id(&mut request, RequestIds::Keep);
    assert_eq!(text(&request, "x-request-id"), Some(&*first));
    ensure_request_id(&mut request, RequestIds::Replace);
    let second = text(&request, "x-request-id").unwrap().to_owned();
    assert_ne!(second, first);

    let long = "x".repeat(MAX_REQUEST_ID + 1);
    let mut request = headers(&[("x-request-id", &long)]);
    ensure_request_id(&mut request, RequestIds::Keep);
    assert_eq!(text(&request, "x-request-id").unwrap().len(), 36);
}

#[test]
fn the_missing_family_is_derived() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let mut request = headers(&[("traceparent", &parent), ("tracestate", "a=b")]);
    propagate(&mut request);
    assert_eq!(text(&request, "x-b3-traceid"), Some(TRACE));
    assert_eq!(text(&request, "x-b3-spanid"), Some(SPAN));
    assert_eq!(text(&request, "x-b3-sampled"), Some("1"));
    assert_eq!(text(&request, "traceparent"), Some(&*parent));
    assert_eq!(text(&request, "tracestate"), Some("a=b"));

    let mut request = headers(&[("b3", &format!("{TRACE}-{SPAN}-d"))]);
    propagate(&mut request);
    assert_eq!(text(&request, "traceparent"), Some(&*parent));

    let mut request = headers(&[
        ("x-b3-traceid", "a3ce929d0e0e4736"),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "0"),
    ]);
    propagate(&mut request);
    let padded = format!("00-0000000000000000a3ce929d0e0e4736-{SPAN}-00");
    assert_eq!(text(&request, "traceparent"), Some(&*padded));
}

#[test]
fn what_nobody_has_decided_stays_undecided() {
    for undecided in [
        headers(&[("b3", &format!("{TRACE}-{SPAN}"))]),
        headers(&[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)]),
        headers(&[
            ("x-b3-traceid", TRACE),
            ("x-b3-spanid", SPAN),
            ("x-b3-flags", "0"),
        ]),
    ] {
        let mut request = undecided.clone();
        propagate(&mut request);
        assert_eq!(request, undecided, "a made-up no would end the trace");
        assert_eq!(TraceContext::of(&request).unwrap().sampled, None);
    }
}

#[test]
fn what_cannot_be_understood_goes_on_alone() {
    for (name, value) in [
        ("traceparent", "00-xyz"),
        (
            "traceparent",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ),
        (
            "traceparent",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ),
        (
            "traceparent",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ),
        ("b3", "0"),
        (
            "b3",
            "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-12-13",
        ),
        ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ] {
        let mut request = headers(&[(name, value)]);
        let before = request.clone();
        propagate(&mut request);
        assert_eq!(request, before, "{name}: {value}");
        assert_eq!(TraceContext::of(&request), None);
    }
    let twice = format!("00-{TRACE}-{SPAN}-01");
    let request = headers(&[("traceparent", &twice), ("traceparent", &twice)]);
    assert_eq!(TraceContext::of(&request), None);
}

fn context() -> impl Strategy<Value = TraceContext> {
    (1..=u128::MAX, 1..=u64::MAX, any::<bool>().prop_map(Some)).prop_map(
        |(trace_id, span_id, sampled)| TraceContext {
            trace_id,
            span_id,
            sampled,
        },
    )
}

proptest! {
    #[test]
    fn either_family_leads_to_the_other_and_back(context in context()) {
        let mut one = HeaderMap::new();
        insert_traceparent(&mut one, context, context.sampled == Some(true));
        propagate(&mut one);
        one.remove(TRACEPARENT);
        prop_assert_eq!(TraceContext::of(&one), Some(context));
        propagate(&mut one);
        for name in [B3_TRACE_ID, B3_SPAN_ID, B3_SAMPLED] {
            one.remove(name);
        }
        prop_assert_eq!(TraceContext::of(&one), Some(context));
    }

    #[test]
    fn any_headers_are_survived_and_kept(
        pairs in prop::collection::vec(
            (0_usize..7, prop::collection::vec(any::<u8>(), 0..70)), 0..8),
        spelled in prop::collection::vec((0_usize..7, "[0-9a-f]{0,33}(-[0-9a-fd]{0,17}){0,4}"), 0..4),
    ) {
        let names = [
            "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled",
            "x-b3-parentspanid",
        ];
        let mut request = HeaderMap::new();
        let spelled = spelled.into_iter().map(|(name, value)| (name, value.into_bytes()));
        for (name, value) in pairs.into_iter().chain(spelled) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.append(names[name], value);
            }
        }
        let before = request.clone();
        propagate(&mut request);
        for name in ["traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-parentspanid"] {
            if before.contains_key(name) {
                let then: Vec<_> = before.get_all(name).iter().collect();
                let now: Vec<_> = request.get_all(name).iter().collect();
                prop_assert_eq!(then, now);
            }
        }
    }

    #[test]
    fn uuids_are_well_formed_whatever_the_bits(bits in any::<u128>()) {
        let mut text = [0; 36];
        uuid(bits, &mut text);
        let text = std::str::from_utf8(&text).unwrap();
        prop_assert_eq!(text.as_bytes()[14], b'4');
        prop_assert!(b"89ab".contains(&text.as_bytes()[19]));
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        prop_assert_eq!(digits.len(), 32);
        prop_assert_eq!(u128::from_str_radix(&digits, 16).unwrap() & 0xffff, bits & 0xffff);
    }
}
