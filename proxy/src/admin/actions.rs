//! What an operator can make the proxy do.

use http::StatusCode;
use mesh_runtime::admin::{AdminResponse, Router};
use mesh_runtime::logging;
use tokio::sync::mpsc;

use super::Request;

/// Mounts what ends the process or begins to: for the socket only, since a port can be reached by
/// whoever leads a connection there.
pub(super) fn mount(router: Router, ask: &mpsc::Sender<Request>) -> Router {
    let (drain, quit) = (ask.clone(), ask.clone());
    router
        .post(
            "/drain",
            "not ready from now on, and clients are told to go elsewhere; keeps serving",
            move |_request| {
                let answer = pass_on(&drain, Request::Drain, "draining\n");
                async move { answer }
            },
        )
        .post("/quit", "drains, then stops the process", move |_request| {
            let answer = pass_on(&quit, Request::Quit, "stopping\n");
            async move { answer }
        })
}

/// Mounts the change of the log level.
pub(super) fn mount_logging(router: Router) -> Router {
    router.post(
        "/logging",
        "?level=FILTER changes which log lines are written: debug, or info,proxy=trace",
        |request| {
            let answer = set_level(request.query("level"));
            async move { answer }
        },
    )
}

pub(super) fn pass_on(ask: &mpsc::Sender<Request>, request: Request, done: &str) -> AdminResponse {
    match ask.try_send(request) {
        Ok(()) => AdminResponse::text(done),
        Err(_full_or_gone) => {
            AdminResponse::error(StatusCode::CONFLICT, "the proxy is stopping already")
        }
    }
}

fn set_level(level: Option<&str>) -> AdminResponse {
    let Some(level) = level.filter(|level| !level.is_empty()) else {
        return AdminResponse::error(StatusCode::BAD_REQUEST, "say which: /logging?level=debug");
    };
    match logging::set_filter(level) {
        Ok(()) => AdminResponse::text(format!("log level is now {level}\n")),
        Err(error) => AdminResponse::error(StatusCode::BAD_REQUEST, error.to_string()),
    }
}
