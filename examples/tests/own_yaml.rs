//! Follows `examples/README.md`, "Your own YAML", from top to bottom: its files are written, its
//! commands run, and what it says they print is what they print.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed test may end in a panic"
)]

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use examples::mesh::send;
use http::Request;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The section of the page.
const SECTION: &str = "## Your own YAML";
/// How long anything may take to be printed or answered.
const PATIENCE: Duration = Duration::from_secs(40);

/// A block of the page: what it is written in, and its lines.
struct Block {
    language: String,
    lines: Vec<String>,
}

fn blocks() -> Vec<Block> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(SECTION).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in section.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                open = Some(Block {
                    language: language.to_owned(),
                    lines: Vec::new(),
                });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.lines.push(line.to_owned());
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    blocks
}

/// A process that ends with the test, and the lines it prints.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// Waits until a line has all the words of `expected`, `…` standing for anything.
    fn wait_for(&mut self, expected: &str) {
        let has = |line: &str| {
            let line = squeezed(line);
            expected
                .split('…')
                .all(|part| line.contains(&squeezed(part)))
        };
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.lines().any(has) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push_str(&line);
                    self.seen.push('\n');
                }
                Err(error) => panic!("{expected:?} was not printed ({error}):\n{}", self.seen),
            }
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    fn ended(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already where the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Everything the page has started so far.
struct Follower {
    home: tempfile::TempDir,
    mesh: Option<Running>,
    applications: Vec<Running>,
}

impl Follower {
    fn file(&self, block: &Block) {
        let name = block.lines[0].strip_prefix("# ").unwrap();
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, block.lines.join("\n") + "\n").unwrap();
    }

    async fn console(&mut self, block: &Block) {
        let mut answer: Option<String> = None;
        for line in &block.lines {
            let Some(command) = line.strip_prefix("$ ") else {
                match &answer {
                    Some(body) => {
                        let parts = line.split('…').map(squeezed);
                        let body = squeezed(body);
                        for part in parts {
                            assert!(body.contains(&part), "{line:?} is not in {body}");
                        }
                    }
                    None => self.mesh.as_mut().unwrap().wait_for(line),
                }
                continue;
            };
            answer = self.run(command).await;
        }
    }

    /// Runs a command of the page; the body if it is a request.
    async fn run(&mut self, command: &str) -> Option<String> {
        let words: Vec<&str> = command.trim_end_matches(" &").split(' ').collect();
        match words.as_slice() {
            ["cargo", "xtask", "mesh", dir, options @ ..] => {
                let mut program = Command::new(env!("CARGO_BIN_EXE_mesh"));
                program.arg(self.home.path().join(dir)).args(options);
                program.args(["--binaries".as_ref(), binaries().as_os_str()]);
                self.mesh = Some(Running::start(&mut program));
                None
            }
            ["target/quick/shop", options @ ..] => {
                let mut program = Command::new(env!("CARGO_BIN_EXE_shop"));
                self.applications
                    .push(Running::start(program.args(options)));
                None
            }
            ["rm", file] => {
                std::fs::remove_file(self.home.path().join(file)).unwrap();
                None
            }
            ["curl", "-H", host @ .., url] => {
                let host = host.join(" ");
                let host = host.trim_matches('\'').strip_prefix("Host: ").unwrap();
                let (_, rest) = url.split_once("://").unwrap();
                let (at, path) = rest.split_once('/').unwrap();
                let at: SocketAddr = at.parse().unwrap();
                Some(ask(at, host, &format!("/{path}")).await)
            }
            ["curl", "-x", proxy, url] => {
                let at: SocketAddr = proxy.strip_prefix("http://").unwrap().parse().unwrap();
                let (_, rest) = url.split_once("://").unwrap();
                let (host, _) = rest.split_once('/').unwrap();
                Some(ask(at, host, url).await)
            }
            other => panic!("the page has a command nobody follows here: {other:?}"),
        }
    }
}

fn binaries() -> PathBuf {
    let own = Path::new(env!("CARGO_BIN_EXE_mesh"));
    own.parent().unwrap().to_path_buf()
}

/// The first answer that is no refusal; an application just started may need a moment, and so
/// may a file just saved.
async fn ask(at: SocketAddr, host: &str, target: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = Request::get(target).header("host", host);
        let answer = send(at, request.body(String::new()).unwrap()).await;
        match answer {
            Ok(answer) if answer.status < 500 && answer.status != 404 => return answer.body,
            other => assert!(Instant::now() < deadline, "{at} {host} {target}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_page_can_be_followed() {
    let mut follower = Follower {
        home: tempfile::tempdir().unwrap(),
        mesh: None,
        applications: Vec::new(),
    };
    for block in blocks() {
        match block.language.as_str() {
            "yaml" => follower.file(&block),
            "console" => follower.console(&block).await,
            other => panic!("a block in {other:?} would be read and not followed"),
        }
    }
    let mut mesh = follower.mesh.take().unwrap();
    a_child_that_dies_is_named(&mut mesh);
    mesh.signal(Signal::SIGINT);
    assert!(mesh.ended(), "{}", mesh.seen);
    for free in ["127.79.0.2:15012", "127.79.1.1:8080", "127.79.0.1:8080"] {
        drop(TcpListener::bind(free).unwrap());
    }
}

fn a_child_that_dies_is_named(mesh: &mut Running) {
    let pid = mesh.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let victim = children
        .split_whitespace()
        .find(|child| {
            let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap();
            line.contains("demo/web-1")
        })
        .unwrap();
    kill(Pid::from_raw(victim.parse().unwrap()), Signal::SIGKILL).unwrap();
    mesh.wait_for("! demo.web-1 ended with … the others go on");
}

#[test]
fn a_folder_with_nothing_to_run_says_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.yaml"), "kind: Nonsense\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mesh"))
        .arg(home.path())
        .args(["--binaries".as_ref(), binaries().as_os_str()])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(2), "{out}{err}");
    assert!(out.contains("a.yaml"), "{out}");
    assert!(err.contains("write a WorkloadEntry"), "{err}");
}
