//! Tells what is being done and how long it took: a spinner on a terminal, a line elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// How often a long step says how far it is where there is no terminal.
const PLAIN_REPORT: Duration = Duration::from_secs(10);

/// One step that is being done.
pub(crate) struct Step {
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    reported: Instant,
}

impl Step {
    /// What is being done now, of several things.
    pub(crate) fn doing(&mut self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {what}", self.name));
        } else if self.reported.elapsed() >= PLAIN_REPORT {
            self.reported = Instant::now();
            let seconds = self.started.elapsed().as_secs();
            eprintln!("     {}: {what} ({seconds} s)", self.name);
        }
    }
}

/// Does one step and says how it went.
pub(crate) fn step<T>(name: &str, work: impl FnOnce(&mut Step) -> Result<T>) -> Result<T> {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    let started = Instant::now();
    let mut step = Step {
        name: name.to_owned(),
        bar,
        started,
        reported: started,
    };
    let outcome = work(&mut step);
    if let Some(bar) = &step.bar {
        bar.finish_and_clear();
    }
    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{verdict:>4} {name} ({seconds:.1} s)");
    outcome
}
