//! Who is attacked: a proxy of the mesh, or HAProxy in its place, and what it costs meanwhile.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use super::attack::Aim;
use crate::mesh::{Mesh, wait_until};
use crate::soak::usage::Usage;

/// The CPU of whoever is attacked, and that of everybody else, where there are two.
const VICTIM_CPU: usize = 0;
const OTHERS_CPU: usize = 1;

const PATIENCE: Duration = Duration::from_secs(10);

/// Who is attacked.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) name: &'static str,
    pub(super) aim: Aim,
    /// The mesh's name of it, to ask for its metrics; `None` for a peer.
    pub(super) part: Option<&'static str>,
    /// What it writes.
    log: PathBuf,
    pid: u32,
}

impl Victim {
    /// A proxy of the mesh.
    pub(super) fn of_mesh(
        mesh: &Mesh,
        (name, part): (&'static str, &'static str),
        address: SocketAddr,
        host: &str,
    ) -> anyhow::Result<Self> {
        let pid = mesh
            .pid(part)
            .with_context(|| format!("{part} is not running"))?;
        pin(pid, VICTIM_CPU);
        Ok(Self {
            name,
            aim: Aim {
                address,
                host: host.to_owned(),
            },
            part: Some(part),
            log: mesh.log_dir().join(format!("{part}.log")),
            pid,
        })
    }

    /// What it has now; nothing of a process that is gone.
    pub(super) fn usage(&self) -> Usage {
        Usage::of(self.pid, &self.log)
    }
}

/// HAProxy before the same application; ends with this value.
#[derive(Debug)]
pub(super) struct Peer {
    child: Child,
    _folder: tempfile::TempDir,
    address: SocketAddr,
    log: PathBuf,
}

impl Peer {
    /// Starts it before `backend`, unless it is not installed.
    pub(super) async fn start(
        place: Ipv4Addr,
        backend: SocketAddr,
    ) -> anyhow::Result<Option<Self>> {
        let Some(program) = installed("haproxy") else {
            return Ok(None);
        };
        let folder = tempfile::tempdir().context("folder of the peer")?;
        let address = SocketAddr::from((place, 8080));
        let config = folder.path().join("haproxy.cfg");
        // The time limits are those a proxy of the mesh has by default.
        let text = format!(
            "global\n  nbthread 1\n  maxconn 9000\n\
             defaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  \
             timeout http-request 60s\n  timeout http-keep-alive 1h\n  timeout client 300s\n  \
             timeout server 300s\n\
             frontend floods\n  bind {address}\n  default_backend floods\n\
             backend floods\n  server app {backend}\n"
        );
        fs::write(&config, text).context("configuration of the peer")?;
        let log = folder.path().join("haproxy.log");
        let output = fs::File::create(&log).context("log of the peer")?;
        let child = Command::new(program)
            .args([Path::new("-db"), Path::new("-f"), &config])
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("log of the peer")?)
            .stderr(output)
            .spawn()
            .context("HAProxy could not be started")?;
        let peer = Self {
            child,
            _folder: folder,
            address,
            log,
        };
        let listening = wait_until("HAProxy to listen", PATIENCE, async || {
            Ok(std::net::TcpStream::connect(address).ok().map(drop))
        });
        let said = || fs::read_to_string(&peer.log).unwrap_or_default();
        listening
            .await
            .with_context(|| format!("it said: {}", said()))?;
        pin(peer.child.id(), VICTIM_CPU);
        Ok(Some(peer))
    }

    /// The peer as somebody to attack.
    pub(super) fn victim(&self, host: &str) -> Victim {
        Victim {
            name: "haproxy",
            aim: Aim {
                address: self.address,
                host: host.to_owned(),
            },
            part: None,
            log: self.log.clone(),
            pid: self.child.id(),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Keeps everybody but those attacked off their CPU.
pub(super) fn pin_others(mesh: &Mesh) {
    for name in mesh.names() {
        if let Some(pid) = mesh.pid(name) {
            pin(pid, OTHERS_CPU);
        }
    }
    pin(std::process::id(), OTHERS_CPU);
}

/// Puts all threads of a process on one CPU. What cannot be put stays where it is: figures are less
/// sharp then, but no less true.
fn pin(pid: u32, cpu: usize) {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return;
    };
    let mut set = nix::sched::CpuSet::new();
    if set.set(cpu).is_err() {
        return;
    }
    for thread in threads.flatten() {
        let number = thread.file_name().to_string_lossy().parse::<i32>();
        let Ok(number) = number else { continue };
        if let Err(error) = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(number), &set)
        {
            drop(writeln!(
                std::io::stderr(),
                "not pinned to CPU {cpu}: {error}"
            ));
            return;
        }
    }
}
