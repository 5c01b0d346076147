//! `proxy request` and `proxy wait`: what scripts, hooks and people in a pod ask its proxy.
//!
//! The image has no shell and no curl, so the binary is its own client.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use tokio::time::Instant;

use crate::args::request::{RequestOptions, WaitOptions};
use crate::net::dial::dial;
use crate::pod::client::{self, Answer};

const ADMIN: u16 = 15_000;
const POD: u16 = 15_020;
/// What is asked of the pod's port unless a port is given.
const AT_POD_PORT: [&str; 5] = [
    "/drain",
    "/quitquitquit",
    "/healthz/",
    "/app-health/",
    "/app-lifecycle/",
];
const READY: &str = "/healthz/ready";
/// Beyond this an answer is cut off.
const MOST: usize = 256 << 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);
/// How long one try may take while waiting.
const ONE_TRY: Duration = Duration::from_secs(2);

/// Asks once; the answer's body if it is a success.
pub(crate) async fn request(options: &RequestOptions) -> Result<Bytes, String> {
    let path = if options.path.starts_with('/') {
        options.path.clone()
    } else {
        format!("/{}", options.path)
    };
    let at_pod_port = AT_POD_PORT.iter().any(|prefix| path.starts_with(prefix));
    let port = options
        .port
        .unwrap_or(if at_pod_port { POD } else { ADMIN });
    let to = SocketAddr::new(options.address, port);
    let answer = exchange(to, &options.method, &path, options.timeout).await?;
    if !answer.status.is_success() {
        let text = String::from_utf8_lossy(&answer.body);
        return Err(format!(
            "{} {path} at {to}: {}: {}",
            options.method,
            answer.status,
            text.trim_end()
        ));
    }
    if !answer.complete {
        return Err(format!(
            "{path} at {to}: the answer has more than {MOST} bytes"
        ));
    }
    Ok(answer.body)
}

/// Waits until the proxy is ready.
pub(crate) async fn wait(options: &WaitOptions) -> Result<(), String> {
    let to = SocketAddr::new(options.address, options.port);
    let deadline = Instant::now() + options.timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = left.min(ONE_TRY);
        let why = match exchange(to, &Method::GET, READY, limit).await {
            Ok(answer) if answer.status == StatusCode::OK => return Ok(()),
            Ok(answer) => String::from_utf8_lossy(&answer.body).trim_end().to_owned(),
            Err(error) => error,
        };
        if Instant::now() + BETWEEN_TRIES >= deadline {
            return Err(format!(
                "the proxy is not ready after {:?}: {why}",
                options.timeout
            ));
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

async fn exchange(
    to: SocketAddr,
    method: &Method,
    path: &str,
    limit: Duration,
) -> Result<Answer, String> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, to.to_string())
        .header(header::CONNECTION, "close")
        .body(Full::default())
        .map_err(|error| format!("{path}: {error}"))?;
    let exchange = async {
        let stream = dial(to, None, limit).await.map_err(|error| {
            format!("nobody answers at {to} ({error}); is the proxy running in this pod?")
        })?;
        client::http1(stream, request, MOST)
            .await
            .map_err(|error| format!("{method} {path} at {to}: {error}"))
    };
    tokio::time::timeout(limit, exchange)
        .await
        .map_err(|_elapsed| format!("{method} {path} at {to}: no answer within {limit:?}"))?
}

#[cfg(test)]
mod tests {
    use mesh_runtime::admin::{AdminLimits, AdminResponse, AdminServer, Router};
    use mesh_runtime::drain::DrainWatch;
    use mesh_runtime::readiness::Readiness;

    use std::net::IpAddr;

    use super::*;

    async fn serve(router: Router) -> u16 {
        let server = AdminServer::bind("127.0.0.1:0".parse().unwrap(), AdminLimits::default())
            .await
            .unwrap();
        let port = server.address().port();
        tokio::spawn(server.serve(router, DrainWatch::never()));
        port
    }

    fn options(method: Method, path: &str, port: u16) -> RequestOptions {
        RequestOptions {
            method,
            path: path.to_owned(),
            port: Some(port),
            address: IpAddr::from([127, 0, 0, 1]),
            timeout: Duration::from_secs(5),
        }
    }

    #[tokio::test]
    async fn answers_are_passed_on_and_refusals_explained() {
        let router = Router::new("test").get("/stats", "", |request| {
            let filter = request.query("filter").unwrap_or("all").to_owned();
            async move { AdminResponse::text(filter) }
        });
        let port = serve(router).await;
        let body = request(&options(Method::GET, "stats?filter=x", port)).await;
        assert_eq!(body.unwrap(), "x");
        let error = request(&options(Method::POST, "/stats", port))
            .await
            .unwrap_err();
        assert!(
            error.contains("405") && error.contains("only GET"),
            "{error}"
        );
        let error = request(&options(Method::GET, "/", 1)).await.unwrap_err();
        assert!(error.contains("is the proxy running"), "{error}");
    }

    #[tokio::test]
    async fn waiting_ends_when_it_is_ready_or_says_for_what() {
        let readiness = Readiness::new();
        let gate = readiness.gate("configuration");
        let port = serve(readiness.mount(Router::new("test"), READY)).await;
        let options = move |timeout| WaitOptions {
            timeout,
            address: IpAddr::from([127, 0, 0, 1]),
            port,
        };
        let error = wait(&options(Duration::from_millis(250)))
            .await
            .unwrap_err();
        assert!(error.contains("waiting for: configuration"), "{error}");
        let waiting = tokio::spawn(async move { wait(&options(Duration::from_secs(20))).await });
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(!waiting.is_finished());
        gate.open();
        waiting.await.unwrap().unwrap();
    }
}
