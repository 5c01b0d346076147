//! HAProxy with one thread and the least configuration that does the work.

use std::path::Path;

use anyhow::Result;

use super::{BACKEND, HOST, PROXY_CPU, Running, installed, write};
use crate::bench::process::{Process, answers};

const HTTP1: &str = "127.90.3.1:15001";
const HTTP2: &str = "127.90.3.1:15002";

pub(super) fn start(folder: &Path) -> Result<Running> {
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  \
         timeout client 600s\n  timeout server 600s\n\
         frontend bench\n  bind {HTTP1}\n  bind {HTTP2} proto h2\n  \
         default_backend bench\n\
         backend bench\n  server nginx {BACKEND}\n"
    );
    let config = write(folder, "haproxy.cfg", &text)?;
    let mut proxy = Process::start(
        &installed("haproxy"),
        &["-db", "-f", &config],
        PROXY_CPU,
        &folder.join("haproxy.log"),
    )?;
    proxy.wait_until("answer", || answers(HTTP1, HOST, "/"))?;
    Ok(Running::alone(proxy, HTTP1, HTTP2))
}
