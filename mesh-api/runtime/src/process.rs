//! How this process ends, and what it costs, under the names Prometheus client libraries use.

use std::fmt::{Display, Write as _};
use std::process::ExitCode;

use crate::logging;
use crate::prometheus::ScrapeSection;

/// Ends a program: says why if something failed, each cause once, and lets the last lines of the
/// log be written, whether or not anybody reads them. To be returned from `main`.
pub fn end<E: Display>(program: &str, ended: Result<(), E>) -> ExitCode {
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::complain(&format!("{program}: {error:#}"));
            ExitCode::FAILURE
        }
    };
    logging::flush();
    code
}

/// Renders `process_*` from `/proc/self`. A figure that cannot be read is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessSection;

/// The kernel reports times in these units to user space on every platform we run on.
const TICKS_PER_SECOND: f64 = 100.0;

impl ScrapeSection for ProcessSection {
    fn render(&self, out: &mut String) {
        let figures = Figures::read();
        gauge(
            out,
            "process_resident_memory_bytes",
            "Resident memory size.",
            figures.resident,
        );
        gauge(
            out,
            "process_virtual_memory_bytes",
            "Virtual memory size.",
            figures.virtual_size,
        );
        gauge(
            out,
            "process_open_fds",
            "Open file descriptors.",
            figures.open_files,
        );
        gauge(out, "process_threads", "Threads.", figures.threads);
        if let Some(ticks) = figures.cpu_ticks {
            #[expect(clippy::cast_precision_loss, reason = "2^52 ticks are a million years")]
            let seconds = ticks as f64 / TICKS_PER_SECOND;
            // Writing to a String cannot fail, here and below.
            let _written = write!(
                out,
                "# HELP process_cpu_seconds_total User and system CPU time.\n\
                 # TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {seconds}\n"
            );
        }
    }
}

fn gauge(out: &mut String, name: &str, help: &str, value: Option<u64>) {
    if let Some(value) = value {
        let _written = write!(
            out,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"
        );
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    resident: Option<u64>,
    virtual_size: Option<u64>,
    open_files: Option<u64>,
    threads: Option<u64>,
    cpu_ticks: Option<u64>,
}

impl Figures {
    fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let open_files = std::fs::read_dir("/proc/self/fd")
            .ok()
            .and_then(|entries| u64::try_from(entries.count()).ok());
        Self {
            open_files,
            ..Self::parse(&status, &stat)
        }
    }

    fn parse(status: &str, stat: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        // The command may contain spaces and parentheses; fields are counted after its end.
        let after_command = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let times: Vec<u64> = after_command
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|text| text.parse().ok())
            .collect();
        Self {
            resident: field("VmRSS:").map(|kib| kib * 1024),
            virtual_size: field("VmSize:").map(|kib| kib * 1024),
            open_files: None,
            threads: field("Threads:"),
            cpu_ticks: (times.len() == 2).then(|| times.iter().sum()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernel_formats() {
        let status = "Name:\tproxy\nVmSize:\t    2000 kB\nVmRSS:\t     100 kB\nThreads:\t7\n";
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        let figures = Figures::parse(status, stat);
        assert_eq!(figures.resident, Some(102_400));
        assert_eq!(figures.virtual_size, Some(2_048_000));
        assert_eq!(figures.threads, Some(7));
        assert_eq!(figures.cpu_ticks, Some(300));
        assert_eq!(Figures::parse("", ""), Figures::default());
    }

    #[test]
    fn renders_this_process() {
        let mut page = String::new();
        ProcessSection.render(&mut page);
        assert!(page.contains("process_resident_memory_bytes "), "{page}");
        assert!(page.contains("process_cpu_seconds_total "), "{page}");
    }
}
