//! Two readers of one stream of bytes: whatever is sent, a strict backend behind a gateway and a
//! sidecar sees exactly the requests that were decided on, and a client exactly their responses.

#[cfg(test)]
#[path = "support/chain.rs"]
mod chain;
#[cfg(test)]
#[path = "support/heads.rs"]
mod heads;
#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/responses.rs"]
mod responses;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;
#[cfg(test)]
#[path = "support/streams.rs"]
mod streams;
#[cfg(test)]
#[path = "support/strict.rs"]
mod strict;
#[cfg(test)]
#[path = "support/vectors.rs"]
mod vectors;

use chain::{AT_ONCE, Answer, Chain, addressed, ask, h2_bytes, hostile, judge, ok, talk};
use futures_util::StreamExt as _;
use mesh_api::cluster::UpstreamProtocol;
use responses::Outcome::{Bad, Broken, Whole};
use responses::RESPONSES;
use vectors::Vector;

/// Prints counts, for who runs the test to read.
fn tell(between: UpstreamProtocol, counts: &str) {
    use std::io::Write as _;
    let told = writeln!(
        std::io::stdout(),
        "{between:?} between the proxies\n{counts}"
    );
    assert!(told.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_backend_sees_exactly_what_was_decided_on() {
    let mut all = vectors::of_framing();
    all.extend(heads::of_heads());
    assert!(all.len() >= 150, "{}", all.len());
    for between in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let chain = Chain::new(between, ok).await;
        let sent = all.iter().enumerate().map(|(number, vector)| {
            let bytes = addressed(&vector.bytes, number);
            let chain = &chain;
            async move { talk(chain, &bytes, (number, vector.sees)).await }
        });
        let mut answers = futures_util::stream::iter(sent).buffered(AT_ONCE);
        let mut heads = Vec::new();
        while let Some(answer) = answers.next().await {
            heads.push(
                String::from_utf8_lossy(&answer)
                    .chars()
                    .take(40)
                    .collect::<String>(),
            );
        }
        let decided = all.iter().zip(&heads).map(|(vector, head)| {
            let Vector {
                class,
                sees,
                body,
                bytes,
            } = vector;
            let sent = format!("{:?} got {head:?}", String::from_utf8_lossy(bytes));
            (*class, *sees, *body, sent)
        });
        let (wrong, counts) = judge(&chain, decided);
        tell(between, &counts);
        assert!(
            wrong.is_empty(),
            "{between:?}: {}\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_smuggles_nothing_into_http1() {
    let all = streams::http2();
    for between in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let chain = Chain::new(between, ok).await;
        let sent = all.iter().enumerate().map(|(number, stream)| {
            let bytes = h2_bytes(stream, number);
            let chain = &chain;
            async move { talk(chain, &bytes, (number, stream.sees)).await }
        });
        let answers = futures_util::stream::iter(sent).buffered(AT_ONCE);
        assert_eq!(answers.count().await, all.len());
        let decided = all.iter().map(|stream| {
            let text: Vec<String> = stream
                .fields
                .iter()
                .map(|(name, value)| {
                    let (name, value) = (
                        String::from_utf8_lossy(name),
                        String::from_utf8_lossy(value),
                    );
                    format!("{name:?}: {value:?}")
                })
                .collect();
            (stream.class, stream.sees, stream.body, text.join(", "))
        });
        let (wrong, counts) = judge(&chain, decided);
        tell(between, &counts);
        assert!(
            wrong.is_empty(),
            "{between:?}: {}\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_one_response_per_request_whatever_the_upstream_says() {
    for between in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let chain = Chain::new(between, hostile).await;
        let asked = (0..RESPONSES.len()).map(|number| ask(chain.address, number));
        let answers: Vec<_> = futures_util::stream::iter(asked)
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut wrong = chain.log.violations();
        for (answer, (sent, _, expected)) in answers.into_iter().zip(RESPONSES) {
            let fits = match (&answer, expected) {
                (Ok((Answer::Whole(seen), after)), Whole(status, body)) => {
                    let whole = seen.status() == *status && seen.body == body.as_bytes();
                    whole && after.as_ref().is_none_or(|after| after.body == b"ok")
                }
                (Ok((Answer::Whole(seen), after)), Bad) => {
                    seen.status() == 502 && after.as_ref().is_none_or(|after| after.body == b"ok")
                }
                // Or the nearer proxy saw nothing of it, and says so itself.
                (Ok((Answer::Whole(seen), _)), Broken) => seen.status() >= 500,
                (Ok((Answer::Broken, _)), Broken) => true,
                _ => false,
            };
            if !fits {
                wrong.push(format!("{sent:?}: {answer:?} instead of {expected:?}"));
            }
        }
        tell(between, &format!("responses: {} read", RESPONSES.len()));
        assert!(wrong.is_empty(), "{between:?}:\n{}", wrong.join("\n"));
    }
}
