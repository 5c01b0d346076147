//! Which processes make up the mesh, and on which addresses. The YAML in `examples/shop`
//! says the same in the mesh's own words.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::MeshOptions;
use super::instance::Instance;

/// The control plane's name.
pub(crate) const CONTROL_PLANE: &str = "control-plane";

/// Stands for the mesh's own folder in arguments, which is made only after the ports are
/// known to be free.
pub(crate) const FOLDER: &str = "{folder}";

/// One process.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) ports: Vec<SocketAddr>,
    pub(crate) probe: (SocketAddr, &'static str),
}

/// Where the three binaries are.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    control_plane: PathBuf,
    proxy: PathBuf,
    shop: PathBuf,
}

/// One workload of the shop: its sidecar and its application.
struct Workload {
    name: &'static str,
    tier: &'static str,
    version: &'static str,
    /// Third and fourth byte of the sidecar's address; the application has the fourth plus
    /// one hundred.
    place: (u8, u8),
    grpc: bool,
    tcp: bool,
}

const WORKLOADS: [Workload; 4] = [
    Workload {
        name: "frontend-1",
        tier: "frontend",
        version: "v1",
        place: (1, 1),
        grpc: false,
        tcp: false,
    },
    Workload {
        name: "backend-v1",
        tier: "backend",
        version: "v1",
        place: (2, 1),
        grpc: true,
        tcp: false,
    },
    Workload {
        name: "backend-v2",
        tier: "backend",
        version: "v2",
        place: (2, 2),
        grpc: true,
        tcp: false,
    },
    Workload {
        name: "store-1",
        tier: "store",
        version: "v1",
        place: (3, 1),
        grpc: false,
        tcp: true,
    },
];

/// The ports a proxy has for itself on its address.
const PROXY_PORTS: [u16; 4] = [15000, 15020, 15021, 15090];

/// Finds the binaries in `folder`, or beside the running executable.
pub(crate) fn find_binaries(folder: Option<&Path>) -> anyhow::Result<Binaries> {
    let folder = folder.map_or_else(beside_this_executable, |folder| Ok(folder.to_path_buf()))?;
    let find = |name: &str| {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
        bail!(
            "the binary {} is missing: build it first, for example with \
             `cargo build -p control-plane -p proxy -p examples --bins`",
            path.display()
        )
    };
    Ok(Binaries {
        control_plane: find("control-plane")?,
        proxy: find("proxy")?,
        shop: find("shop")?,
    })
}

fn beside_this_executable() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.parent().unwrap_or(Path::new("."));
    // A test's executable is one level below the binaries.
    let is_test = beside.file_name().is_some_and(|name| name == "deps");
    Ok(beside
        .parent()
        .filter(|_| is_test)
        .unwrap_or(beside)
        .to_path_buf())
}

/// All processes of one mesh.
pub(super) fn parts(instance: &Instance, binaries: &Binaries, options: &MeshOptions) -> Vec<Part> {
    let mut parts = vec![
        control_plane(instance.ip(0, 2), binaries),
        gateway(instance, binaries, options),
    ];
    for workload in &WORKLOADS {
        parts.push(sidecar(instance, binaries, options, workload));
        parts.push(app(instance, binaries, workload));
    }
    parts
}

/// The control plane as a process at an address of its own.
pub(crate) fn control_plane(address: Ipv4Addr, binaries: &Binaries) -> Part {
    let (stream, admin) = (
        SocketAddr::from((address, 15012)),
        SocketAddr::from((address, 15014)),
    );
    Part {
        name: CONTROL_PLANE.to_owned(),
        address,
        binary: binaries.control_plane.clone(),
        arguments: words(&[
            "serve",
            "--config-dir",
            &format!("{FOLDER}/config"),
            "--listen",
            &stream.to_string(),
            "--admin",
            &admin.to_string(),
        ]),
        ports: vec![stream, admin],
        probe: (admin, "/ready"),
    }
}

/// The control plane as it runs on Kubernetes, before the API server of this kubeconfig.
pub(crate) fn control_plane_of_cluster(
    address: Ipv4Addr,
    binaries: &Binaries,
    kubeconfig: &Path,
) -> Part {
    let at = |port| SocketAddr::from((address, port));
    let [stream, monitoring, probes, webhook] = [15012, 15014, 8080, 15017].map(at);
    Part {
        name: CONTROL_PLANE.to_owned(),
        address,
        binary: binaries.control_plane.clone(),
        arguments: words(&[
            "kubernetes",
            "--kubeconfig",
            &kubeconfig.to_string_lossy(),
            "--listen",
            &stream.to_string(),
            "--monitoring",
            &monitoring.to_string(),
            "--probes",
            &probes.to_string(),
            "--webhook",
            &webhook.to_string(),
        ]),
        ports: vec![stream, monitoring, probes, webhook],
        probe: (probes, "/ready"),
    }
}

fn gateway(instance: &Instance, binaries: &Binaries, options: &MeshOptions) -> Part {
    Proxy {
        name: "istio-ingressgateway-1",
        role: "gateway",
        workload: "istio-system/istio-ingressgateway-1",
        address: instance.ip(0, 1),
        control_plane: (instance.ip(0, 2), 15012).into(),
        serving: &[8080],
    }
    .part(binaries, options)
}

fn sidecar(
    instance: &Instance,
    binaries: &Binaries,
    options: &MeshOptions,
    workload: &Workload,
) -> Part {
    let mut ports = vec![8080, 15001];
    if workload.grpc {
        ports.push(9090);
    }
    // The store takes TCP in on this port; everybody else has the way out to it there.
    ports.push(7000);
    Proxy {
        name: workload.name,
        role: "sidecar",
        workload: &format!("shop/{}", workload.name),
        address: instance.ip(workload.place.0, workload.place.1),
        control_plane: (instance.ip(0, 2), 15012).into(),
        serving: &ports,
    }
    .part(binaries, options)
}

/// A proxy as a process.
#[derive(Debug)]
pub(crate) struct Proxy<'a> {
    /// What it is called here, in logs for example.
    pub(crate) name: &'a str,
    /// `sidecar` or `gateway`.
    pub(crate) role: &'a str,
    /// `NAMESPACE/NAME`.
    pub(crate) workload: &'a str,
    pub(crate) address: Ipv4Addr,
    /// Where the control plane's stream is.
    pub(crate) control_plane: SocketAddr,
    /// The ports its configuration makes it listen at.
    pub(crate) serving: &'a [u16],
}

impl Proxy<'_> {
    pub(crate) fn part(&self, binaries: &Binaries, options: &MeshOptions) -> Part {
        let arguments = words(&[
            self.role,
            "--workload",
            self.workload,
            "--address",
            &self.address.to_string(),
            "--control-plane",
            &format!("http://{}", self.control_plane),
            "--data-dir",
            &format!("{FOLDER}/data/{}", self.name),
            "--mode",
            "explicit",
            "--concurrency",
            &options.concurrency.to_string(),
            "--access-log",
            &options.access_log,
            "--min-drain",
            &options.min_drain,
            "--drain-timeout",
            &options.drain_timeout,
        ]);
        let ports = PROXY_PORTS.iter().chain(self.serving);
        Part {
            name: self.name.to_owned(),
            address: self.address,
            binary: binaries.proxy.clone(),
            arguments,
            ports: ports.map(|&port| (self.address, port).into()).collect(),
            probe: ((self.address, 15021).into(), "/healthz/ready"),
        }
    }
}

fn app(instance: &Instance, binaries: &Binaries, workload: &Workload) -> Part {
    let (third, fourth) = workload.place;
    let sidecar = instance.ip(third, fourth);
    let address = instance.ip(third, fourth + 100);
    let listen = SocketAddr::from((address, 8080));
    let mut arguments = words(&[
        workload.tier,
        "--listen",
        &listen.to_string(),
        "--version",
        workload.version,
        "--name",
        workload.name,
        "--upstream-proxy",
        &format!("http://{sidecar}:15001"),
    ]);
    let mut ports = vec![listen];
    for (wanted, flag, port) in [
        (workload.grpc, "--grpc-listen", 9090),
        (workload.tcp, "--tcp-listen", 7000),
    ] {
        if wanted {
            let address = SocketAddr::from((address, port));
            arguments.extend([flag.to_owned(), address.to_string()]);
            ports.push(address);
        }
    }
    Part {
        name: format!("{}-app", workload.name),
        address,
        binary: binaries.shop.clone(),
        arguments,
        ports,
        probe: (listen, "/control"),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
