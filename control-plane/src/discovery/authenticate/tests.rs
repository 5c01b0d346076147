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
