//! How many workers this process should have: as many as its CPU quota pays for, at most two
//! unless told otherwise.
//!
//! A sidecar with more threads than its quota is throttled in the middle of requests, and one
//! with many threads on a large node only costs memory.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

/// Workers by default: the CPU quota rounded up, between 1 and 2.
pub fn default_concurrency() -> NonZeroUsize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let quota = cpu_quota(Path::new("/sys/fs/cgroup"), &own_cgroups());
    bounded(cores, quota)
}

fn bounded(cores: usize, quota: Option<f64>) -> NonZeroUsize {
    // Without a quota the whole node is ours to use, but a sidecar should not: two.
    let one_is_enough = cores <= 1 || quota.is_some_and(|quota| quota <= 1.0);
    NonZeroUsize::MIN.saturating_add(usize::from(!one_is_enough))
}

fn own_cgroups() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// The smallest quota, in CPUs, that any cgroup of this process sets.
fn cpu_quota(root: &Path, own: &str) -> Option<f64> {
    let mut quotas = Vec::new();
    // Inside a container the cgroup namespace usually makes its own group the root.
    quotas.extend(read_v2(root));
    quotas.extend(read_v1(&root.join("cpu")));
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            quotas.extend(read_v2(&root.join(path)));
        } else if controllers.split(',').any(|name| name == "cpu") {
            quotas.extend(read_v1(&root.join("cpu").join(path)));
            quotas.extend(read_v1(&root.join(controllers).join(path)));
        }
    }
    quotas.into_iter().reduce(f64::min)
}

/// `cpu.max`: `QUOTA PERIOD`, or `max PERIOD`.
fn read_v2(group: &Path) -> Option<f64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let mut words = text.split_whitespace();
    ratio(words.next()?, words.next()?)
}

/// `cpu.cfs_quota_us` (-1 for none) over `cpu.cfs_period_us`.
fn read_v1(group: &Path) -> Option<f64> {
    let quota = fs::read_to_string(group.join("cpu.cfs_quota_us")).ok()?;
    let period = fs::read_to_string(group.join("cpu.cfs_period_us")).ok()?;
    ratio(quota.trim(), period.trim())
}

fn ratio(quota: &str, period: &str) -> Option<f64> {
    let quota: u32 = quota.parse().ok()?;
    let period: u32 = period.parse().ok().filter(|period| *period > 0)?;
    Some(f64::from(quota) / f64::from(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_bounds_the_workers() {
        assert_eq!(bounded(16, None).get(), 2);
        assert_eq!(bounded(1, None).get(), 1);
        assert_eq!(bounded(16, Some(0.5)).get(), 1);
        assert_eq!(bounded(16, Some(1.0)).get(), 1);
        assert_eq!(bounded(16, Some(1.5)).get(), 2);
        assert_eq!(bounded(16, Some(8.0)).get(), 2);
    }

    #[test]
    fn quotas_of_both_versions_are_found() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        assert_eq!(cpu_quota(path, ""), None);

        fs::write(path.join("cpu.max"), "max 100000\n").unwrap();
        assert_eq!(cpu_quota(path, "0::/\n"), None);

        fs::create_dir_all(path.join("pods/one")).unwrap();
        fs::write(path.join("pods/one/cpu.max"), "150000 100000\n").unwrap();
        assert_eq!(cpu_quota(path, "0::/pods/one\n"), Some(1.5));

        fs::create_dir_all(path.join("cpu,cpuacct/pod")).unwrap();
        fs::write(path.join("cpu,cpuacct/pod/cpu.cfs_quota_us"), "50000\n").unwrap();
        fs::write(path.join("cpu,cpuacct/pod/cpu.cfs_period_us"), "100000\n").unwrap();
        let both = "4:cpu,cpuacct:/pod\n0::/pods/one\nnonsense\n";
        assert_eq!(cpu_quota(path, both), Some(0.5));
    }
}
