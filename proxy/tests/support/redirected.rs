//! A network of its own for one thread, in which connections are redirected as a pod's are.
//!
//! Client, proxy and application live in it together: what goes to the pod's address is redirected
//! to the inbound capture port, unless it comes from the address proxies call their application
//! from.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

#[path = "skipped.rs"]
mod skipping;

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

pub use skipping::skipped;

/// Connections to this address are redirected.
pub const POD: &str = "10.66.0.2";
/// Connections to this one are not.
pub const ELSEWHERE: &str = "10.66.0.3";

const RULES: &str = "
table ip redirected {
    chain output {
        type nat hook output priority -100;
        ip saddr 127.0.0.6 accept
        ip daddr 10.66.0.2 meta l4proto tcp redirect to :15006
    }
}
";

/// What keeps such a test from running here, if anything.
pub fn missing() -> Option<String> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Some("needs root, to make a network of its own".to_owned());
    }
    for tool in ["ip", "nft"] {
        let found = Command::new(tool).arg("-V").stdout(Stdio::null()).status();
        if found.is_err() {
            return Some(format!(
                "needs the command {tool} (Debian: iproute2, nftables)"
            ));
        }
    }
    None
}

/// Runs `work` in such a network, on a runtime of one thread, and waits for it.
pub fn redirected<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // Threads that this one starts, and their children, have its network.
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for arguments in [
            "link set lo up",
            "address add 10.66.0.2/32 dev lo",
            "address add 10.66.0.3/32 dev lo",
        ] {
            let made = Command::new("ip").args(arguments.split(' ')).status();
            assert!(made.unwrap().success(), "ip {arguments}");
        }
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin
            .take()
            .unwrap()
            .write_all(RULES.as_bytes())
            .unwrap();
        assert!(nft.wait().unwrap().success(), "nft refuses:\n{RULES}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
