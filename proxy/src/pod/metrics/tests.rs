//! Which metrics are asked for, and the page made of the answers.

use super::*;

fn targets(text: &str) -> Result<Vec<(u16, String)>, String> {
    let parsed = AppMetrics::parse(text)?.0;
    Ok(parsed
        .into_iter()
        .map(|target| (target.port, target.path))
        .collect())
}

#[test]
fn annotations_are_read_with_the_defaults_people_know() {
    let one = |port: u16, path: &str| Ok(vec![(port, path.to_owned())]);
    let cases = [
        (r#"{"scrape":"true"}"#, one(80, "/metrics")),
        (
            r#"{"scrape":"true","port":"9090","path":"/stats"}"#,
            one(9090, "/stats"),
        ),
        (r#"{"scrape":true,"port":9090}"#, one(9090, "/metrics")),
        (r#"{"path":"m?x=1"}"#, one(80, "/m?x=1")),
        (r#"{"scrape":"false","port":"9090"}"#, Ok(Vec::new())),
        (
            r#"{"targets":[{"port":"1","path":"/a"},{"port":"2"}]}"#,
            Ok(vec![(1, "/a".to_owned()), (2, "/metrics".to_owned())]),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(targets(text), expected, "{text}");
    }
    for (text, expected) in [
        ("{", "not as expected"),
        (r#"{"port":"http"}"#, "port \"http\""),
        (r#"{"port":"70000"}"#, "65535"),
        (r#"{"port":"15020"}"#, "proxy's own"),
        (r#"{"path":"/a b"}"#, "path \"/a b\""),
        (r#"{"scrape":"yes"}"#, "expected true or false"),
    ] {
        let error = targets(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn the_scraper_decides_how_long_it_may_take() {
    let asked = |seconds: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT, seconds.parse().unwrap());
        patience(&headers)
    };
    assert_eq!(patience(&HeaderMap::new()), Duration::from_millis(9500));
    assert_eq!(asked("15"), Duration::from_millis(14500));
    assert_eq!(asked("0.1"), SHORTEST);
    assert_eq!(asked("-1"), Duration::from_millis(9500));
    assert_eq!(asked("never"), Duration::from_millis(9500));
    assert_eq!(asked("1e300"), Duration::from_millis(9500));
}

fn app(content_type: &'static str, body: &str) -> Scraped {
    Scraped {
        content_type: Some(HeaderValue::from_static(content_type)),
        body: body.to_owned(),
    }
}

const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[test]
fn ours_comes_first_and_the_application_last() {
    let own = "# HELP a b\na 1\n\n# a remark\nc 2";
    let (kind, page) = merge(own.to_owned(), Vec::new());
    assert_eq!(kind, mesh_runtime::prometheus::CONTENT_TYPE);
    assert_eq!(page, "# HELP a b\na 1\n\n# a remark\nc 2\n");

    let (kind, page) = merge(
        own.to_owned(),
        vec![app("text/plain; version=0.0.4", "x 1")],
    );
    assert_eq!(kind, "text/plain; version=0.0.4");
    assert!(page.ends_with("c 2\nx 1\n"), "{page}");

    // A page of another type is metrics all the same; what it calls itself does not matter.
    let (kind, _) = merge(own.to_owned(), vec![app("text/html", "x 1")]);
    assert_eq!(kind, mesh_runtime::prometheus::CONTENT_TYPE);
}

#[test]
fn open_metrics_ends_once_and_has_nothing_of_the_older_format() {
    let own = "# HELP a b\na 1\n\n# a remark\n# TYPE c untyped\nc 2\n";
    let apps = vec![app(OPEN, "x 1\n# EOF\n"), app(OPEN, "y 1\n# EOF\n")];
    let (kind, page) = merge(own.to_owned(), apps);
    assert_eq!(kind, OPEN);
    assert_eq!(
        page,
        "# HELP a b\na 1\n# TYPE c unknown\nc 2\nx 1\ny 1\n# EOF\n"
    );
    let mixed = vec![app("text/plain", "x 1\n\n"), app(OPEN, "y 1\n# EOF")];
    let (kind, page) = merge(String::new(), mixed);
    assert_eq!(kind, OPEN);
    assert_eq!(page, "x 1\ny 1\n# EOF\n");
}

#[tokio::test]
async fn an_application_that_fails_is_left_out() {
    let reach = Reach {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        source: None,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = listener.local_addr().unwrap().port();
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            heard
                .send(String::from_utf8_lossy(&head[..length]).into_owned())
                .unwrap();
            let status = if head.starts_with(b"GET /bad") {
                "500 Oh"
            } else {
                "200 OK"
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nx 1\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let closed = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let text = format!(
        r#"{{"targets":[{{"port":{good}}},{{"port":{good},"path":"/bad"}},{{"port":{closed}}}]}}"#
    );
    let mut asked = HeaderMap::new();
    asked.insert(header::ACCEPT, HeaderValue::from_static(OPEN));
    asked.insert(TIMEOUT, HeaderValue::from_static("3"));
    asked.insert(header::COOKIE, HeaderValue::from_static("secret"));
    let scraped = AppMetrics::parse(&text).unwrap().fetch(reach, &asked).await;
    assert_eq!(scraped.len(), 1);
    assert_eq!(scraped[0].body, "x 1\n");
    let request = hears.recv().await.unwrap();
    assert!(
        request.contains("x-prometheus-scrape-timeout-seconds: 3"),
        "{request}"
    );
    assert!(
        request.contains("accept: application/openmetrics"),
        "{request}"
    );
    assert!(!request.contains("secret"), "{request}");
}
