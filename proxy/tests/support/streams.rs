//! Requests over HTTP/2 that could become something else in HTTP/1.1, and what becomes of each; `§`
//! stands for a request's own path.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]

/// A request over HTTP/2: fields as they stand in the header block, content, trailers.
pub struct Stream {
    pub class: &'static str,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub content: Option<&'static [u8]>,
    pub trailers: Vec<(&'static [u8], &'static [u8])>,
    pub sees: usize,
    pub body: Option<&'static str>,
}

/// Every vector over HTTP/2.
pub fn http2() -> Vec<Stream> {
    let mut all = Vec::new();
    refused_fields(&mut all);
    targets(&mut all);
    lengths(&mut all);
    kept_fields(&mut all);
    trailers(&mut all);
    all
}

fn pseudo(method: &str, path: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    vec![
        (b":method".to_vec(), method.as_bytes().to_vec()),
        (b":scheme".to_vec(), b"http".to_vec()),
        (b":authority".to_vec(), b"shop.test".to_vec()),
        (b":path".to_vec(), path.as_bytes().to_vec()),
    ]
}

fn add(
    all: &mut Vec<Stream>,
    class: &'static str,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    content: Option<&'static [u8]>,
    seen: Option<&'static str>,
) {
    all.push(Stream {
        class,
        fields,
        content,
        trailers: Vec::new(),
        sees: usize::from(seen.is_some()),
        body: seen,
    });
}

fn refused_fields(all: &mut Vec<Stream>) {
    for (name, value) in [
        ("x", "a\r\nx: y"),
        ("x", "a\nx: y"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x\r\ny", "z"),
        ("x: y\r\nz", "a"),
        ("x ", "a"),
        ("x:", "a"),
        ("X", "a"),
        ("", "a"),
        ("x\0", "a"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("keep-alive", "x"),
        ("proxy-connection", "x"),
        ("te", "gzip"),
        (":path", "/smuggled"),
        (":method", "GET"),
        (":status", "200"),
        (":x", "y"),
        ("host", "evil.test"),
        ("content-length", "5\r\nx: y"),
        ("content-length", "+0"),
        ("content-length", "1"),
        ("content-length", "0,0"),
        ("é", "a"),
    ] {
        let mut fields = pseudo("GET", "§");
        fields.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        add(all, "HTTP/2 fields", fields, None, None);
    }
}

fn targets(all: &mut Vec<Stream>) {
    for path in [
        "§ /smuggled",
        "§ HTTP/1.1\r\nhost: x\r\n\r\nGET /smuggled",
        "§\r\nx: y",
        "§\0",
        "§%00",
        "§%zz",
        "",
        "x",
        "§/..%2fsmuggled",
        "§\t",
        "*",
    ] {
        add(all, "HTTP/2 targets", pseudo("GET", path), None, None);
    }
    for method in [
        "GET / HTTP/1.1\r\nx:",
        "G T",
        "",
        "GET\n",
        "CONNECT",
        "TRACE",
    ] {
        add(all, "HTTP/2 targets", pseudo(method, "§"), None, None);
    }
}

fn lengths(all: &mut Vec<Stream>) {
    for (length, content, sees) in [
        ("5", &b"hello"[..], 1),
        ("4", b"hello", 0),
        ("6", b"hello", 0),
        ("0", b"hello", 0),
        ("05", b"hello", 1),
        ("-5", b"hello", 0),
        ("5, 5", b"hello", 0),
    ] {
        let mut fields = pseudo("POST", "§");
        fields.push((b"content-length".to_vec(), length.as_bytes().to_vec()));
        add(
            all,
            "HTTP/2 lengths",
            fields,
            Some(content),
            (sees == 1).then_some("hello"),
        );
    }
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        add(
            all,
            "HTTP/2 lengths",
            pseudo(method, "§"),
            Some(b"hello"),
            Some("hello"),
        );
        add(all, "HTTP/2 lengths", pseudo(method, "§"), None, Some(""));
    }
}

fn kept_fields(all: &mut Vec<Stream>) {
    for (name, value) in [
        ("transfer_encoding", "chunked"),
        ("content_length", "50"),
        ("x_forwarded_for", "1"),
        ("x-envoy-internal", "true"),
        ("x_envoy-x", "a"),
        ("x-forwarded-client-cert", "a"),
        ("te", "trailers"),
        ("x", "a\tb"),
        ("host", "shop.test"),
        ("expect", "100-continue"),
    ] {
        let mut fields = pseudo("POST", "§");
        fields.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        add(all, "HTTP/2 fields", fields, Some(b"hello"), Some("hello"));
    }
}

fn trailers(all: &mut Vec<Stream>) {
    for trailers in [
        vec![(&b"x-sum"[..], &b"1"[..])],
        vec![
            (b"content-length", b"9"),
            (b"host", b"x"),
            (b"x_envoy_a", b"b"),
            (b"te", b"trailers"),
        ],
    ] {
        let mut fields = pseudo("POST", "§");
        let names = b"x-sum, content-length, host, x_envoy_a, te".to_vec();
        fields.push((b"trailer".to_vec(), names));
        fields.push((b"te".to_vec(), b"trailers".to_vec()));
        all.push(Stream {
            class: "HTTP/2 trailers",
            fields,
            content: Some(b"hello"),
            trailers,
            sees: 1,
            body: Some("hello"),
        });
    }
}
