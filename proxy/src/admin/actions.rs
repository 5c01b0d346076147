//! What an operator can make the proxy do.

use std::fmt::Write as _;

use http::StatusCode;
use mesh_runtime::admin::{AdminResponse, Router};
use mesh_runtime::logging::{self, Levels, LevelsError, LoggingError};
use tokio::sync::mpsc;

use super::Request;
use crate::telemetry::scopes::SCOPES;

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

/// Mounts what is logged, and the change of it.
pub(super) fn mount_logging(router: Router) -> Router {
    router.post(
        "/logging",
        "shows what is logged; ?level=debug or ?LOGGER=debug changes it",
        |request| {
            let answer = logging_page(request.query_pairs());
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

/// Changes levels as Envoy's page does: `level` for everything, `paths=http:debug,dns:off` or a
/// logger's name for parts. All of it is done, or none. Answers what is logged then.
fn logging_page(query: &[(String, String)]) -> AdminResponse {
    let bad = |error: String| AdminResponse::error(StatusCode::BAD_REQUEST, error);
    let Some(known) = logging::levels() else {
        return bad(LoggingError::NotStarted.to_string());
    };
    let levels = match changed(known.clone(), query) {
        Ok(levels) => levels,
        Err(error) => return bad(error.to_string()),
    };
    if levels != known
        && let Err(error) = logging::set_levels(levels.clone())
    {
        return bad(error.to_string());
    }
    let mut page = format!("levels: {levels}\nactive loggers:\n");
    for scope in &SCOPES {
        // Writing to a String cannot fail.
        let _written = writeln!(page, "  {}: {}", scope.name, levels.of(scope));
    }
    AdminResponse::text(page)
}

fn changed(mut levels: Levels, query: &[(String, String)]) -> Result<Levels, LevelsError> {
    for (name, value) in query {
        match name.as_str() {
            "level" => levels = Levels::parse(value, &SCOPES)?,
            "paths" => {
                for part in value.split(',') {
                    let (name, level) = part.rsplit_once(':').unwrap_or((part, ""));
                    levels.set(name, level.parse()?, &SCOPES)?;
                }
            }
            name => levels.set(name, value.parse()?, &SCOPES)?,
        }
    }
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &[(&str, &str)]) -> Result<String, String> {
        let query: Vec<(String, String)> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        changed(Levels::default(), &query)
            .map(|levels| levels.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn levels_change_as_envoys_do() {
        for (query, becomes) in [
            (&[("level", "warning")][..], "warning"),
            (&[("level", "critical")], "critical"),
            (&[("level", "info,proxy=trace")], "info,proxy=trace"),
            (&[("rbac", "debug")], "info,proxy::authz=debug"),
            (&[("proxy::authz", "off")], "info,proxy::authz=off"),
            (
                &[("paths", "http2:warning,dns:off")],
                "info,h2=warning,proxy::upstream::dns=off",
            ),
            (&[], "info"),
        ] {
            assert_eq!(ask(query).as_deref(), Ok(becomes), "{query:?}");
        }
        for (query, told) in [
            (&[("level", "loud")][..], "critical or off"),
            (&[("level", "")], "critical or off"),
            (&[("rbac", "")], "critical or off"),
            (&[("lua", "debug")], "rbac"),
            (&[("paths", "rbac")], "critical or off"),
        ] {
            let error = ask(query).unwrap_err();
            assert!(error.contains(told), "{query:?}: {error}");
        }
    }
}
