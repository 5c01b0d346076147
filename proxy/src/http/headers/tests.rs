//! What is taken off, what stays, and what is asked for.

use super::*;

fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect::<Vec<_>>()
        .into_iter()
        .fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        })
}

#[test]
fn what_concerns_one_hop_goes_and_the_rest_stays() {
    let mut headers = map(&[
        ("host", "a"),
        ("connection", "keep-alive, X-Gone, host, x-forwarded-for"),
        ("keep-alive", "timeout=5"),
        ("x-gone", "1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("te", "gzip, trailers"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-continue"),
        ("x-stays", "2"),
    ]);
    let scan = Scan::of(&headers);
    assert!(!strip_request(&mut headers, scan));
    let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["host", "te", "x-forwarded-for", "x-stays"]);
    assert_eq!(headers["te"], "trailers");
}

#[test]
fn one_websocket_is_asked_for_by_both_headers() {
    let asks = |pairs: &[(&'static str, &'static str)]| {
        let mut headers = map(pairs);
        let scan = Scan::of(&headers);
        let websocket = strip_request(&mut headers, scan);
        assert!(headers.is_empty(), "{headers:?}");
        websocket
    };
    let upgrade = ("connection", "keep-alive, Upgrade");
    assert!(asks(&[upgrade, ("upgrade", "websocket")]));
    assert!(asks(&[upgrade, ("upgrade", " WebSocket ")]));
    assert!(!asks(&[("upgrade", "websocket")]));
    assert!(!asks(&[
        upgrade,
        ("upgrade", "websocket"),
        ("upgrade", "websocket")
    ]));
    for other in [
        "h2c",
        "TLS/1.2",
        "foo",
        "websocket, h2c",
        "websocket,",
        "",
        "websockets",
    ] {
        assert!(!asks(&[upgrade, ("upgrade", other)]), "{other}");
    }
    let h2c = ("connection", "Upgrade, HTTP2-Settings");
    assert!(!asks(&[h2c, ("upgrade", "h2c"), ("http2-settings", "AAM")]));
    assert!(!asks(&[("http2-settings", "AAM")]));
}

#[test]
fn what_only_proxies_say_goes_in_every_spelling_and_who_came_before_stays() {
    let mut headers = map(&[
        ("x-forwarded-client-cert", "By=x"),
        ("x_forwarded_client_cert", "By=x"),
        ("x-envoy-internal", "true"),
        ("x_envoy_internal", "true"),
        ("x-envoy_original-path", "/"),
        ("x-envoy-peer-metadata-id", "x"),
        ("x-envoy-decorator-operation", "x"),
        ("x_forwarded_for", "1.2.3.4"),
        ("transfer_encoding", "chunked"),
        ("content_length", "3"),
        ("keep_alive", "x"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x_user", "y"),
    ]);
    let scan = Scan::of(&headers);
    assert!(!strip_request(&mut headers, scan));
    let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["x-forwarded-for", "x-forwarded-proto", "x_user"]);
}

#[test]
fn the_walk_finds_every_header_that_is_not_the_users() {
    for (name, _) in mesh_api::header::reserved_names() {
        if matches!(name, "host" | "content-length" | "trailer") {
            // They stay, as the proxy checked or wrote them.
            continue;
        }
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        let mut response = headers.clone();
        let scan = Scan::of(&headers);
        strip_request(&mut headers, scan);
        assert!(headers.is_empty(), "{name}");
        if !matches!(name, "expect" | "http2-settings") {
            strip_response(&mut response, scan);
            assert!(response.is_empty(), "{name}");
        }
    }
    let mut trailers = map(&[("host", "x"), ("content-length", "1"), ("grpc-status", "0")]);
    strip_trailers(&mut trailers);
    assert_eq!(trailers.len(), 1);
}

#[test]
fn grpc_is_told_by_its_content_type() {
    for (text, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;x=y", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(text));
        assert_eq!(Scan::of(&headers).is_grpc(), grpc, "{text}");
    }
}
