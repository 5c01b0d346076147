//! The proxy as a child process that starts from a last good configuration, so that no control
//! plane is needed.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mesh_api::name::PolicyName;
use mesh_api::policy::{Policy, PolicyRule};
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::resource::Resource;
use mesh_api::snapshot::Snapshot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxy::control::Identity;
use proxy::control::last_good::LastGood;

/// A proxy process; killed when dropped.
pub struct Process {
    pub child: Child,
    pub address: IpAddr,
    pub data: tempfile::TempDir,
}

impl Process {
    /// A data directory whose last good configuration are these resources, and a policy `open`
    /// that lets everything in.
    pub fn data(mode: CaptureMode, resources: Vec<Resource>) -> tempfile::TempDir {
        Self::data_of(ProxyRole::Sidecar, mode, resources)
    }

    /// The same of a proxy in this role.
    pub fn data_of(
        role: ProxyRole,
        mode: CaptureMode,
        mut resources: Vec<Resource>,
    ) -> tempfile::TempDir {
        let open = Policy::uniform(PolicyName("open".into()), PolicyRule::Allow);
        resources.push(open.into());
        let data = tempfile::tempdir().unwrap();
        let identity = Identity {
            workload: "test/proxy-1".parse().unwrap(),
            role,
            capture_mode: mode,
            software: env!("CARGO_PKG_VERSION"),
        };
        let snapshot = Snapshot::of(resources).unwrap();
        LastGood::new(data.path(), &identity)
            .store(&snapshot)
            .unwrap();
        data
    }

    /// Starts the binary as a sidecar by `launcher` (empty: directly).
    pub fn start(
        launcher: &[&str],
        address: &str,
        data: tempfile::TempDir,
        options: &[&str],
    ) -> Self {
        Self::start_as("sidecar", launcher, (address, data), options)
    }

    /// The same in a role, as the command line has it.
    pub fn start_as(
        role: &str,
        launcher: &[&str],
        (address, data): (&str, tempfile::TempDir),
        options: &[&str],
    ) -> Self {
        let binary = env!("CARGO_BIN_EXE_proxy");
        let mut words: Vec<&str> = launcher.to_vec();
        words.push(binary);
        let (program, arguments) = words.split_first().unwrap();
        let child = Command::new(program)
            .args(arguments)
            .args([role, "--workload", "test/proxy-1", "--address", address])
            .args(["--control-plane", "http://127.0.0.1:1", "--data-dir"])
            .arg(data.path())
            .args(options)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            address: address.parse().unwrap(),
            data,
        }
    }

    /// Waits until it says that it is ready.
    pub fn wait_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.status(15021, "GET", "/healthz/ready") != Some(200) {
            assert!(self.child.try_wait().unwrap().is_none(), "the proxy ended");
            assert!(Instant::now() < deadline, "the proxy is not ready");
            pause(20);
        }
    }

    /// The status of an admin page; `None` if nobody answers.
    pub fn status(&self, port: u16, method: &str, path: &str) -> Option<u16> {
        self.page(port, method, path)?
            .split(' ')
            .nth(1)?
            .parse()
            .ok()
    }

    /// The whole answer of an admin page.
    pub fn page(&self, port: u16, method: &str, path: &str) -> Option<String> {
        exchange(SocketAddr::new(self.address, port), method, path)
    }

    pub fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    /// Waits for its end.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the proxy does not end");
            pause(10);
        }
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }
}

/// CPU time a process used so far.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// A process whose output is read; killed when dropped.
pub struct Killed {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Killed {
    pub fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What follows `mark` in the first line that has it.
    pub fn line_with(&mut self, mark: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, rest)) = line.split_once(mark) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("the child said nothing of {mark:?}");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The answer to a GET.
pub fn fetch(address: SocketAddr, path: &str) -> Option<String> {
    exchange(address, "GET", path)
}

fn exchange(address: SocketAddr, method: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits without a runtime.
pub fn pause(milliseconds: u64) {
    let (_never, wait) = std::sync::mpsc::channel::<()>();
    assert!(
        wait.recv_timeout(Duration::from_millis(milliseconds))
            .is_err()
    );
}

/// A server on threads of its own that sends everything back.
pub fn echo_on_threads() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().unwrap();
                let mut writer = stream;
                drop(std::io::copy(&mut reader, &mut writer));
                drop(writer.shutdown(std::net::Shutdown::Write));
            });
        }
    });
    address
}
