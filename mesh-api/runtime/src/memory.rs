//! How much memory this process may use.

use std::fs;

/// Bytes this process may use: the limit of its control group, or the machine's memory where that
/// is less. `None` where neither can be read.
pub fn available() -> Option<u64> {
    let cgroup = || {
        // Version 2, seen from inside of a container; then version 1.
        let paths = [
            "/sys/fs/cgroup/memory.max",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ];
        paths
            .into_iter()
            .find_map(|path| parse_limit(&fs::read_to_string(path).ok()?))
    };
    let machine = || parse_total(&fs::read_to_string("/proc/meminfo").ok()?);
    [cgroup(), machine()].into_iter().flatten().min()
}

/// A limit in bytes; `max` is none.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn parse_total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_totals_are_read() {
        assert_eq!(parse_limit("268435456\n"), Some(1 << 28));
        assert_eq!(parse_limit("max\n"), None);
        let meminfo = "MemTotal:       24684200 kB\nMemFree:  1 kB\n";
        assert_eq!(parse_total(meminfo), Some(24_684_200 * 1024));
        assert_eq!(parse_total("MemTotal: many"), None);
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
