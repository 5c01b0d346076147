//! One scrape page: the metrics recorder's series, then whatever else a crate renders itself.
//!
//! The exporter shares one atomic per series and buffers histogram samples, which suits
//! rare events. What is counted per request lives in cells of its owner and joins the page
//! as a [`ScrapeSection`].

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::admin::{AdminResponse, Router};

/// The content type of the text exposition format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often histogram samples move from their buffers into buckets. Without this a process
/// that nobody scrapes would keep every sample.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Text that joins the scrape page.
pub trait ScrapeSection: Send + Sync {
    /// Appends complete lines in the text exposition format.
    fn render(&self, out: &mut String);
}

impl<F: Fn(&mut String) + Send + Sync> ScrapeSection for F {
    fn render(&self, out: &mut String) {
        self(out);
    }
}

/// Why the recorder could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// Another crate installed its own recorder first.
    #[error("a metrics recorder is already installed by somebody else: {0}")]
    Taken(String),
    /// Histogram buckets must be given and ascend.
    #[error("histogram buckets {0:?} are not usable: give at least one, in ascending order")]
    Buckets(Vec<f64>),
}

/// The process's metrics. Clones share them.
#[derive(Clone)]
pub struct Prometheus {
    handle: PrometheusHandle,
    sections: Arc<RwLock<Vec<Arc<dyn ScrapeSection>>>>,
}

static INSTALLED: OnceLock<Prometheus> = OnceLock::new();
static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());

impl Prometheus {
    /// Installs the recorder behind the `metrics` macros. `buckets` are the upper bounds of
    /// every histogram recorded through them.
    ///
    /// A second call in one process, as from two parts of a test, gives the first
    /// installation again with the buckets it has.
    pub fn install(buckets: &[f64]) -> Result<Self, PrometheusError> {
        let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
        let handle = builder(buckets)?
            .install_recorder()
            .map_err(|error| PrometheusError::Taken(error.to_string()))?;
        let installed = Self {
            handle,
            sections: Arc::default(),
        };
        Ok(INSTALLED.get_or_init(|| installed).clone())
    }

    /// A page of its own that the `metrics` macros do not write to, for tests.
    pub fn detached() -> Self {
        let handle = PrometheusBuilder::new().build_recorder().handle();
        Self {
            handle,
            sections: Arc::default(),
        }
    }

    /// Adds a section to the end of the page.
    pub fn add_section(&self, section: Arc<dyn ScrapeSection>) {
        self.sections
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(section);
    }

    /// The whole page.
    pub fn render(&self) -> String {
        let mut page = self.handle.render();
        let sections: Vec<Arc<dyn ScrapeSection>> = self
            .sections
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for section in sections {
            if !page.is_empty() && !page.ends_with('\n') {
                page.push('\n');
            }
            section.render(&mut page);
        }
        page
    }

    /// Keeps histogram buffers small. Spawn it on the control runtime; it never ends.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }

    /// Mounts the page at `path`.
    #[must_use]
    pub fn mount(&self, router: Router, path: &str) -> Router {
        let page = self.clone();
        router.get(
            path,
            "metrics in the Prometheus text format",
            move |_request| {
                let answer = AdminResponse::text(page.render()).with_content_type(CONTENT_TYPE);
                async move { answer }
            },
        )
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sections = self
            .sections
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        formatter
            .debug_struct("Prometheus")
            .field("sections", &sections)
            .finish_non_exhaustive()
    }
}

fn builder(buckets: &[f64]) -> Result<PrometheusBuilder, PrometheusError> {
    let ascending = buckets.is_sorted_by(|left, right| left < right);
    if buckets.is_empty() || !ascending {
        return Err(PrometheusError::Buckets(buckets.to_vec()));
    }
    PrometheusBuilder::new()
        .set_buckets(buckets)
        .map_err(|_error| PrometheusError::Buckets(buckets.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_of_macros_and_sections() {
        let page = Prometheus::install(&[0.1, 1.0]).unwrap();
        let again = Prometheus::install(&[5.0]).unwrap();
        metrics::counter!("things_total", "kind" => "a\"b").increment(2);
        metrics::histogram!("wait_seconds").record(0.5);
        page.add_section(Arc::new(|out: &mut String| out.push_str("own_cells 7\n")));
        let text = again.render();
        assert!(text.contains("things_total{kind=\"a\\\"b\"} 2\n"), "{text}");
        assert!(text.contains("wait_seconds_bucket{le=\"1\"} 1\n"), "{text}");
        assert!(text.ends_with("own_cells 7\n"), "{text}");
    }

    #[test]
    fn unusable_buckets_are_refused() {
        assert!(matches!(builder(&[]), Err(PrometheusError::Buckets(_))));
        assert!(matches!(
            builder(&[2.0, 1.0]),
            Err(PrometheusError::Buckets(_))
        ));
    }

    #[test]
    fn a_detached_page_has_only_its_sections() {
        let page = Prometheus::detached();
        page.add_section(Arc::new(|out: &mut String| out.push_str("only 1\n")));
        assert_eq!(page.render(), "only 1\n");
    }
}
