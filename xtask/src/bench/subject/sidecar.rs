//! Our proxy as a sidecar with one worker, with the control plane of the same build.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{BACKEND, HOST, LOAD_CPU, PROXY_CPU, Running, write};
use crate::bench::process::{Process, answers, listens};

/// The addresses of one pair; two builds run beside each other.
#[derive(Debug)]
pub(super) struct Place {
    name: &'static str,
    client: &'static str,
    sidecar: &'static str,
    health: &'static str,
    discovery: &'static str,
    admin: &'static str,
}

/// Where today's build runs.
pub(super) const NOW: Place = Place {
    name: "proxy",
    client: "127.90.1.1",
    sidecar: "127.90.1.1:15001",
    health: "127.90.1.1:15021",
    discovery: "127.90.0.2:15012",
    admin: "127.90.0.2:15014",
};

/// Where an earlier build runs.
pub(super) const BEFORE: Place = Place {
    name: "before",
    client: "127.90.1.2",
    sidecar: "127.90.1.2:15001",
    health: "127.90.1.2:15021",
    discovery: "127.90.0.3:15012",
    admin: "127.90.0.3:15014",
};

/// Starts `control-plane` and `proxy` of a folder of programs.
pub(super) fn start(folder: &Path, programs: &Path, place: &Place) -> Result<Running> {
    let folder = folder.join(place.name);
    let (objects, data) = (folder.join("config"), folder.join("data"));
    for made in [&objects, &data] {
        fs::create_dir_all(made).with_context(|| made.display().to_string())?;
    }
    write(&objects, "mesh.yaml", &mesh(place))?;
    let control_plane = control_plane(&folder, programs, place, &objects)?;
    let mut proxy = Process::start(
        &programs.join("proxy"),
        &[
            "sidecar",
            "--workload",
            "default/client",
            "--address",
            place.client,
            "--control-plane",
            &format!("http://{}", place.discovery),
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
        answers(place.health, "health", "/healthz/ready")
    })?;
    proxy.wait_until("answer", || answers(place.sidecar, HOST, "/"))?;
    Ok(Running {
        proxy,
        _control_plane: Some(control_plane),
        http1: place.sidecar,
        http2: place.sidecar,
    })
}

fn control_plane(folder: &Path, programs: &Path, place: &Place, objects: &Path) -> Result<Process> {
    let mut process = Process::start(
        &programs.join("control-plane"),
        &[
            "serve",
            "--config-dir",
            &objects.to_string_lossy(),
            "--listen",
            place.discovery,
            "--admin",
            place.admin,
        ],
        LOAD_CPU,
        &folder.join("control-plane.log"),
    )?;
    process.wait_until("listening", || listens(place.discovery))?;
    Ok(process)
}

/// One service with nginx behind it, and the workload whose sidecar is measured.
fn mesh(place: &Place) -> String {
    let backend = BACKEND.split(':').next().unwrap_or_default();
    let client = place.client;
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
  address: {client}
  labels:
    app: client
"
    )
}
