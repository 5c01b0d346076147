//! The table of first bytes, and sockets that are slow, silent or closed.

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::net::client_hello::tests::client_hello;

const HTTP1: Spoken = Spoken::Http(HttpVersion::Http1);
const HTTP2: Spoken = Spoken::Http(HttpVersion::Http2);

#[test]
fn first_bytes_tell_the_protocol() {
    let hello = client_hello(Some("a.example"), 16_000);
    let table: &[(&[u8], Spoken)] = &[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", HTTP1),
        (b"GET / HTTP/1.0", HTTP1),
        (b"POST /a?b=c HTTP/1.1\r\n", HTTP1),
        (b"M-SEARCH * HTTP/1.1\r\n", HTTP1),
        (b"OPTIONS * HTTP/1.1\r\n", HTTP1),
        (b"GET http://a/b HTTP/1.1\r\n", HTTP1),
        (b"CONNECT a:443 HTTP/1.1\r\n", HTTP1),
        (b"GET /caf\xc3\xa9 HTTP/1.1\r\n", HTTP1),
        (PREFACE, HTTP2),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04", HTTP2),
        (&hello, Spoken::Tls(Some("a.example".into()))),
        (b"PRI * HTTP/2.0\r\n\r\nXX", Spoken::Other),
        (b"GET key\r\n", Spoken::Other),
        (b"GET / HTTP/2.0\r\n", Spoken::Other),
        (b"GET  / HTTP/1.1\r\n", Spoken::Other),
        (b"get / HTTP/1.1\r\n", Spoken::Other),
        (b"PING\r\n", Spoken::Other),
        (b"*1\r\n$4\r\nPING\r\n", Spoken::Other),
        (b"SSH-2.0-OpenSSH\r\n", Spoken::Other),
        (b"\r\nGET / HTTP/1.1\r\n", Spoken::Other),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", Spoken::Other),
        (b"\x16\x02\0", Spoken::Other),
        (b"VERYLONGMETHODTHATISNOTAMETHOD", Spoken::Other),
    ];
    for (bytes, spoken) in table {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(classify(bytes), Verdict::Is(spoken.clone()), "{shown:?}");
    }
}

#[test]
fn too_few_bytes_are_undecided() {
    let table: &[(&[u8], Spoken)] = &[
        (b"", Spoken::Other),
        (b"G", Spoken::Other),
        (b"PRI * HT", Spoken::Other),
        (b"GET /long", HTTP1),
        (b"GET / HTTP/1.", HTTP1),
        (b"\x16\x03", Spoken::Tls(None)),
    ];
    for (bytes, spoken) in table {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(
            classify(bytes),
            Verdict::MaybeThen(spoken.clone()),
            "{shown:?}"
        );
    }
}

#[test]
fn declared_http_is_told_apart_by_the_preface_alone() {
    assert_eq!(classify_http(b""), None);
    assert_eq!(classify_http(b"PRI"), None);
    assert_eq!(classify_http(PREFACE), Some(HttpVersion::Http2));
    assert_eq!(classify_http(b"PUT"), Some(HttpVersion::Http1));
    assert_eq!(classify_http(b"\x16\x03\x01"), Some(HttpVersion::Http1));
}

proptest! {
    /// More bytes never turn one decided protocol into another.
    #[test]
    fn verdicts_are_final(bytes in proptest::collection::vec(any::<u8>(), 0..64), cut: u8) {
        let whole = classify(&bytes);
        let cut = usize::from(cut) % (bytes.len() + 1);
        if let Verdict::Is(early) = classify(&bytes[..cut]) {
            prop_assert_eq!(whole, Verdict::Is(early));
        }
    }

    #[test]
    fn verdicts_on_request_lines_are_final(
        method in "[A-Z]{1,8}", target in "/[a-z0-9/?=]{0,20}", cut: u8,
    ) {
        let line = format!("{method} {target} HTTP/1.1\r\n");
        let cut = usize::from(cut) % (line.len() + 1);
        prop_assert_eq!(classify(line.as_bytes()), Verdict::Is(HTTP1));
        if let Verdict::Is(early) = classify(&line.as_bytes()[..cut]) {
            prop_assert_eq!(early, HTTP1);
        }
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (client, listener.accept().await.unwrap().0)
}

async fn patiently(server: &TcpStream) -> Start<Spoken> {
    let drain = DrainWatch::never();
    let patience = Patience {
        first_byte: None,
        verdict: Duration::from_secs(10),
        drain: &drain,
    };
    read_start(server, patience).await.unwrap()
}

#[tokio::test]
async fn bytes_that_trickle_in_are_put_together() {
    let (mut client, server) = pair().await;
    let sender = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\n" {
            client.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        client
    });
    let start = patiently(&server).await;
    assert_eq!(start.spoken, Some(HTTP1));
    assert!(start.bytes.starts_with(b"GET / HTTP/1.1"));
    sender.await.unwrap();
}

#[tokio::test]
async fn a_client_that_closes_says_nothing_or_what_it_said() {
    let (client, server) = pair().await;
    drop(client);
    let start = patiently(&server).await;
    assert_eq!((start.spoken, start.timed_out), (None, false));

    let (mut client, server) = pair().await;
    client.write_all(b"AB").await.unwrap();
    client.shutdown().await.unwrap();
    let start = patiently(&server).await;
    assert_eq!(start.spoken, Some(Spoken::Other));
    assert_eq!(&start.bytes[..], b"AB");
}

#[tokio::test]
async fn patience_ends() {
    let (mut client, server) = pair().await;
    let short = Duration::from_millis(30);
    let drain = DrainWatch::never();
    let impatient = Patience {
        first_byte: Some(short),
        verdict: short,
        drain: &drain,
    };
    let silent = read_start(&server, impatient).await.unwrap();
    assert_eq!(
        (silent.spoken, silent.timed_out),
        (Some(Spoken::Other), true)
    );

    client.write_all(b"PRI").await.unwrap();
    let slow = read_http_start(&server, impatient).await.unwrap();
    assert_eq!(
        (slow.spoken, slow.timed_out),
        (Some(HttpVersion::Http1), true)
    );
    assert_eq!(&slow.bytes[..], b"PRI");
}

#[tokio::test]
async fn a_greeting_without_end_is_cut() {
    let (mut client, server) = pair().await;
    let sender = tokio::spawn(async move {
        let endless = [b'a'; 4096];
        let mut sent = client.write_all(b"GET /").await;
        while sent.is_ok() {
            sent = client.write_all(&endless).await;
        }
    });
    let start = patiently(&server).await;
    assert_eq!(start.spoken, Some(HTTP1));
    assert!(start.bytes.len() >= MOST_BYTES && start.bytes.len() <= 2 * MOST_BYTES);
    drop(server);
    sender.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_the_wait_for_silent_connections() {
    let (_client, server) = pair().await;
    let drain = mesh_runtime::drain::Drain::new();
    let watch = drain.watch();
    drain.trigger();
    let begun = Instant::now();
    let patience = Patience {
        first_byte: None,
        verdict: DRAIN_GRACE,
        drain: &watch,
    };
    let start = read_start(&server, patience).await.unwrap();
    assert!(start.timed_out && start.spoken.is_none());
    assert_eq!(begun.elapsed(), DRAIN_GRACE);
}
