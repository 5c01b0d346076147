//! Who listens in this pod beside the proxy, told by the kernel.
//!
//! Containers of a pod do not see each other's processes, but they share one network: a socket
//! that listens and is not ours is the application's. From that a sidecar that is told to end
//! together with its application learns when that is gone, and that an application runs as the
//! proxy's own user, whose connections are never captured.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::UnixCredentials;

/// How often it is looked whether anything still listens.
const POLL: Duration = Duration::from_millis(200);
/// When it is looked who runs as the proxy's user: once applications have started, and later.
const LOOKS: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(25),
    Duration::from_mins(2),
    Duration::from_mins(10),
];
/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`).
const LISTENING: &str = "0A";

/// A socket that listens in this network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listening {
    port: u16,
    user: u32,
    inode: u64,
}

/// Waits until nobody in this pod listens but this process. Where the kernel does not say, that is
/// at once.
pub(crate) async fn alone() {
    loop {
        let left = others().await;
        if left.is_empty() {
            return;
        }
        tracing::debug!(ports = ?ports(&left), "the application still listens");
        tokio::time::sleep(POLL).await;
    }
}

/// Warns, once per port, of applications that run as this process's user. Never ends.
pub(crate) async fn warn_of_own_user() {
    let own = UnixCredentials::new().uid();
    let mut told = BTreeSet::new();
    let last = LOOKS.iter().copied().last().unwrap_or(POLL);
    for pause in LOOKS.into_iter().chain(std::iter::repeat(last)) {
        tokio::time::sleep(pause).await;
        for one in others().await {
            if one.user == own && told.insert(one.port) {
                tracing::warn!(
                    port = one.port,
                    "whoever listens here runs as user {own}, which is the proxy's: its connections \
                     are not captured and go around the mesh. Run it as another user (USER in its \
                     image, or runAsUser)"
                );
            }
        }
    }
}

fn ports(all: &[Listening]) -> BTreeSet<u16> {
    all.iter().map(|one| one.port).collect()
}

async fn others() -> Vec<Listening> {
    // A proxy with many connections has long tables.
    let looking = tokio::task::spawn_blocking(|| not_of(Path::new("/proc/self")));
    looking.await.unwrap_or_default()
}

/// The sockets that listen in the network of a process and are not its own.
fn not_of(process: &Path) -> Vec<Listening> {
    let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(process.join(table)));
    let mut found: Vec<Listening> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines().filter_map(parse))
        .collect();
    if !found.is_empty() {
        let own = inodes(process);
        found.retain(|one| !own.contains(&one.inode));
    }
    found
}

/// Reads a line of such a table, if it is about a socket that listens:
/// `sl local remote state tx:rx tr:when retransmits uid timeout inode …`.
fn parse(line: &str) -> Option<Listening> {
    let mut words = line.split_ascii_whitespace();
    let (_, port) = words.nth(1)?.rsplit_once(':')?;
    if words.nth(1)? != LISTENING {
        return None;
    }
    Some(Listening {
        port: u16::from_str_radix(port, 16).ok()?,
        user: words.nth(3)?.parse().ok()?,
        inode: words.nth(1)?.parse().ok()?,
    })
}

/// The sockets a process has open.
fn inodes(process: &Path) -> BTreeSet<u64> {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten();
    files
        .flatten()
        .filter_map(|file| {
            let target = fs::read_link(file.path()).ok()?;
            let target = target.to_str()?.strip_prefix("socket:[")?;
            target.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn lines_of_the_kernels_table() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                    uid  timeout inode";
        let of = |state: &str| {
            format!(
                "   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  \
                 1337        0 34151 1 0000000000000000 100 0 0 10 0"
            )
        };
        let expected = Listening {
            port: 8080,
            user: 1337,
            inode: 34_151,
        };
        assert_eq!(parse(&of("0A")), Some(expected));
        for other in [
            head.to_owned(),
            of("01"),
            String::new(),
            "a b c d".to_owned(),
        ] {
            assert_eq!(parse(&other), None, "{other}");
        }
    }

    #[test]
    fn own_sockets_do_not_count_and_those_of_others_do() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen_by = |process: &Path| ports(&not_of(process)).contains(&port);
        assert!(!seen_by(Path::new("/proc/self")));
        // A neighbour that inherits nothing sees it as somebody else's.
        let mut other = Command::new("sleep")
            .arg("30")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let process = format!("/proc/{}", other.id());
        assert!(seen_by(Path::new(&process)));
        drop(listener);
        assert!(!seen_by(Path::new(&process)));
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
