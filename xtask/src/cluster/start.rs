//! Starts the cluster, or what is missing of it, and waits until pods can run in it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::assets::{self, Assets};
use super::components::{self, Invocation};
use super::configuration::{self, Values};
use super::layout::{self, Layout};
use super::process::{self, wait_for};
use super::progress::step;
use super::{Options, Running, dns, network, pods, remains, shims, stop};
use crate::image::oci::{Archive, Entry, Image};
use crate::tools::{self, Tool};

/// The programs that come with Debian.
const TOOLS: &[Tool] = &[
    tool("etcd", "etcd-server", "keeps the state of the cluster"),
    tool("containerd", "containerd", "runs containers"),
    tool("ctr", "containerd", "imports images"),
    tool("runc", "runc", "starts containers"),
    tool(
        "/usr/lib/cni/bridge",
        "containernetworking-plugins",
        "connects pods",
    ),
    tool("iptables", "iptables", "lets pods reach the node"),
    tool(
        "conntrack",
        "conntrack",
        "forgets connections to ended pods",
    ),
    tool("nft", "nftables", "spreads connections to Services"),
    tool("ip", "iproute2", "makes network interfaces"),
    tool("umount", "mount", "mounts volumes"),
    tool("setsid", "util-linux", "starts the components"),
];

const fn tool(program: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool {
        program,
        package,
        purpose,
    }
}

const KUBELET_PORT: u16 = 10250;

/// How long each wait may take on a machine that is busy with builds.
const LIMIT: Duration = Duration::from_mins(2);

/// Starts the cluster, or what is missing of it, and returns when it is ready.
pub(crate) fn up(options: &Options) -> Result<Running> {
    let layout = Layout::new(options.state.as_deref())?;
    stop::require_root()?;
    let _lock = stop::lock(&layout)?;
    if is_complete(&layout) {
        return Ok(Running::of(&layout));
    }
    let has_etcd = assets::etcd().is_some();
    let needed: Vec<Tool> = TOOLS
        .iter()
        .copied()
        .filter(|tool| !(has_etcd && tool.program == "etcd"))
        .collect();
    let lacking = tools::install_missing(&needed)?;
    if !lacking.is_empty() {
        bail!("{}", tools::explain(&lacking));
    }
    let assets = assets::provide()?;
    start(&layout, &assets, options).with_context(|| {
        format!(
            "the cluster could not be started; the logs are in {}. `cargo xtask cluster down` \
             removes what there is of it, then try again",
            layout.logs().display()
        )
    })?;
    Ok(Running::of(&layout))
}

fn is_complete(layout: &Layout) -> bool {
    components::NAMES
        .iter()
        .all(|name| process::running(layout, name).is_some())
        && is_node_ready(layout)
        && dns::answers()
}

fn start(layout: &Layout, assets: &Assets, options: &Options) -> Result<()> {
    let (pause, dns) = (pause_image(assets)?, dns_image(assets)?);
    let images = [&pause, &dns];
    step("prepare the machine", |_| {
        prepare(layout, assets, images, options)
    })?;
    step("start etcd", |_| {
        let program = assets::etcd().context("etcd")?;
        launch(layout, "etcd", components::etcd(layout, program))?;
        wait_for(layout, "etcd", LIMIT, || accepts(layout::ETCD))
    })?;
    // The slowest to start goes first; containerd gets its images meanwhile.
    let api = components::api_server(layout, assets);
    launch(layout, "kube-apiserver", api)?;
    step("start containerd and import images", |_| {
        start_containerd(layout, images)
    })?;
    step("start the API server", |_| {
        wait_for(layout, "kube-apiserver", LIMIT, || {
            ask(layout, &["get", "--raw", "/readyz"]).is_some_and(|answer| answer == "ok")
        })
    })?;
    step("start the node", |_| {
        let controllers = components::controller_manager(layout, assets);
        launch(layout, "kube-controller-manager", controllers)?;
        launch(
            layout,
            "kube-scheduler",
            components::scheduler(layout, assets),
        )?;
        launch(layout, "kubelet", components::kubelet(layout, assets))?;
        launch(layout, "kube-proxy", components::proxy(layout, assets))?;
        let manifest = layout.configuration().join("dns.yaml");
        let manifest = manifest.display().to_string();
        kubectl(
            layout,
            &[
                "apply",
                "--server-side",
                "--force-conflicts",
                "-f",
                &manifest,
            ],
        )?;
        wait_for(layout, "kubelet", LIMIT, || is_node_ready(layout))
    })?;
    step("start the DNS server", |_| {
        let waited = wait_for(layout, "kube-proxy", LIMIT, dns::answers);
        waited.with_context(|| dns_report(layout))
    })?;
    for name in components::NAMES {
        if process::running(layout, name).is_none() {
            bail!("{name} has ended; {}", process::tail(layout, name));
        }
    }
    Ok(())
}

/// Everything that must be there before the first process.
fn prepare(
    layout: &Layout,
    assets: &Assets,
    images: [&Archive; 2],
    options: &Options,
) -> Result<()> {
    network::require_free_addresses()?;
    remains::note(layout)?;
    for folder in [layout.logs(), layout.root().join("run")] {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // Keys for everything: nobody else may look.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(layout.root(), mode)?;
    remains::change_settings()?;
    pods::make_control_groups(layout)?;
    network::add_node_address()?;
    if !layout.kubeconfig().is_file() {
        make_credentials(layout, assets)?;
    }
    let [pause, dns] = images;
    configuration::write(&Values {
        layout,
        pause_image: pause.reference(),
        dns_image: dns.reference(),
        upstream: &options.upstream_dns,
    })?;
    // Not by the PATH: our own `ctr` may come first there, and would call itself.
    let ctr = containerd()?.with_file_name("ctr");
    shims::write(layout, assets, &ctr)
}

fn make_credentials(layout: &Layout, assets: &Assets) -> Result<()> {
    let addresses = [
        layout::NODE_ADDRESS,
        layout::API_SERVICE_ADDRESS,
        "127.0.0.1",
    ];
    let output = Command::new(&assets.credentials)
        .arg("-folder")
        .arg(layout.certificates())
        .args(["-node", layout::NODE, "-addresses", &addresses.join(",")])
        .arg("-server")
        .arg(format!("{}:{}", layout::NODE_ADDRESS, layout::API_PORT))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} could not be started", assets.credentials.display()))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("the certificates could not be made: {}", message.trim());
    }
    Ok(())
}

fn pause_image(assets: &Assets) -> Result<Archive> {
    image("pause", "/pause", &assets.pause)
}

fn dns_image(assets: &Assets) -> Result<Archive> {
    image("coredns", "/coredns", &assets.dns)
}

/// An image of one static program.
fn image(name: &str, path: &str, program: &Path) -> Result<Archive> {
    let image = Image {
        name: name.to_owned(),
        layers: vec![vec![Entry::program(path, program)]],
        entrypoint: vec![path.to_owned()],
        ..Image::default()
    };
    image.archive()
}

fn launch(layout: &Layout, name: &str, invocation: Invocation) -> Result<()> {
    let (program, arguments) = invocation;
    process::start(layout, name, &program, &arguments)
}

fn start_containerd(layout: &Layout, images: [&Archive; 2]) -> Result<()> {
    let invocation = components::containerd(layout, containerd()?);
    launch(layout, "containerd", invocation)?;
    wait_for(layout, "containerd", LIMIT, || {
        ctr(layout, &["version"]).is_ok()
    })?;
    let present = ctr(layout, &["images", "list", "--quiet"])?;
    for image in images {
        if present.lines().any(|name| name == image.reference()) {
            continue;
        }
        let file = layout.root().join("run/image.tar");
        image.write_to(&file)?;
        ctr(layout, &["images", "import", &file.display().to_string()])?;
        fs::remove_file(&file)?;
    }
    Ok(())
}

fn containerd() -> Result<PathBuf> {
    tools::find("containerd").context("containerd is not installed")
}

fn accepts(address: &str) -> bool {
    address.parse().is_ok_and(|address: SocketAddr| {
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    })
}

fn ctr(layout: &Layout, arguments: &[&str]) -> Result<String> {
    let mut all = vec!["--connect-timeout=5s", "--timeout=60s"];
    all.extend(arguments);
    execute(&layout.bin().join("ctr"), &all)
}

fn kubectl(layout: &Layout, arguments: &[&str]) -> Result<String> {
    let kubeconfig = layout.kubeconfig().display().to_string();
    let mut all = vec!["--kubeconfig", &kubeconfig, "--request-timeout=10s"];
    all.extend(arguments);
    execute(&layout.bin().join("kubectl"), &all)
}

/// Asks the API server; `None` for every failure.
fn ask(layout: &Layout, arguments: &[&str]) -> Option<String> {
    kubectl(layout, arguments).ok()
}

fn execute(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} could not be started", program.display()))?;
    if !output.status.success() {
        bail!(
            "`{} {}` failed: {}",
            program.display(),
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether pods can be placed on the node.
pub(super) fn is_node_ready(layout: &Layout) -> bool {
    // What the API says of a node that died is wrong for a while.
    if !accepts(&format!("{}:{KUBELET_PORT}", layout::NODE_ADDRESS)) {
        return false;
    }
    let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status} {.spec.taints[*].key}";
    let node = ["get", "node", layout::NODE, "-o", path];
    ask(layout, &node).is_some_and(|answer| answer.trim() == "True")
}

/// What is known of a DNS server that does not start.
fn dns_report(layout: &Layout) -> String {
    let pods = [
        "-n",
        "kube-system",
        "describe",
        "pods",
        "-l",
        "k8s-app=kube-dns",
    ];
    let told = ask(layout, &pods).unwrap_or_default();
    let lines: Vec<&str> = told.lines().collect();
    let last = lines.len().saturating_sub(15);
    let shown: Vec<&str> = lines.into_iter().skip(last).collect();
    format!("the DNS server is not ready:\n{}", shown.join("\n"))
}
