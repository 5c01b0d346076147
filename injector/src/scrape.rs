//! Metrics of application and proxy at one place: Prometheus is pointed at the proxy, and the
//! proxy is told where the application's metrics are.

use mesh_api::reserved::is_proxy_port;
use serde_json::json;

use crate::draft::Draft;
use crate::refusal::Refusal;

const MERGED_PORT: &str = "15020";
const MERGED_PATH: &str = "/stats/prometheus";

/// Points Prometheus at the proxy. Returns what the proxy needs to know of the application, if
/// that has metrics.
///
/// A pod that says that it must not be scraped stays as it is.
pub(crate) fn merge(
    draft: &mut Draft,
    warnings: &mut Vec<String>,
) -> Result<Option<String>, Refusal> {
    let scrape = find(draft, "scrape");
    if scrape.as_deref() == Some("false") {
        return Ok(None);
    }
    let port = find(draft, "port");
    let path = find(draft, "path");
    let ours = port.as_deref() == Some(MERGED_PORT) && path.as_deref() == Some(MERGED_PATH);
    let mut application = None;
    if scrape.as_deref() == Some("true") && !ours {
        let port = port.unwrap_or_else(|| "80".to_owned());
        check_port(&port)?;
        if find(draft, "scheme").is_some_and(|scheme| scheme == "https") {
            warnings.push(
                "prometheus.io/scheme: the proxy asks the application for metrics over http; \
                 annotate prometheus.istio.io/merge-metrics: \"false\" to have Prometheus ask \
                 over https itself"
                    .to_owned(),
            );
        }
        let path = path.unwrap_or_else(|| "/metrics".to_owned());
        application = Some(json!({ "scrape": "true", "port": port, "path": path }).to_string());
    }
    draft.annotations.retain(|name, _| setting(name).is_none());
    draft.annotate("prometheus.io/scrape", "true");
    draft.annotate("prometheus.io/port", MERGED_PORT);
    draft.annotate("prometheus.io/path", MERGED_PATH);
    Ok(application)
}

fn check_port(port: &str) -> Result<(), Refusal> {
    let name = "prometheus.io/port";
    match port.parse::<u16>() {
        Ok(number) if is_proxy_port(number) => {
            let expected = "that port is the proxy's own; name a port of the application";
            Err(Refusal::annotation(name, port, expected))
        }
        Ok(number) if number > 0 => Ok(()),
        Ok(_) | Err(_) => Err(Refusal::annotation(name, port, "write a port number")),
    }
}

/// Which setting an annotation is, in any of the spellings that Prometheus makes into the same
/// label.
fn setting(name: &str) -> Option<&'static str> {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    match plain.as_str() {
        "prometheus_io_scrape" => Some("scrape"),
        "prometheus_io_port" => Some("port"),
        "prometheus_io_path" => Some("path"),
        "prometheus_io_scheme" => Some("scheme"),
        _ => None,
    }
}

fn find(draft: &Draft, wanted: &str) -> Option<String> {
    draft
        .annotations
        .iter()
        .find(|(name, _)| setting(name) == Some(wanted))
        .and_then(|(_, value)| value.as_str())
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn merged(pairs: &[(&str, &str)]) -> (Result<Option<String>, Refusal>, Value) {
        let mut annotations = serde_json::Map::new();
        for (name, value) in pairs {
            annotations.insert((*name).to_owned(), json!(value));
        }
        let pod = json!({ "metadata": { "annotations": annotations } });
        let mut draft = Draft::of(&pod).unwrap();
        let application = merge(&mut draft, &mut Vec::new());
        (application, Value::Object(draft.annotations))
    }

    #[test]
    fn every_spelling_is_moved_to_the_proxy() {
        let after = json!({
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "15020",
            "prometheus.io/path": "/stats/prometheus",
        });
        let (application, annotations) = merged(&[
            ("prometheus.io.scrape", "true"),
            ("prometheus-io/port", "9102"),
            ("prometheus.io/Path", "/m"),
        ]);
        let said = r#"{"path":"/m","port":"9102","scrape":"true"}"#;
        assert_eq!(application.unwrap().as_deref(), Some(said));
        assert_eq!(annotations, after);
        for unasked in [&[][..], &[("prometheus.io/port", "9102")]] {
            let (application, annotations) = merged(unasked);
            assert_eq!(application.unwrap(), None);
            assert_eq!(annotations, after);
        }
    }

    #[test]
    fn defaults_refusals_and_reserved_ports() {
        let (application, _) = merged(&[("prometheus.io/scrape", "true")]);
        let said = r#"{"path":"/metrics","port":"80","scrape":"true"}"#;
        assert_eq!(application.unwrap().as_deref(), Some(said));
        let no = [
            ("prometheus.io/scrape", "false"),
            ("prometheus.io/port", "1"),
        ];
        let (application, annotations) = merged(&no);
        assert_eq!(application.unwrap(), None);
        assert_eq!(
            annotations,
            json!({"prometheus.io/scrape": "false", "prometheus.io/port": "1"})
        );
        for bad in ["15090", "metrics", "0", "70000"] {
            let (application, _) = merged(&[
                ("prometheus.io/scrape", "true"),
                ("prometheus.io/port", bad),
            ]);
            let error = application.unwrap_err().to_string();
            assert!(
                error.contains("prometheus.io/port") && error.contains(bad),
                "{error}"
            );
        }
    }
}
