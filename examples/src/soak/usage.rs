//! What a process has at one moment.

use std::fs;
use std::path::Path;

/// What a process has at one moment; nothing of one that is gone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Resident memory, in bytes.
    pub(super) memory: u64,
    /// Open files.
    pub(super) files: u64,
    /// Lines of its log.
    pub(super) lines: u64,
}

impl Usage {
    /// What it has now, and has written to this file.
    pub(super) fn of(pid: u32, log: &Path) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|kibibytes| kibibytes.trim().parse::<u64>().ok());
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let log = fs::read(log).unwrap_or_default();
        let lines = log.split(|byte| *byte == b'\n').count();
        Self {
            memory: resident.unwrap_or(0) * 1024,
            files: files.map_or(0, |files| u64::try_from(files.count()).unwrap_or(0)),
            lines: u64::try_from(lines).unwrap_or(0),
        }
    }

    /// The most of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            memory: self.memory.max(other.memory),
            files: self.files.max(other.files),
            lines: self.lines.max(other.lines),
        }
    }
}
