//! `proxy request` and `proxy wait`: what scripts, hooks and people in a pod ask its proxy.
//!
//! The image has no shell and no curl, so the binary is its own client.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use mesh_api::reserved::{ADMIN_PORT, POD_PORT};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::args::request::{RequestOptions, WaitOptions};
use crate::bootstrap::admin_socket;
use crate::net::dial::dial;
use crate::pod::client::{self, Answer};

/// What is asked at the proxy's socket unless a port is given.
const AT_SOCKET: &str = "/quit";
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
    let to = match options.port {
        None if path == AT_SOCKET => Place::Socket(admin_socket(&options.data_dir)),
        None if at_pod_port => Place::Port(SocketAddr::new(options.address, POD_PORT)),
        None => Place::Port(SocketAddr::new(options.address, ADMIN_PORT)),
        Some(port) => Place::Port(SocketAddr::new(options.address, port)),
    };
    let answer = exchange(&to, &options.method, &path, options.timeout).await?;
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
    let to = Place::Port(SocketAddr::new(options.address, options.port));
    let deadline = Instant::now() + options.timeout;
    let mut said = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = left.min(ONE_TRY);
        let failure = match exchange(&to, &Method::GET, READY, limit).await {
            Ok(answer) if answer.status == StatusCode::OK => return Ok(()),
            Ok(answer) => {
                said = Some(String::from_utf8_lossy(&answer.body).trim_end().to_owned());
                None
            }
            Err(error) => Some(error),
        };
        if Instant::now() + BETWEEN_TRIES >= deadline {
            // The proxy's own word says more than that the last try was cut short.
            let why = said.or(failure).unwrap_or_default();
            return Err(format!(
                "the proxy is not ready after {:?}: {why}",
                options.timeout
            ));
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// Where a proxy is asked.
#[derive(Debug)]
enum Place {
    Port(SocketAddr),
    Socket(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

async fn exchange(
    to: &Place,
    method: &Method,
    path: &str,
    limit: Duration,
) -> Result<Answer, String> {
    let host = match to {
        Place::Port(address) => address.to_string(),
        Place::Socket(_) => "localhost".to_owned(),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .body(Full::default())
        .map_err(|error| format!("{path}: {error}"))?;
    let exchange = async {
        let nobody = |error: io::Error| {
            format!("nobody answers at {to} ({error}); is the proxy running in this pod?")
        };
        let answer = match to {
            Place::Port(address) => {
                let stream = dial(*address, None, limit).await.map_err(nobody)?;
                client::http1(stream, request, MOST).await
            }
            Place::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(nobody)?;
                client::http1(stream, request, MOST).await
            }
        };
        answer.map_err(|error| format!("{method} {path} at {to}: {error}"))
    };
    tokio::time::timeout(limit, exchange)
        .await
        .map_err(|_elapsed| format!("{method} {path} at {to}: no answer within {limit:?}"))?
}

#[cfg(test)]
mod tests {
    use mesh_runtime::admin::{AdminLimits, AdminResponse, AdminServer, LocalServer, Router};
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
            data_dir: PathBuf::from("/nonexistent"),
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
    async fn the_process_is_stopped_through_a_private_socket() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let socket = admin_socket(dir.path());
        let router = Router::new("test").post("/quit", "", |_request| async {
            AdminResponse::text("stopping")
        });
        // What a former process left behind is no obstacle.
        for _ in 0..2 {
            let server = LocalServer::bind(&socket, AdminLimits::default()).unwrap();
            drop(server);
        }
        let server = LocalServer::bind(&socket, AdminLimits::default()).unwrap();
        tokio::spawn(server.serve(router, DrainWatch::never()));
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&socket) & 0o777, 0o600);
        assert_eq!(mode(socket.parent().unwrap()) & 0o777, 0o700);
        let asking = RequestOptions {
            port: None,
            data_dir: dir.path().to_owned(),
            ..options(Method::POST, "quit", 0)
        };
        assert_eq!(request(&asking).await.unwrap(), "stopping");
        let elsewhere = RequestOptions {
            data_dir: PathBuf::from("/nonexistent"),
            ..asking
        };
        let error = request(&elsewhere).await.unwrap_err();
        assert!(error.contains("/nonexistent/admin/socket"), "{error}");
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
        let error = wait(&options(Duration::from_millis(1500)))
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
