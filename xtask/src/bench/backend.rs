//! The nginx behind every subject.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::process::{Process, answers};
use super::subject::{BACKEND, HOST, LOAD_CPU, installed, write};

/// Answers at once with 1 KiB.
pub(super) const SMALL: &str = "/";
/// Answers at once with [`LARGE_BYTES`].
pub(super) const LARGE: &str = "/large";
/// Answers once it has the whole request body.
pub(super) const WHOLE_BODY: &str = "/body";

/// More than the sockets between a client that does not read and the backend hold by themselves.
const LARGE_BYTES: u64 = 16 << 20;

/// The nginx behind every subject.
#[derive(Debug)]
pub(super) struct Backend {
    _nginx: Process,
}

impl Backend {
    /// One process that answers from memory and writes no log.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let large = fs::File::create(folder.join("large")).context("the large answer")?;
        large.set_len(LARGE_BYTES).context("the large answer")?;
        let config = write(folder, "nginx.conf", &configuration(folder))?;
        let arguments = ["-p", &folder.to_string_lossy(), "-c", &config];
        let log = folder.join("nginx.log");
        let mut nginx = Process::start(&installed("nginx"), &arguments, LOAD_CPU, &log)?;
        nginx.wait_until("answer", || answers(BACKEND, HOST, SMALL))?;
        Ok(Self { _nginx: nginx })
    }
}

fn configuration(folder: &Path) -> String {
    let body = "x".repeat(1024);
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process off;\nerror_log stderr;\npid {folder}/nginx.pid;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  \
         keepalive_timeout 600s;\n  client_body_timeout 600s;\n  send_timeout 600s;\n  \
         server {{\n    listen {BACKEND};\n    \
         location = {LARGE} {{ root {folder}; }}\n    \
         location = {WHOLE_BODY} {{ proxy_pass http://{BACKEND}{SMALL}; }}\n    \
         location / {{ return 200 \"{body}\"; }}\n  }}\n}}\n"
    )
}
