//! Which headers count as a token, and how often a refusal is logged.

use super::*;

fn headers(values: &[&str]) -> MetadataMap {
    let mut headers = MetadataMap::new();
    for value in values {
        headers.append("authorization", value.parse().unwrap());
    }
    headers
}

#[test]
fn a_bearer_token_is_found_and_nothing_else() {
    let found = |values: &[&str]| bearer(&headers(values)).map(str::to_owned);
    assert_eq!(found(&["Bearer a.b.c"]), Ok("a.b.c".to_owned()));
    assert_eq!(found(&["bearer  a.b.c "]), Ok("a.b.c".to_owned()));
    assert_eq!(found(&[]), Err(TokenError::Missing));
    assert_eq!(found(&["Bearer "]), Err(TokenError::Missing));
    assert_eq!(found(&["Bearer"]), Err(TokenError::Malformed));
    assert_eq!(found(&["Basic a.b.c"]), Err(TokenError::Malformed));
    assert_eq!(
        found(&["Bearer a.b.c", "Bearer d.e.f"]),
        Err(TokenError::Malformed)
    );
}

#[tokio::test(start_paused = true)]
async fn one_line_per_reason_and_what_was_left_out_is_counted() {
    let refusals = Refusals::default();
    let due = |reason| refusals.is_due(reason, Instant::now());
    assert_eq!(due("no_token"), Some(0));
    assert_eq!((due("no_token"), due("no_token")), (None, None));
    assert_eq!(due("plaintext"), Some(0));
    tokio::time::sleep(LOG_EVERY).await;
    assert_eq!(due("no_token"), Some(2));
    assert_eq!(due("no_token"), None);
}

#[test]
fn those_who_are_refused_together_do_not_come_back_together() {
    let wait = |status: Status| -> u64 {
        let value = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        value.to_str().unwrap().parse().unwrap()
    };
    for (refusal, least) in [
        (Refusal::Token(TokenError::TooMany), UNAVAILABLE),
        (Refusal::Replaced("shop/web-1".into()), REPLACED),
    ] {
        let all: Vec<u64> = (0..200).map(|_| wait(refusal.status())).collect();
        let least = u64::try_from(least.as_millis()).unwrap();
        assert!(all.iter().all(|one| (least..=2 * least).contains(one)));
        let (first, last) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        assert!(last - first > least / 2, "{first} to {last}");
    }
}
