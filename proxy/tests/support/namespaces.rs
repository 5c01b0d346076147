//! Two machines in miniature: network namespaces with a cable between them.
//!
//! All traffic stays between the two; nothing of the machine's own network is touched.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

#[path = "skipped.rs"]
mod skipping;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns};

pub use skipping::skipped;

const PREFIX: &str = "mesh-test-";

/// A workload's network and that of its peer; gone when dropped.
pub struct Namespaces {
    pub workload: String,
    pub peer: String,
}

/// What keeps such a test from running here, if anything.
pub fn missing() -> Option<String> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Some("needs root, to make network namespaces".to_owned());
    }
    for tool in ["ip", "nft", "setpriv"] {
        let found = Command::new(tool).arg("-V").stdout(Stdio::null()).status();
        if found.is_err() {
            return Some(format!(
                "needs the command {tool} (Debian: iproute2, nftables, util-linux)"
            ));
        }
    }
    None
}

impl Namespaces {
    /// 10.77.0.1 and fd77::1 for the workload, 10.77.0.2 and fd77::2 for the peer.
    pub fn new(test: &str) -> Self {
        remove_stale();
        let id = std::process::id();
        let made = Self {
            workload: format!("{PREFIX}{id}-{test}-w"),
            peer: format!("{PREFIX}{id}-{test}-p"),
        };
        let (workload, peer) = (made.workload.as_str(), made.peer.as_str());
        ip(&["netns", "add", workload]);
        ip(&["netns", "add", peer]);
        ip(&[
            "link", "add", "cable", "netns", workload, "type", "veth", "peer", "name", "cable",
            "netns", peer,
        ]);
        for (name, last) in [(workload, "1"), (peer, "2")] {
            let v4 = format!("10.77.0.{last}/24");
            let v6 = format!("fd77::{last}/64");
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "link", "set", "cable", "up"]);
            ip(&["-n", name, "address", "add", &v4, "dev", "cable"]);
            ip(&["-n", name, "address", "add", &v6, "dev", "cable", "nodad"]);
        }
        // Service addresses are nobody's: they only have to be routed somewhere.
        ip(&[
            "-n",
            workload,
            "route",
            "add",
            "default",
            "via",
            "10.77.0.2",
        ]);
        // Pods may have more addresses than one.
        let more = "10.77.0.3/24";
        ip(&["-n", workload, "address", "add", more, "dev", "cable"]);
        made
    }

    /// Redirects the workload's connections, as a pod's are.
    pub fn init(&self) {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.workload])
            .args([env!("CARGO_BIN_EXE_proxy"), "init"])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
    }

    /// Loads nft rules into the workload's namespace.
    pub fn rules(&self, rules: &str) {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.workload, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin
            .take()
            .unwrap()
            .write_all(rules.as_bytes())
            .unwrap();
        assert!(nft.wait().unwrap().success(), "nft refuses:\n{rules}");
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.workload, &self.peer] {
            drop(Command::new("ip").args(["netns", "delete", name]).status());
        }
    }
}

/// Runs `work` on a thread inside a namespace and waits for it.
pub fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let path = format!("/run/netns/{namespace}");
    let thread = std::thread::spawn(move || {
        setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        work()
    });
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}: {error}");
}

/// Removes what killed runs left behind.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let pid = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            drop(Command::new("ip").args(["netns", "delete", &name]).status());
        }
    }
}
