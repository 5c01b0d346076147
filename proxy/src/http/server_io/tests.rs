//! The stream under hyper, with time that passes when nothing else happens.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::net::Way;
use crate::net::connections::{Connections, InFlight, Seat, TimeLimits};
use crate::net::slots::ConnectionSlots;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 100,
    fields: 10,
};

/// A connection's stream and the client's end of it, with a request under way.
struct Setting {
    near: ServerIo<DuplexStream>,
    far: DuplexStream,
    talk: Arc<Talk>,
    _flight: InFlight,
    _seat: Seat,
}

fn setting(version: Version) -> Setting {
    let (connections, slots) = (Connections::default(), ConnectionSlots::new(10, 10));
    let slot = connections.place(&slots, Way::Inbound).unwrap();
    let seat = connections.arrive(slot, "127.0.0.1".parse().unwrap());
    let limits = TimeLimits {
        head: Duration::from_secs(10),
        idle: Duration::from_hours(1),
        stall: Duration::from_hours(1),
    };
    seat.speaks_http(limits, true);
    let (near, far) = tokio::io::duplex(4096);
    let talk = Talk::new();
    talk.asked(version, Some(0));
    let watch = Arc::clone(seat.watch());
    Setting {
        near: ServerIo::new(near, Arc::clone(&talk), Arc::clone(&watch), LIMITS),
        far,
        talk,
        _flight: watch.begin(),
        _seat: seat,
    }
}

/// Flushes for so long, as hyper does whenever it is woken, or until the client counts as gone.
async fn flush_for(near: &mut ServerIo<DuplexStream>, time: Duration) -> io::Result<()> {
    let flushing = std::future::poll_fn(|context| match Pin::new(&mut *near).poll_flush(context) {
        Poll::Ready(Err(error)) => Poll::Ready(error),
        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
    });
    match tokio::time::timeout(time, flushing).await {
        Ok(error) => Err(error),
        Err(_elapsed) => Ok(()),
    }
}

async fn said(far: &mut DuplexStream) -> String {
    let mut bytes = [0; 4096];
    let reading = tokio::time::timeout(Duration::from_millis(1), far.read(&mut bytes));
    let count = reading.await.map_or(0, |read| read.unwrap());
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

fn link() -> HeaderMap {
    HeaderMap::from_iter([(http::header::LINK, HeaderValue::from_static("</a>"))])
}

#[tokio::test(start_paused = true)]
async fn interim_answers_come_before_the_answer_and_never_inside_it() {
    let test = async {
        let mut set = setting(Version::HTTP_11);
        // An earlier answer is not all out yet: there is no place for it.
        set.near.write_all(b"old").await.unwrap();
        set.talk.interim(StatusCode::EARLY_HINTS, &link());
        set.near.write_all(b"er").await.unwrap();
        assert_eq!(said(&mut set.far).await, "older");
        flush_for(&mut set.near, Duration::from_millis(1))
            .await
            .unwrap();
        set.talk.interim(StatusCode::EARLY_HINTS, &link());
        set.talk.answered(StatusCode::OK);
        set.near.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
        assert_eq!(said(&mut set.far).await, format!("{hints}HTTP/1.1 200 OK"));
        // Too late.
        set.talk.interim(StatusCode::EARLY_HINTS, &link());
        flush_for(&mut set.near, Duration::from_millis(1))
            .await
            .unwrap();
        assert_eq!(said(&mut set.far).await, "");
        // A client of HTTP/1.0 knows none.
        let mut old = setting(Version::HTTP_10);
        old.talk.interim(StatusCode::EARLY_HINTS, &link());
        flush_for(&mut old.near, Duration::from_millis(1))
            .await
            .unwrap();
        assert_eq!(said(&mut old.far).await, "");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_more_is_asked_a_few_times_and_not_at_once() {
    let test = async {
        let mut set = setting(Version::HTTP_11);
        set.far.shutdown().await.unwrap();
        flush_for(&mut set.near, Duration::from_millis(240))
            .await
            .unwrap();
        assert_eq!(said(&mut set.far).await, "");
        flush_for(&mut set.near, Duration::from_mins(10))
            .await
            .unwrap();
        let question = "HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(said(&mut set.far).await, question.repeat(5));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_be_asked_is_given_up_when_its_system_has_forgotten_it() {
    let test = async {
        for (version, answering) in [(Version::HTTP_10, false), (Version::HTTP_11, true)] {
            let mut set = setting(version);
            if answering {
                set.talk.answered(StatusCode::OK);
                set.near.write_all(b"HTTP/1.1 200 OK").await.unwrap();
            }
            set.far.shutdown().await.unwrap();
            let since = Instant::now();
            let gone = flush_for(&mut set.near, Duration::from_mins(10)).await;
            assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let took = since.elapsed();
            assert!(
                took >= Duration::from_mins(1) && took < Duration::from_mins(2),
                "{took:?}"
            );
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_read_ahead_comes_first_and_once() {
    let test = async {
        let mut set = setting(Version::HTTP_11);
        set.far.write_all(&[b'x'; 200]).await.unwrap();
        set.far.shutdown().await.unwrap();
        flush_for(&mut set.near, Duration::from_millis(1))
            .await
            .unwrap();
        let mut all = Vec::new();
        set.near.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [b'x'; 200]);
    };
    LocalSet::new().run_until(test).await;
}

#[test]
fn hypers_own_answers_are_told_apart() {
    let of = |answer: &str, read| Refusal::of_answer(answer.as_bytes(), read, LIMITS);
    let large = "HTTP/1.1 431 Request Header Fields Too Large\r\n";
    assert_eq!(of(large, 101), Some(Refusal::HeadTooLarge));
    assert_eq!(of(large, 100), Some(Refusal::TooManyFields));
    assert_eq!(
        of("HTTP/1.0 400 Bad Request\r\n", 5),
        Some(Refusal::Malformed)
    );
    assert_eq!(
        of("HTTP/1.1 414 URI Too Long\r\n", 5),
        Some(Refusal::TargetTooLong)
    );
    for other in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 404 Not Found\r\n",
        "HTTP",
        "5\r\nhello",
    ] {
        assert_eq!(of(other, 5), None, "{other}");
    }
    let told = String::from_utf8(Refusal::TooManyFields.answer(LIMITS)).unwrap();
    assert!(
        told.ends_with("\r\n\r\nthe request has more than 10 header fields"),
        "{told}"
    );
}
