//! Protection, cell by cell: what a compiled snapshot says about a port, what a socket meets there
//! and what the diagnostics tell is one and the same, for every level and mode, whatever carries
//! the bytes.
//!
//! The rules stand here a second time, in [`Case::refuses`], as plainly as they can be written.

#![cfg(test)]

#[path = "../../proxy/tests/support/client_hello.rs"]
mod client_hello;
#[path = "../../proxy/tests/support/mesh.rs"]
mod mesh;
#[path = "../../proxy/tests/support/redirected.rs"]
mod redirected;
#[path = "../../proxy/tests/support/servers.rs"]
mod servers;

#[path = "protection/probe.rs"]
mod probe;
#[path = "protection/town.rs"]
mod town;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use mesh_api::name::PolicyName;
use mesh_api::policy::PolicyRule;
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::snapshot::Snapshot;
use mesh_api::units::Port;
use proxy::bootstrap::Settings;

use mesh::TestProxy;
use probe::{Carrier, Seen, probe};
use town::{Base, Case, Level, Setup};

/// A port of the workload, what speaks there, and how it may be called.
struct Cell {
    port: u16,
    carrier: Carrier,
    /// Whether HTTP is told why it is refused; a port that is declared not to speak HTTP closes.
    told: bool,
}

const fn cell(port: u16, carrier: Carrier, told: bool) -> Cell {
    Cell {
        port,
        carrier,
        told,
    }
}

/// Declared by a Service: HTTP and bytes. Declared by nobody: with and without a mode of its own.
const SERVICES: [Cell; 9] = [
    cell(8080, Carrier::Http, true),
    cell(8080, Carrier::Tunnel, true),
    cell(9000, Carrier::Bytes, false),
    cell(7070, Carrier::Http, true),
    cell(7070, Carrier::Tunnel, true),
    cell(7070, Carrier::Bytes, false),
    cell(7072, Carrier::Http, true),
    cell(7072, Carrier::Tunnel, true),
    cell(7072, Carrier::Bytes, false),
];

/// Declared by a Sidecar's ingress: usable (HTTP, bytes), not usable (TLS, a unix socket); and
/// declared by nobody.
const INGRESS: [Cell; 10] = [
    cell(8443, Carrier::Http, true),
    cell(8443, Carrier::Tunnel, true),
    cell(8444, Carrier::Bytes, false),
    cell(8445, Carrier::Http, false),
    cell(8445, Carrier::Bytes, false),
    cell(8446, Carrier::Http, true),
    cell(8446, Carrier::Tunnel, true),
    cell(7070, Carrier::Http, true),
    cell(7072, Carrier::Tunnel, true),
    cell(7072, Carrier::Bytes, false),
];

/// Ports of a gateway.
const GATEWAY: [Cell; 4] = [
    cell(8880, Carrier::Http, true),
    cell(8880, Carrier::Tunnel, true),
    cell(8881, Carrier::Bytes, false),
    cell(8882, Carrier::Tls, false),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for mode in town::MODES {
        cases.push(Case::new(Level::Mesh, mode, Base::Open));
        for level in [Level::Namespace, Level::Workload, Level::Port] {
            for base in [Base::Open, Base::Strict] {
                cases.push(Case::new(level, mode, base));
            }
        }
    }
    for level in [
        Level::DenyMesh,
        Level::DenyNamespace,
        Level::DenyWorkload,
        Level::DenyGateway,
    ] {
        cases.push(Case::new(level, "", Base::Open));
    }
    cases
}

fn rule(snapshot: &Snapshot, setup: Setup, port: u16) -> PolicyRule {
    let name = PolicyName(setup.policy().into());
    let policy = snapshot.policy(&name).unwrap();
    policy.at(Port::new(port).unwrap()).clone()
}

/// What a cell shows, or what is wrong with it.
async fn check(
    (case, setup): (&Case, Setup),
    cell: &Cell,
    snapshot: &Snapshot,
    told: &town::Told,
) -> Result<bool, String> {
    let expected = case.refuses(setup, cell.port);
    let compiled = rule(snapshot, setup, cell.port);
    let says = matches!(compiled, PolicyRule::Refuse { .. });
    if says != expected {
        return Err(format!("the snapshot says {compiled:?}"));
    }
    if told.refuses(cell.port) != expected {
        return Err(format!("the diagnostics say {told:?}"));
    }
    let address = SocketAddr::new(setup.address(), cell.port);
    let seen = probe(address, cell.carrier).await;
    let right = match (&compiled, &seen) {
        (PolicyRule::Allow, Seen::Open) => true,
        (PolicyRule::Refuse { reason }, Seen::Told(text)) => cell.told && **reason == **text,
        (PolicyRule::Refuse { .. }, Seen::Closed) => !cell.told,
        (PolicyRule::Allow, Seen::Told(_) | Seen::Closed)
        | (PolicyRule::Refuse { .. }, Seen::Open) => false,
    };
    if right {
        Ok(says)
    } else {
        Err(format!("{compiled:?} and the socket sees {seen:?}"))
    }
}

fn settings(role: ProxyRole) -> Settings {
    Settings {
        role,
        mode: match role {
            ProxyRole::Sidecar => CaptureMode::OriginalDestination,
            ProxyRole::Gateway => CaptureMode::Explicit,
        },
        ..mesh::settings()
    }
}

async fn matrix() {
    probe::applications().await;
    let mut sidecar = TestProxy::with(settings(ProxyRole::Sidecar));
    let mut gateway = TestProxy::with(settings(ProxyRole::Gateway));
    let (mut wrong, mut refused, mut open) = (Vec::new(), 0, 0);
    let mut combinations = BTreeSet::new();
    for case in cases() {
        for (setup, cells) in [
            (Setup::Services, &SERVICES[..]),
            (Setup::Ingress, &INGRESS[..]),
            (Setup::Gateway, &GATEWAY[..]),
        ] {
            let (resources, told) = town::compile(&case, setup);
            let snapshot = Snapshot::of(resources.clone()).unwrap();
            let proxy = match setup {
                Setup::Services | Setup::Ingress => &mut sidecar,
                Setup::Gateway => &mut gateway,
            };
            proxy.apply(resources).await;
            for cell in cells {
                let place = format!("{case:?} {setup:?} {} {:?}", cell.port, cell.carrier);
                match check((&case, setup), cell, &snapshot, &told).await {
                    Ok(true) => refused += 1,
                    Ok(false) => open += 1,
                    Err(what) => wrong.push(format!("{place}: {what}")),
                }
                combinations.insert(place);
            }
        }
    }
    println!(
        "{} cells: {open} open, {refused} refused, {} wrong",
        combinations.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(combinations.len() >= 300, "{} cells", combinations.len());
    assert!(
        open >= 100 && refused >= 100,
        "{open} open, {refused} refused"
    );
}

#[test]
fn snapshot_socket_and_diagnostics_agree_in_every_cell() {
    if let Some(reason) = redirected::missing() {
        let test = "snapshot_socket_and_diagnostics_agree_in_every_cell";
        return redirected::skipped(test, &reason);
    }
    redirected::redirected(matrix);
}
