//! How many files this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What is assumed where nothing can be read.
const UNKNOWN: u64 = 1024;

/// Raises the limit of open files as far as this user may; returns what it is now.
pub fn raise_limit() -> u64 {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files is unknown; assuming {UNKNOWN}");
            return UNKNOWN;
        }
    };
    if soft >= hard {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "the limit of open files cannot be raised");
            soft
        }
    }
}
