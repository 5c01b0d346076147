//! Requests whose heads two readers could read in different ways, and what becomes of each.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]

use crate::vectors::{CHUNKED_THEN, NEXT, Vector, class, get, post};

/// Vectors about request lines, names, values, hosts and what concerns one hop.
pub fn of_heads() -> Vec<Vector> {
    let mut all = Vec::new();
    names(&mut all);
    targets(&mut all);
    hosts(&mut all);
    upgrades(&mut all);
    one_hop(&mut all);
    all
}

fn names(all: &mut Vec<Vector>) {
    for line in [
        "x y: z",
        "x\0y: z",
        ": z",
        "x",
        "é: z",
        "x\u{7f}: z",
        "x\u{b}: z",
        "x : z",
        "x\t: z",
        "x: y\0z",
        "x: y\u{8}z",
        "x: y\rz",
        "x: y\u{7f}",
        "(x): y",
        "x,y: z",
        "x@y: z",
        "x/y: z",
        "\"x\": y",
        "x;: y",
        "x=y",
    ] {
        class(all, "names and values", [(get(line), 0, None)]);
    }
    for line in [
        "x: \u{e9}",
        "x: ",
        "x:",
        "x:\ty\t",
        "x!#$%&'*+-.^_`|~: y",
        "x: y\nconnection: close",
    ] {
        class(
            all,
            "names and values",
            [(get(&format!("{line}\r\nconnection: close")), 1, Some(""))],
        );
    }
    for line in [
        "x_forwarded_for: 1.1.1.1",
        "X_Forwarded_Proto: https",
        "x-forwarded_host: x",
        "x_envoy_internal: true",
        "x-envoy-internal: true",
        "X-Envoy-External-Address: 1.1.1.1",
        "x-envoy-original-path: /",
        "x_envoy-peer-metadata: a",
        "x-envoy-decorator-operation: a",
        "X-Forwarded-Client-Cert: By=a",
        "x_forwarded_client_cert: By=a",
        "content_length: 50",
        "Keep_Alive: x",
        "proxy_connection: x",
        "http2_settings: AAA",
        "Http2-Settings: AAA",
    ] {
        class(
            all,
            "look-alikes",
            [(get(&format!("{line}\r\nconnection: close")), 1, Some(""))],
        );
    }
}

fn targets(all: &mut Vec<Vector>) {
    let line =
        |text: &str| format!("{text}\r\nhost: shop.test\r\nconnection: close\r\n\r\n").into_bytes();
    for start in [
        "GET § /smuggled HTTP/1.1",
        "GET  § HTTP/1.1",
        "GET\t§ HTTP/1.1",
        "GET §\tHTTP/1.1",
        "GET § HTTP/1.1 ",
        "GET §  HTTP/1.1",
        " GET § HTTP/1.1",
        "GET §",
        "GET § http/1.1",
        "GET § HTTP/1.2",
        "GET § HTTP/2.0",
        "GET § HTTP/1.0",
        "GET § HTTP/0.9",
        "GET § HTTP/11",
        "GET § HTTP/1.1\u{b}",
        "GET §\0 HTTP/1.1",
        "GET §\u{1} HTTP/1.1",
        "GET §\u{7f} HTTP/1.1",
        "G(T § HTTP/1.1",
        "\0GET § HTTP/1.1",
        "GET §%00 HTTP/1.1",
        "GET §%zz HTTP/1.1",
        "GET §% HTTP/1.1",
        "GET §/%%32%65%%32%65/smuggled HTTP/1.1",
        "GET §/..%2fsmuggled HTTP/1.1",
        "GET §/%2e%2e%5csmuggled HTTP/1.1",
        "GET §/%252e%252e/smuggled HTTP/1.1",
        "GET §/..;/smuggled HTTP/1.1",
        "GET §?x=%0 HTTP/1.1",
        "GET §?%00 HTTP/1.1",
        "GET http://u@shop.test§ HTTP/1.1",
        "GET http://other.test§ HTTP/1.1",
        "GET http://shop.test:x§ HTTP/1.1",
        "GET shop.test:80 HTTP/1.1",
        "GET * HTTP/1.1",
        "GET shop.test§ HTTP/1.1",
        "CONNECT shop.test:80 HTTP/1.1",
        "TRACE § HTTP/1.1",
        "GET ../§ HTTP/1.1",
        "GET \\§ HTTP/1.1",
    ] {
        class(all, "request lines", [(line(start), 0, None)]);
    }
    for start in [
        "GET § HTTP/1.1",
        "\r\n\r\nGET § HTTP/1.1",
        "GET http://shop.test§ HTTP/1.1",
        "GET http://SHOP.test:80§ HTTP/1.1",
        "GET /x/..§ HTTP/1.1",
        "GET /x\\..§ HTTP/1.1",
        "GET §/a%2fb HTTP/1.1",
        "GET §?/../x HTTP/1.1",
        "OPTIONS § HTTP/1.1",
        "g3t! § HTTP/1.1",
        "GET //x§ HTTP/1.1",
        "GET §;a=b HTTP/1.1",
    ] {
        class(all, "request lines", [(line(start), 1, Some(""))]);
    }
}

fn hosts(all: &mut Vec<Vector>) {
    let with =
        |lines: &str| format!("GET § HTTP/1.1\r\n{lines}connection: close\r\n\r\n").into_bytes();
    for lines in [
        "",
        "host: shop.test\r\nhost: shop.test\r\n",
        "host: shop.test\r\nHost: evil.test\r\n",
        "host: u@shop.test\r\n",
        "host: shop.test:x\r\n",
        "host: shop.test evil.test\r\n",
        "host: \r\n",
        "host: shop.test/..\r\n",
        "host: shop.test#\r\n",
        "host: [::1\r\n",
        "host: shop.test?\r\n",
        "host: shop.test\\evil\r\n",
        "host: \"shop.test\"\r\n",
        "host: shop.test:99999\r\n",
        "host : shop.test\r\n",
        "host_: shop.test\r\n",
        "host: shop.test\u{e9}\r\n",
        "host:\r\n shop.test\r\n",
        "host: shop.test\0\r\n",
    ] {
        class(all, "hosts", [(with(lines), 0, None)]);
    }
    for lines in [
        "host: shop.test\r\n",
        "HOST:shop.test:80\r\n",
        "host: Shop.Test.\r\n",
    ] {
        class(all, "hosts", [(with(lines), 1, Some(""))]);
    }
}

fn upgrades(all: &mut Vec<Vector>) {
    let h2c =
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAA";
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let early = |head: &str, bytes: &str| {
        let mut all = get(head);
        all.extend_from_slice(bytes.as_bytes());
        all
    };
    class(
        all,
        "upgrades",
        [
            (early(h2c, preface), 1, Some("")),
            (
                early(
                    "connection: upgrade\r\nupgrade: TLS/1.2",
                    "\u{16}\u{3}\u{1}",
                ),
                1,
                Some(""),
            ),
            (
                early("connection: upgrade\r\nupgrade: foo", "\0\0"),
                1,
                Some(""),
            ),
            (
                early("connection: upgrade\r\nupgrade: websocket, h2c", preface),
                1,
                Some(""),
            ),
            (
                early(
                    "connection: upgrade\r\nupgrade: h2c\r\nupgrade: websocket",
                    preface,
                ),
                1,
                Some(""),
            ),
            (
                early("connection: upgrade\r\nupgrade: websocket", ""),
                1,
                Some(""),
            ),
            (early("upgrade: websocket", ""), 1, Some("")),
            (
                post(
                    "connection: upgrade, close\r\nupgrade: websocket\r\ncontent-length: 5",
                    "hello",
                ),
                1,
                Some("hello"),
            ),
            (
                post(
                    "connection: upgrade, close\r\nupgrade: h2c\r\ntransfer-encoding: chunked",
                    "5\r\nhello\r\n0\r\n\r\n",
                ),
                1,
                Some("hello"),
            ),
            (
                early(
                    "connection: upgrade, content-length\r\nupgrade: websocket\r\ncontent-length: 5",
                    "hello",
                ),
                1,
                Some("hello"),
            ),
        ],
    );
}

fn one_hop(all: &mut Vec<Vector>) {
    let close = "connection: close";
    class(
        all,
        "one hop",
        [
            (
                post(
                    "connection: close, content-length\r\ncontent-length: 5",
                    &format!("hello{NEXT}"),
                ),
                1,
                Some("hello"),
            ),
            (
                post(
                    "connection: close, transfer-encoding\r\ntransfer-encoding: chunked",
                    CHUNKED_THEN,
                ),
                1,
                Some("hello"),
            ),
            (get("connection: close, host"), 1, Some("")),
            (
                get("connection: close, x-forwarded-for, x-forwarded-proto"),
                1,
                Some(""),
            ),
            (
                get(&format!(
                    "{close}\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive"
                )),
                1,
                Some(""),
            ),
            (
                get(&format!("{close}\r\nte: trailers, chunked")),
                1,
                Some(""),
            ),
            (get("connection: close, te\r\nte: gzip"), 1, Some("")),
            (
                get("connection: close\r\nconnection: keep-alive, x-gone\r\nx-gone: 1"),
                1,
                Some(""),
            ),
            (
                post(
                    "connection: close\r\nexpect: 100-continue\r\ncontent-length: 5",
                    "hello",
                ),
                1,
                Some("hello"),
            ),
            (
                post(
                    "connection: close\r\nexpect: 100-continue, smuggle\r\ncontent-length: 5",
                    "hello",
                ),
                1,
                Some("hello"),
            ),
            (get("connection: close\r\nexpect: smuggle"), 1, Some("")),
        ],
    );
}
