//! The table: what goes in, what comes out, for all four pairs of versions in both directions.

use http::{Method, Request, Response, StatusCode};
use mesh_api::route::NormalForm;

use super::*;
use crate::bootstrap::Http10;
use crate::http::intake::{Terms, admit};

use Content::{None, Sized, Unsized};
use HttpVersion::{Http1, Http2};

const PAIRS: [(HttpVersion, HttpVersion); 4] = [
    (Http1, Http1),
    (Http1, Http2),
    (Http2, Http1),
    (Http2, Http2),
];

/// A request as it arrives: request line, then fields by `|`, and what it brings.
type Sent = (&'static str, &'static str, &'static str, Content);

/// The request as it goes on, head as text: method, target, fields in order of their names.
fn forwarded((from, to): (HttpVersion, HttpVersion), sent: &Sent) -> String {
    let (method, target, fields, content) = sent;
    let mut request = Request::builder().method(*method);
    request = match from {
        Http1 => request.uri(*target).header("host", "shop.test"),
        Http2 => {
            let uri = http::Uri::builder().scheme("http").authority("shop.test");
            let uri = uri.path_and_query(*target).build().unwrap();
            request.version(Version::HTTP_2).uri(uri)
        }
    };
    for field in fields.split('|').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let scan = Scan::of(&parts.headers);
    let terms = Terms {
        http10: Http10::Refused,
        paths: NormalForm::Base,
    };
    let (_, websocket) = admit(&mut parts, scan, terms).unwrap();
    let onward = Onward {
        to,
        content: *content,
        websocket: websocket && to == Http1,
    };
    super::request(&mut parts, scan, onward).unwrap();
    assert_eq!(parts.version == Version::HTTP_2, to == Http2);
    head(&format!("{} {}", parts.method, parts.uri), &parts.headers)
}

fn head(line: &str, headers: &HeaderMap) -> String {
    let mut fields: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("|{name}: {}", value.to_str().unwrap()))
        .collect();
    fields.sort();
    line.to_owned() + &fields.concat()
}

/// What arrives, and what goes on over HTTP/1.1 and over HTTP/2: the same from both versions.
const FROM_EITHER: &[(Sent, &str, &str)] = &[
    (
        ("GET", "/a?b", "", None),
        "GET /a?b|host: shop.test",
        "GET http://shop.test/a?b",
    ),
    // A method without content as a rule says nothing about it; others say that there is none.
    (
        ("DELETE", "/", "", None),
        "DELETE /|host: shop.test",
        "DELETE http://shop.test/",
    ),
    (
        ("POST", "/", "", None),
        "POST /|content-length: 0|host: shop.test",
        "POST http://shop.test/|content-length: 0",
    ),
    (
        ("PUT", "/", "content-length: 0", None),
        "PUT /|content-length: 0|host: shop.test",
        "PUT http://shop.test/|content-length: 0",
    ),
    (
        ("PATCH", "/", "content-length: 00", None),
        "PATCH /|content-length: 0|host: shop.test",
        "PATCH http://shop.test/|content-length: 0",
    ),
    // Content keeps its framing whatever the method is.
    (
        ("POST", "/", "content-length: 5", Sized),
        "POST /|content-length: 5|host: shop.test",
        "POST http://shop.test/|content-length: 5",
    ),
    (
        ("GET", "/", "content-length: 5", Sized),
        "GET /|content-length: 5|host: shop.test",
        "GET http://shop.test/|content-length: 5",
    ),
    (
        ("GET", "/", "", Unsized),
        "GET /|host: shop.test|transfer-encoding: chunked",
        "GET http://shop.test/",
    ),
    (
        ("POST", "/", "", Unsized),
        "POST /|host: shop.test|transfer-encoding: chunked",
        "POST http://shop.test/",
    ),
    (
        ("OPTIONS", "*", "", None),
        "OPTIONS *|host: shop.test",
        "OPTIONS http://shop.test*",
    ),
    (
        ("GET", "/", "cookie: a=1|cookie: b=2; c=3|cookie: d", None),
        "GET /|cookie: a=1; b=2; c=3; d|host: shop.test",
        "GET http://shop.test/|cookie: a=1; b=2; c=3; d",
    ),
    // What the client takes, the proxy takes; HTTP/1.1 names that among what concerns one hop.
    (
        ("GET", "/", "te: trailers", None),
        "GET /|connection: te|host: shop.test|te: trailers",
        "GET http://shop.test/|te: trailers",
    ),
    (
        ("GET", "/", "te: gzip;q=1, Trailers", None),
        "GET /|connection: te|host: shop.test|te: trailers",
        "GET http://shop.test/|te: trailers",
    ),
    (
        ("GET", "/", "te: gzip", None),
        "GET /|host: shop.test",
        "GET http://shop.test/",
    ),
    // Trailers are announced where they will come: never the unfit, never beside a length.
    (
        (
            "POST",
            "/",
            "trailer: X-Sum, content-length|trailer: host",
            Unsized,
        ),
        "POST /|host: shop.test|trailer: x-sum|transfer-encoding: chunked",
        "POST http://shop.test/|trailer: x-sum",
    ),
    (
        ("POST", "/", "trailer: x-sum|content-length: 5", Sized),
        "POST /|content-length: 5|host: shop.test",
        "POST http://shop.test/|content-length: 5|trailer: x-sum",
    ),
    (
        ("POST", "/", "trailer: host", Unsized),
        "POST /|host: shop.test|transfer-encoding: chunked",
        "POST http://shop.test/",
    ),
    (
        ("POST", "/", "expect: 100-continue|content-length: 5", Sized),
        "POST /|content-length: 5|host: shop.test",
        "POST http://shop.test/|content-length: 5",
    ),
];

/// What only HTTP/1.1 can say.
const FROM_HTTP1: &[(Sent, &str, &str)] = &[
    (
        ("GET", "/", "connection: upgrade|upgrade: websocket", None),
        "GET /|connection: upgrade|host: shop.test|upgrade: websocket",
        "GET http://shop.test/",
    ),
    (
        (
            "GET",
            "/",
            "connection: upgrade, te|upgrade: websocket|te: trailers",
            None,
        ),
        "GET /|connection: upgrade|host: shop.test|upgrade: websocket",
        "GET http://shop.test/|te: trailers",
    ),
    (
        (
            "GET",
            "/",
            "connection: upgrade, http2-settings|upgrade: h2c|http2-settings: AAA",
            None,
        ),
        "GET /|host: shop.test",
        "GET http://shop.test/",
    ),
    (
        (
            "POST",
            "/",
            "connection: x-once, close|x-once: 1|keep-alive: 5|transfer-encoding: chunked",
            Unsized,
        ),
        "POST /|host: shop.test|transfer-encoding: chunked",
        "POST http://shop.test/",
    ),
];

#[test]
fn requests_in_all_four_pairs() {
    for (sent, http1, http2) in FROM_EITHER {
        for (from, to) in PAIRS {
            let expected = if to == Http1 { http1 } else { http2 };
            let got = forwarded((from, to), sent);
            assert_eq!(got, *expected, "{from:?} to {to:?}: {sent:?}");
        }
    }
    for (sent, http1, http2) in FROM_HTTP1 {
        assert_eq!(forwarded((Http1, Http1), sent), *http1, "{sent:?}");
        assert_eq!(forwarded((Http1, Http2), sent), *http2, "{sent:?}");
    }
}

/// A response as it arrives: status, then fields by `|`.
fn answered(
    asker: Asker,
    (status, fields): (u16, &str),
) -> Result<(Settled, String), UpstreamFault> {
    let mut response = Response::builder().status(status);
    for field in fields.split('|').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(": ").unwrap();
        response = response.header(name, value);
    }
    let (mut parts, ()) = response.body(()).unwrap().into_parts();
    let scan = Scan::of(&parts.headers);
    let settled = super::response(&mut parts, scan, asker)?;
    Ok((settled, head(parts.status.as_str(), &parts.headers)))
}

fn asker(version: HttpVersion, trailers: bool) -> Asker {
    Asker {
        version,
        head: false,
        trailers,
    }
}

#[test]
fn responses_in_all_four_pairs() {
    // What an upstream of either version says; what an HTTP/1.1 client gets that takes no trailers,
    // one that takes them, and an HTTP/2 client.
    let table = [
        ((200, "content-length: 5"), ["200|content-length: 5"; 3]),
        ((200, "content-length: 05"), ["200|content-length: 5"; 3]),
        ((200, ""), ["200"; 3]),
        ((204, "content-length: 5"), ["204"; 3]),
        ((304, "content-length: 5"), ["304|content-length: 5"; 3]),
        (
            (200, "set-cookie: a=1|set-cookie: b=2"),
            ["200|set-cookie: a=1|set-cookie: b=2"; 3],
        ),
        (
            (200, "trailer: X-Sum, content-length"),
            ["200", "200|trailer: x-sum", "200|trailer: x-sum"],
        ),
        (
            (200, "trailer: x-sum|content-length: 5"),
            [
                "200|content-length: 5",
                "200|content-length: 5",
                "200|content-length: 5|trailer: x-sum",
            ],
        ),
        (
            (204, "trailer: x-sum"),
            ["204", "204", "204|trailer: x-sum"],
        ),
        ((200, "trailer: host"), ["200"; 3]),
        ((200, "content_length: 5|te: trailers"), ["200"; 3]),
    ];
    for (sent, expected) in table {
        let askers = [asker(Http1, false), asker(Http1, true), asker(Http2, false)];
        for (asker, expected) in askers.into_iter().zip(expected) {
            let (settled, got) = answered(asker, sent).unwrap();
            assert_eq!(got, expected, "{sent:?} for {asker:?}");
            assert_eq!(settled.reuse, Reuse::Yes);
            assert!(!settled.websocket);
        }
    }
    // Only an HTTP/1.1 upstream says these.
    for version in [Http1, Http2] {
        let told = |fields| answered(asker(version, false), (200, fields));
        let both = told("content-length: 3|transfer-encoding: chunked").unwrap();
        assert_eq!((both.0.reuse, both.1.as_str()), (Reuse::No, "200"));
        let hop = "connection: x-once, close|x-once: 1|keep-alive: 5|transfer-encoding: chunked";
        assert_eq!(told(hop).unwrap().1, "200");
        let switch = answered(
            asker(version, false),
            (101, "connection: upgrade|upgrade: websocket"),
        );
        assert!(switch.unwrap().0.websocket);
        for wrong in [
            "content-length: 5|content-length: 6",
            "content-length: 5, 6",
            "content-length: +5",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: gzip",
        ] {
            assert_eq!(told(wrong), Err(UpstreamFault::Protocol), "{wrong}");
        }
    }
}

#[test]
fn a_head_alone_announces_no_trailers() {
    let asker = Asker {
        head: true,
        ..asker(Http1, true)
    };
    let (_, got) = answered(asker, (200, "trailer: x-sum")).unwrap();
    assert_eq!(got, "200");
}

#[test]
fn an_edit_that_adds_a_cookie_makes_no_second_line() {
    let (mut parts, ()) = Request::builder()
        .method(Method::GET)
        .uri("/")
        .header("cookie", "a=1")
        .body(())
        .unwrap()
        .into_parts();
    let scan = Scan::of(&parts.headers);
    let added = HeaderValue::from_static("b=2");
    parts.headers.append(header::COOKIE, added);
    let onward = Onward {
        to: Http1,
        content: None,
        websocket: false,
    };
    request(&mut parts, scan, onward).unwrap();
    assert_eq!(head("", &parts.headers), "|cookie: a=1; b=2");
}

#[test]
fn interim_answers_go_on_without_what_concerns_one_hop() {
    let relayed = |status: u16, fields: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        interim::head(status, &headers).map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let hints = [
        ("link", "</a>; rel=preload"),
        ("link", "</b>; rel=preload"),
        ("connection", "x-once, close"),
        ("x-once", "1"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
    ];
    assert_eq!(
        relayed(103, &hints).unwrap(),
        "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>; rel=preload\r\n\r\n"
    );
    assert_eq!(
        relayed(102, &[]).unwrap(),
        "HTTP/1.1 102 Processing\r\n\r\n"
    );
    assert_eq!(relayed(199, &[]).unwrap(), "HTTP/1.1 199 \r\n\r\n");
    for ends_here in [100, 101, 200, 404] {
        assert!(relayed(ends_here, &[]).is_none(), "{ends_here}");
    }
}
