//! What is measured: HAProxy and our proxy, before one nginx, each with the least configuration
//! that does the work.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::process::{Memory, Process, answers, listens};
use crate::tools;

/// The CPU of the proxy under test, and that of backend and load generator.
const PROXY_CPU: u8 = 0;
pub(super) const LOAD_CPU: u8 = 1;

/// What every request asks for.
pub(super) const HOST: &str = "bench:8080";

const BACKEND: &str = "127.90.2.1:8080";
const HAPROXY_HTTP1: &str = "127.90.3.1:15001";
const HAPROXY_HTTP2: &str = "127.90.3.1:15002";
const CLIENT: &str = "127.90.1.1";
const SIDECAR: &str = "127.90.1.1:15001";
const SIDECAR_HEALTH: &str = "127.90.1.1:15021";
const DISCOVERY: &str = "127.90.0.2:15012";
const DISCOVERY_ADMIN: &str = "127.90.0.2:15014";

/// A proxy to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    /// HAProxy with one thread
    Haproxy,
    /// Our proxy as a sidecar with one worker, metrics on
    Proxy,
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Haproxy => "haproxy",
            Self::Proxy => "proxy",
        })
    }
}

/// The nginx behind every subject.
#[derive(Debug)]
pub(super) struct Backend {
    _nginx: Process,
}

impl Backend {
    /// One process that answers with 1 KiB from memory and writes no log.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let body = "x".repeat(1024);
        let text = format!(
            "daemon off;\nmaster_process off;\nerror_log stderr;\npid {pid};\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  \
             keepalive_timeout 600s;\n  server {{\n    listen {BACKEND};\n    \
             location / {{ return 200 \"{body}\"; }}\n  }}\n}}\n",
            pid = folder.join("nginx.pid").display(),
        );
        let config = write(folder, "nginx.conf", &text)?;
        let arguments = ["-p", &folder.to_string_lossy(), "-c", &config];
        let log = folder.join("nginx.log");
        let mut nginx = Process::start(&installed("nginx"), &arguments, LOAD_CPU, &log)?;
        nginx.wait_until("answer", || answers(BACKEND, HOST, "/"))?;
        Ok(Self { _nginx: nginx })
    }
}

/// A started subject. Fields are ended in this order.
#[derive(Debug)]
pub(super) struct Running {
    proxy: Process,
    _control_plane: Option<Process>,
    http1: &'static str,
    http2: &'static str,
}

impl Running {
    pub(super) fn http1(&self) -> &'static str {
        self.http1
    }

    pub(super) fn http2(&self) -> &'static str {
        self.http2
    }

    pub(super) fn cpu_millis(&self) -> Result<f64> {
        self.proxy.cpu_millis()
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        self.proxy.memory()
    }
}

impl Subject {
    /// Starts the subject before the backend and waits until a request passes.
    pub(super) fn start(
        self,
        folder: &Path,
        programs: Option<&Path>,
        _before: &Backend,
    ) -> Result<Running> {
        match (self, programs) {
            (Self::Haproxy, _) => haproxy(folder),
            (Self::Proxy, programs) => {
                sidecar(folder, programs.context("the programs were not built")?)
            }
        }
    }
}

fn haproxy(folder: &Path) -> Result<Running> {
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  \
         timeout client 600s\n  timeout server 600s\n\
         frontend bench\n  bind {HAPROXY_HTTP1}\n  bind {HAPROXY_HTTP2} proto h2\n  \
         default_backend bench\n\
         backend bench\n  server nginx {BACKEND}\n"
    );
    let config = write(folder, "haproxy.cfg", &text)?;
    let log = folder.join("haproxy.log");
    let mut proxy = Process::start(
        &installed("haproxy"),
        &["-db", "-f", &config],
        PROXY_CPU,
        &log,
    )?;
    proxy.wait_until("answer", || answers(HAPROXY_HTTP1, HOST, "/"))?;
    Ok(Running {
        proxy,
        _control_plane: None,
        http1: HAPROXY_HTTP1,
        http2: HAPROXY_HTTP2,
    })
}

fn sidecar(folder: &Path, programs: &Path) -> Result<Running> {
    let objects = folder.join("config");
    fs::create_dir_all(&objects).context("folder of the configuration")?;
    write(&objects, "mesh.yaml", &mesh())?;
    let mut control_plane = Process::start(
        &programs.join("control-plane"),
        &[
            "serve",
            "--config-dir",
            &objects.to_string_lossy(),
            "--listen",
            DISCOVERY,
            "--admin",
            DISCOVERY_ADMIN,
        ],
        LOAD_CPU,
        &folder.join("control-plane.log"),
    )?;
    control_plane.wait_until("listening", || listens(DISCOVERY))?;
    let data = folder.join("sidecar");
    fs::create_dir_all(&data).context("folder of the sidecar")?;
    let mut proxy = Process::start(
        &programs.join("proxy"),
        &[
            "sidecar",
            "--workload",
            "default/client",
            "--address",
            CLIENT,
            "--control-plane",
            &format!("http://{DISCOVERY}"),
            "--data-dir",
            &data.to_string_lossy(),
            "--mode",
            "explicit",
            "--concurrency",
            "1",
        ],
        PROXY_CPU,
        &folder.join("proxy.log"),
    )?;
    proxy.wait_until("readiness", || {
        answers(SIDECAR_HEALTH, "health", "/healthz/ready")
    })?;
    proxy.wait_until("answer", || answers(SIDECAR, HOST, "/"))?;
    Ok(Running {
        proxy,
        _control_plane: Some(control_plane),
        http1: SIDECAR,
        http2: SIDECAR,
    })
}

/// One service with nginx behind it, and the workload whose sidecar is measured.
fn mesh() -> String {
    let backend = BACKEND.split(':').next().unwrap_or_default();
    format!(
        "\
apiVersion: v1
kind: Service
metadata:
  name: bench
  namespace: default
spec:
  selector:
    app: bench
  ports:
  - name: http
    port: 8080
    targetPort: 8080
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: bench
  namespace: default
spec:
  address: {backend}
  labels:
    app: bench
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: client
  namespace: default
spec:
  address: {CLIENT}
  labels:
    app: client
"
    )
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(path.to_string_lossy().into_owned())
}

fn installed(program: &str) -> PathBuf {
    tools::find(program).unwrap_or_else(|| PathBuf::from(program))
}
