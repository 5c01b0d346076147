//! What the demo prints: a live row on a terminal, plain lines anywhere else.

use std::cell::Cell;
use std::io::{IsTerminal, Stdout, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::Report;

/// Without a terminal, a row of figures this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

/// Where everything goes.
#[derive(Debug)]
pub(super) struct Screen {
    out: Stdout,
    terminal: bool,
    color: bool,
}

/// Something in progress: one changing line on a terminal.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    screen: &'a Screen,
    bar: ProgressBar,
    printed: Cell<Option<Instant>>,
}

impl Screen {
    pub(super) fn new(color: bool) -> Self {
        let out = std::io::stdout();
        let terminal = out.is_terminal() && std::io::stderr().is_terminal();
        let wanted = color && std::env::var_os("NO_COLOR").is_none();
        Self {
            out,
            terminal,
            color: terminal && wanted,
        }
    }

    pub(super) fn title(&self, text: &str) {
        self.print(&format!("\n{}", self.paint("1;36", text)));
    }

    pub(super) fn line(&self, text: &str) {
        self.print(&format!("  {text}"));
    }

    pub(super) fn error(&self, text: &str) {
        self.print(&format!("\n{} {text}", self.paint("1;31", "error:")));
    }

    pub(super) fn verdict(&self, passed: bool, claim: &str) {
        let mark = if passed {
            self.paint("1;32", "ok  ")
        } else {
            self.paint("1;31", "FAIL")
        };
        self.print(&format!("  {mark} {claim}"));
    }

    /// The head of the table that [`Progress::figures`] fills.
    pub(super) fn table_head(&self) {
        self.line(&self.paint(
            "2",
            "  requests       v1       v2   success      p50 ms     p99 ms   req/s",
        ));
    }

    /// The row that sums up a table.
    pub(super) fn figures(&self, report: &Report) {
        self.line(&format!("{}  in all", row(report)));
    }

    pub(super) fn progress(&self) -> Progress<'_> {
        let bar = if self.terminal {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        let template = if self.color {
            "  {spinner:.cyan} {msg}"
        } else {
            "  {spinner} {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress {
            screen: self,
            bar,
            printed: Cell::new(None),
        }
    }

    /// Whoever closed our output has seen enough; that is no reason to stop.
    fn print(&self, text: &str) {
        drop(writeln!(self.out.lock(), "{text}"));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

impl Progress<'_> {
    /// Something happened.
    pub(super) fn tell(&self, text: &str) {
        if self.screen.terminal {
            self.bar.set_message(text.to_owned());
        } else {
            self.screen.line(text);
        }
    }

    /// The figures now.
    pub(super) fn figures(&self, report: &Report) {
        if self.screen.terminal {
            self.bar.set_message(row(report));
            return;
        }
        if self
            .printed
            .get()
            .is_none_or(|last| last.elapsed() >= PLAIN_INTERVAL)
        {
            self.printed.set(Some(Instant::now()));
            self.screen.line(&row(report));
        }
    }

    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn row(report: &Report) -> String {
    format!(
        "{:>10} {:>7.2}% {:>7.2}% {:>8.3}% {:>11.2} {:>10.2} {:>7.0}",
        report.requests,
        report.share("v1"),
        report.share("v2"),
        report.success(),
        report.milliseconds(0.5),
        report.milliseconds(0.99),
        report.rate(),
    )
}
