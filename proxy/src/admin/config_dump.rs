//! The configuration in use, as it was received: every resource with its version.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use mesh_api::listener::Bind;
use mesh_api::name::ResourceName;
use mesh_api::resource::Resource;
use mesh_runtime::admin::{AdminRequest, AdminResponse, Router};
use serde::Serialize;

use crate::config::ActiveConfig;
use crate::config::live::LiveConfig;

/// Mounts the pages that show configuration.
pub(super) fn mount(router: Router, live: &Arc<LiveConfig>) -> Router {
    let (dump, listeners) = (Arc::clone(live), Arc::clone(live));
    router
        .get(
            "/config_dump",
            "the configuration in use as JSON; ?resource=PREFIX for a part, cluster/ for example",
            move |request| {
                let answer = config_dump(&dump.load(), &request);
                async move { answer }
            },
        )
        .get(
            "/listeners",
            "name and place of every listener",
            move |_request| {
                let answer = AdminResponse::text(listeners_page(&listeners.load()));
                async move { answer }
            },
        )
}

#[derive(Serialize)]
struct Dump<'a> {
    applied: u64,
    version: String,
    resources: BTreeMap<&'a ResourceName, Dumped<'a>>,
}

#[derive(Serialize)]
struct Dumped<'a> {
    version: String,
    #[serde(flatten)]
    resource: &'a Resource,
}

fn config_dump(active: &ActiveConfig, request: &AdminRequest) -> AdminResponse {
    let prefix = request.query("resource").unwrap_or_default();
    let resources = active
        .snapshot()
        .iter()
        .filter(|(name, _)| prefix.is_empty() || name.to_string().starts_with(prefix))
        .map(|(name, entry)| {
            let version = entry.version.to_string();
            (
                name,
                Dumped {
                    version,
                    resource: &entry.resource,
                },
            )
        })
        .collect();
    AdminResponse::json(&Dump {
        applied: active.sequence(),
        version: active.snapshot().version().to_string(),
        resources,
    })
}

fn listeners_page(active: &ActiveConfig) -> String {
    let mut lines: Vec<String> = active
        .listeners()
        .map(|listener| {
            let name = &listener.name.0;
            match &listener.bind {
                Bind::Socket(address) => format!("{name}::{address}"),
                Bind::OriginalDestination {
                    address: Some(address),
                    port,
                } => {
                    format!("{name}::original destination {address} port {port}")
                }
                Bind::OriginalDestination {
                    address: None,
                    port,
                } => {
                    format!("{name}::original destination port {port}")
                }
            }
        })
        .collect();
    lines.sort_unstable();
    let mut page = String::new();
    for line in lines {
        // Writing to a String cannot fail.
        let _written = writeln!(page, "{line}");
    }
    page
}
