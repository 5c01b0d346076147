//! What one pod's sidecar shall be: annotations over the mesh's defaults over the installation's
//! values, read and checked in one place. What is known but without effect becomes a warning.

mod capture;
mod control_plane;
mod proxy_config;
mod resources;
mod unsupported;
mod volumes;

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::mesh_config::ProxyConfig;
use serde_json::Value;

pub(crate) use capture::Capture;
pub(crate) use control_plane::{ControlPlane, addresses};

use crate::configuration::Configuration;
use crate::draft::{Draft, texts};
use crate::refusal::Refusal;
use crate::values::NativeSidecars;
use crate::{Labels, names};

/// What is put into a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Template {
    /// A proxy beside an application.
    Sidecar,
    /// The pod is a gateway.
    Gateway,
}

/// What one pod's proxy shall be.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub(crate) struct Options {
    pub(crate) template: Template,
    /// Whether the sidecar is an init container that keeps running.
    pub(crate) native: bool,
    /// Whether applications wait for a sidecar that is a container like others.
    pub(crate) hold: bool,
    pub(crate) image: String,
    pub(crate) resources: Value,
    /// `None`: no connection is redirected.
    pub(crate) capture: Option<Capture>,
    pub(crate) log_level: String,
    pub(crate) concurrency: Option<u32>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) min_drain: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) readiness: Readiness,
    pub(crate) volumes: Vec<Value>,
    pub(crate) mounts: Vec<Value>,
    pub(crate) merge_metrics: bool,
    pub(crate) rewrite_probes: bool,
    /// Seconds that application containers without preStop wait.
    pub(crate) stop_delay: Option<u32>,
}

/// How often a kubelet asks the proxy whether it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) initial_delay: u32,
    pub(crate) period: u32,
    pub(crate) failures: u32,
}

/// What options are read from.
pub(crate) struct Reading<'c> {
    configuration: &'c Configuration,
    annotations: Labels,
    proxy_config: ProxyConfig,
    warnings: Vec<String>,
}

impl Reading<'_> {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(|value| value.trim())
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    fn number(&self, name: &str, fallback: u32) -> Result<u32, Refusal> {
        let Some(text) = self.annotation(name) else {
            return Ok(fallback);
        };
        let refuse = || Refusal::annotation(name, text, "write a whole number");
        text.parse().ok().ok_or_else(refuse)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.annotation(name) {
            None | Some("") => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Refusal::annotation(name, other, "write true or false")),
        }
    }
}

/// Reads the options of a pod. Beside them: what the user should know.
pub(crate) fn read(
    configuration: &Configuration,
    draft: &Draft,
    job: bool,
) -> Result<(Options, Vec<String>), Refusal> {
    let mut reading = Reading {
        configuration,
        annotations: texts(&draft.annotations),
        proxy_config: ProxyConfig::default(),
        warnings: Vec::new(),
    };
    proxy_config::read(&mut reading)?;
    let template = template(&reading)?;
    let native = native(&mut reading)? && template == Template::Sidecar;
    if template == Template::Sidecar && !native {
        ends(&mut reading, draft, job)?;
    }
    let grace = grace(draft);
    let (min_drain, drain_timeout) = drain(&mut reading, native, grace);
    let (volumes, mounts) = volumes::read(&reading)?;
    let hold = reading.proxy_config.hold_application_until_proxy_starts;
    if native && hold == Some(false) {
        reading.warn(
            "holdApplicationUntilProxyStarts: false has no effect: a native sidecar is always \
             ready before the application starts",
        );
    }
    let options = Options {
        template,
        native,
        hold: hold.unwrap_or(true),
        image: image(&mut reading)?,
        resources: resources::read(&reading)?,
        capture: match template {
            Template::Sidecar => Capture::read(&mut reading)?,
            Template::Gateway => None,
        },
        log_level: log_level(&reading)?,
        concurrency: concurrency(&mut reading),
        environment: proxy_config::environment(&mut reading),
        control_plane: ControlPlane::read(&mut reading, draft)?,
        min_drain,
        drain_timeout,
        readiness: readiness(&mut reading)?,
        volumes,
        mounts,
        merge_metrics: reading
            .flag("prometheus.istio.io/merge-metrics")?
            .unwrap_or(configuration.mesh.prometheus_merge()),
        rewrite_probes: reading
            .flag("sidecar.istio.io/rewriteAppHTTPProbers")?
            .unwrap_or(
                configuration
                    .values
                    .sidecar_injector_webhook
                    .rewrite_app_http_probe,
            ),
        stop_delay: stop_delay(configuration, grace, job),
    };
    unsupported::name(&mut reading);
    Ok((options, reading.warnings))
}

fn template(reading: &Reading<'_>) -> Result<Template, Refusal> {
    const NAME: &str = "inject.istio.io/templates";
    match reading.annotation(NAME) {
        None | Some("" | "sidecar") => Ok(Template::Sidecar),
        Some("gateway") => Ok(Template::Gateway),
        Some(other) => Err(Refusal::annotation(NAME, other, "use sidecar or gateway")),
    }
}

fn native(reading: &mut Reading<'_>) -> Result<bool, Refusal> {
    const NAME: &str = "sidecar.istio.io/nativeSidecar";
    let asked = reading.flag(NAME)?;
    let cluster = reading.configuration.cluster;
    let values = &reading.configuration.values.sidecar_injector_webhook;
    let wanted = asked.unwrap_or(values.native_sidecars == NativeSidecars::Auto);
    if asked == Some(true) && !cluster.has_native_sidecars() {
        reading.warn(format!(
            "{NAME}: this cluster (Kubernetes {cluster}) does not know native sidecars; the \
             sidecar is a container like others"
        ));
    }
    Ok(wanted && cluster.has_native_sidecars())
}

/// What becomes of a pod that is to end by itself, where its sidecar is a container like others.
///
/// Such a pod completes when all its containers have ended, and the sidecar cannot see that the
/// application has: containers do not see each other's processes. A Job would never complete, so
/// it is refused unless its pods ask for the sidecar themselves.
fn ends(reading: &mut Reading<'_>, draft: &Draft, job: bool) -> Result<(), Refusal> {
    let restarts = draft.spec.get("restartPolicy").and_then(Value::as_str);
    if !job && !matches!(restarts, Some("Never" | "OnFailure")) {
        return Ok(());
    }
    let (cluster, label) = (reading.configuration.cluster, names::INJECT);
    let why = if cluster.has_native_sidecars() {
        "native sidecars are switched off (sidecar.istio.io/nativeSidecar, or nativeSidecars in \
         the injector's values)"
            .to_owned()
    } else {
        format!("Kubernetes {cluster} has no native sidecars")
    };
    let let_it = "let the application end its proxy when it is done: POST \
                  http://127.0.0.1:15020/quitquitquit";
    let asks = draft.labels.get(label).and_then(Value::as_str) == Some("true");
    if job && !asks {
        return Err(Refusal::new(format!(
            "the sidecar would keep this Job from completing, because {why}. Label its pods \
             {label}=false to run them outside of the mesh; or label them {label}=true and {let_it}"
        )));
    }
    reading.warn(format!(
        "the sidecar keeps this pod from completing, because {why}; {let_it}"
    ));
    Ok(())
}

fn image(reading: &mut Reading<'_>) -> Result<String, Refusal> {
    const NAME: &str = "sidecar.istio.io/proxyImage";
    let Some(image) = reading.annotation(NAME) else {
        return Ok(reading.configuration.values.proxy_image());
    };
    if image.is_empty() || image.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let expected = "write the name of an image, such as registry.example/mesh-proxy:1.0";
        return Err(Refusal::annotation(NAME, image, expected));
    }
    Ok(image.to_owned())
}

/// The names of levels that users know, as the proxy knows them.
fn log_level(reading: &Reading<'_>) -> Result<String, Refusal> {
    const NAME: &str = "sidecar.istio.io/logLevel";
    let values = &reading.configuration.values.global.proxy.log_level;
    let level = reading.annotation(NAME).unwrap_or(values);
    let known = match level.to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "info" | "" => "info",
        "warning" | "warn" => "warn",
        "error" | "critical" => "error",
        "off" => "off",
        _ => {
            let expected = "use trace, debug, info, warning, error, critical or off";
            return Err(Refusal::annotation(NAME, level, expected));
        }
    };
    Ok(known.to_owned())
}

fn concurrency(reading: &mut Reading<'_>) -> Option<u32> {
    match reading.proxy_config.concurrency {
        Some(0) => {
            reading.warn(
                "concurrency: 0 (all processors) is taken for the default: what the CPU limit \
                 pays for, 1 or 2",
            );
            None
        }
        other => other,
    }
}

fn readiness(reading: &mut Reading<'_>) -> Result<Readiness, Refusal> {
    let values = &reading.configuration.values.global.proxy;
    let name = |setting: &str| format!("readiness.status.sidecar.istio.io/{setting}");
    let readiness = Readiness {
        initial_delay: reading.number(
            &name("initialDelaySeconds"),
            values.readiness_initial_delay_seconds,
        )?,
        period: reading.number(&name("periodSeconds"), values.readiness_period_seconds)?,
        failures: reading.number(
            &name("failureThreshold"),
            values.readiness_failure_threshold,
        )?,
    };
    for (setting, value) in [
        ("periodSeconds", readiness.period),
        ("failureThreshold", readiness.failures),
    ] {
        if value == 0 {
            let expected = "write a number above 0";
            return Err(Refusal::annotation(&name(setting), "0", expected));
        }
    }
    Ok(readiness)
}

/// How long the pod may take to end.
fn grace(draft: &Draft) -> u64 {
    /// What Kubernetes takes if nothing is said.
    const DEFAULT: u64 = 30;
    let said = draft.spec.get("terminationGracePeriodSeconds");
    said.and_then(Value::as_u64).unwrap_or(DEFAULT)
}

/// How long the proxy accepts once it is told to end, and how long requests may then take.
///
/// A native sidecar is told when the application is gone, so there is nothing to accept for. The
/// other form is told together with the application. Both times fit into the pod's grace period:
/// whatever is longer would be cut off by a kill.
fn drain(reading: &mut Reading<'_>, native: bool, grace: u64) -> (Duration, Duration) {
    const ACCEPT: Duration = Duration::from_secs(5);
    const FINISH: Duration = Duration::from_secs(20);
    /// Left for the proxy's own end.
    const MARGIN: Duration = Duration::from_secs(2);
    let total = Duration::from_secs(grace);
    let asked = reading.proxy_config.termination_drain_duration;
    let asked = asked
        .map(Duration::from)
        .or(proxy_config::minimum_drain(reading));
    let accept = asked.unwrap_or(if native { Duration::ZERO } else { ACCEPT });
    let finish = reading.proxy_config.drain_duration.map(Duration::from);
    let most = total.saturating_sub(MARGIN);
    if accept > most {
        reading.warn(format!(
            "terminationDrainDuration: the proxy would accept for {accept:?}, but the pod has \
             only {grace} s to end; raise terminationGracePeriodSeconds"
        ));
    }
    let accept = accept.min(most);
    let rest = most.saturating_sub(accept);
    (accept, finish.unwrap_or(FINISH).min(rest))
}

fn stop_delay(configuration: &Configuration, grace: u64, job: bool) -> Option<u32> {
    let values = &configuration.values.sidecar_injector_webhook;
    let wanted = values.application_stop_delay_seconds;
    if job || !configuration.cluster.has_sleep_action() {
        return None;
    }
    // At most a third of the grace period: the application needs the rest to end.
    let third = u32::try_from(grace / 3).unwrap_or(u32::MAX);
    Some(wanted.min(third)).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests;
