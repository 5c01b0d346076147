//! Several pages of metrics made one, in whichever format the application speaks.

use http::HeaderValue;

use super::Scraped;

/// The end of an OpenMetrics page; nothing may follow it.
const END: &str = "# EOF";
const OPEN_METRICS: &[u8] = b"application/openmetrics-text";

/// The proxy's page, then the applications', and what type that is.
///
/// One application decides the type; where several differ, OpenMetrics does, which is the
/// stricter one.
pub(crate) fn merge(own: String, apps: Vec<Scraped>) -> (HeaderValue, String) {
    let open = apps.iter().find_map(|app| {
        let content_type = app.content_type.as_ref();
        content_type.filter(|kind| kind.as_bytes().starts_with(OPEN_METRICS))
    });
    let content_type = open.cloned().unwrap_or_else(|| {
        let only = match apps.as_slice() {
            [only] => only.content_type.clone(),
            _ => None,
        };
        only.filter(|kind| kind.as_bytes().starts_with(b"text/plain"))
            .unwrap_or_else(|| HeaderValue::from_static(mesh_runtime::prometheus::CONTENT_TYPE))
    });
    let is_open = open.is_some();
    let mut page = String::new();
    for part in std::iter::once(own).chain(apps.into_iter().map(|app| app.body)) {
        append(&mut page, &part, is_open);
    }
    if is_open {
        page.push_str(END);
        page.push('\n');
    }
    (content_type, page)
}

/// Appends a page without its end; in OpenMetrics also without what only the older format has:
/// empty lines, remarks, and types it calls otherwise.
fn append(page: &mut String, part: &str, is_open: bool) {
    for line in part.lines() {
        if line.trim_end() == END {
            continue;
        }
        if is_open {
            if line.trim().is_empty() || is_remark(line) {
                continue;
            }
            if let Some(name) = line
                .strip_prefix("# TYPE ")
                .and_then(|rest| rest.strip_suffix(" untyped"))
            {
                page.push_str("# TYPE ");
                page.push_str(name);
                page.push_str(" unknown\n");
                continue;
            }
        }
        page.push_str(line);
        page.push('\n');
    }
}

fn is_remark(line: &str) -> bool {
    let meant = ["# HELP ", "# TYPE ", "# UNIT "];
    line.starts_with('#') && !meant.iter().any(|prefix| line.starts_with(prefix))
}
