//! Every kind of listener that speaks HTTP/2, asked by `h2spec` whether it keeps to RFC 9113 and
//! RFC 7541: all its cases, strict ones included, against real processes.

#![cfg(test)]

#[path = "support/http.rs"]
mod http_support;
#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/process.rs"]
mod process;
#[path = "support/shop.rs"]
mod shop;
#[path = "support/skipped.rs"]
mod skipping;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use http::Response;
use http_body_util::BodyExt as _;
use http_support::{Upstream, body};
use mesh_api::cluster::UpstreamProtocol;
use mesh_api::listener::{
    GatewayProtocol, InboundProtocol, ListenerKind, Outbound, RouteSelection,
};
use mesh_api::name::RouteScope;
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::resource::Resource;
use mesh_api::route::{Domain, VirtualHost};
use mesh_api::units::Port;
use process::Process;
use shop::{PORT, SHOP, always, cluster, endpoints, forward, inbound_as, routes};

/// Names the program; `cargo xtask test` builds it.
const VARIABLE: &str = "MESH_H2SPEC";

/// Cases that fail by our choice: the case, and why it is right to fail it.
const EXCEPTIONS: [(&str, &str); 1] = [(
    "http2/3.5: Sends invalid connection preface",
    "a listener speaks HTTP/1.1, too (RFC 9113 section 3.3 leaves that to prior knowledge): what does \
     not begin with the preface is a request of HTTP/1.1, and one without a request line is answered \
     400 and closed (RFC 9112 section 3)",
)];

/// Cases there are; fewer means that not all were asked.
const CASES: usize = 146;

/// What came of one listener.
#[derive(Debug, Default)]
struct Outcome {
    passed: usize,
    /// Section and case.
    failed: BTreeSet<String>,
}

impl Outcome {
    /// Reads the report that `h2spec` writes, in the format of JUnit.
    fn read(report: &str) -> Self {
        let mut outcome = Self::default();
        for case in report.split("<testcase ").skip(1) {
            let case = case.split("</testcase>").next().unwrap();
            let attribute = |name: &str| {
                let (_, rest) = case.split_once(&format!("{name}=\"")).unwrap();
                rest.split('"').next().unwrap().to_owned()
            };
            let bad = ["<error>", "<failure>", "<skipped"];
            if bad.iter().any(|mark| case.contains(mark)) {
                let name = format!("{}: {}", attribute("package"), attribute("classname"));
                outcome.failed.insert(name);
            } else {
                outcome.passed += 1;
            }
        }
        outcome
    }
}

/// Routes for every host: the client names the address it has called.
fn everything(port: Port) -> Resource {
    let Resource::Routes(shop) = routes(SHOP, vec![always(forward(SHOP))]) else {
        unreachable!("they are routes");
    };
    let mut any = VirtualHost::clone(&shop);
    any.name.scope = RouteScope::port(port);
    any.domains = vec![Domain::Any];
    Resource::Routes(Arc::new(any))
}

fn ask(program: &Path, address: SocketAddr) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let output = Command::new(program)
        .args(["--strict", "--timeout", "5"])
        .args(["--host", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .arg("--junit-report")
        .arg(&report)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let report = std::fs::read_to_string(&report);
    Outcome::read(&report.unwrap_or_else(|error| panic!("no report ({error}): {said}")))
}

/// A gateway and a sidecar before `application`, and their listeners.
fn proxies(application: SocketAddr) -> (Vec<Process>, Vec<(&'static str, SocketAddr)>) {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (gateway, outbound) = (at("127.77.4.1:8080"), at("127.77.4.2:15080"));
    let inner = at("127.77.4.2:8080");
    let scope = RouteScope::port(Port::new(PORT).unwrap());
    let mut shop = cluster(SHOP);
    shop.protocol = UpstreamProtocol::Http1;
    let outer = [
        Resource::Cluster(Arc::new(shop)),
        endpoints(SHOP, &[application]),
        everything(scope.port),
    ];
    let listener = |name: &str, address, kind| mesh::listener(name, address, kind);
    let edge = GatewayProtocol::Http {
        scope: scope.clone(),
        https_redirect: Vec::new(),
    };
    let of_gateway = [
        outer.to_vec(),
        vec![listener("gateway", gateway, mesh::gateway(edge))],
    ];
    let calls = Outbound::http(RouteSelection::Scope(scope));
    let of_sidecar = [
        outer.to_vec(),
        vec![
            listener("outbound", outbound, ListenerKind::Outbound(calls)),
            inbound_as(InboundProtocol::Http2, inner, application, mesh::OPEN),
        ],
    ];
    let start = |role: (ProxyRole, &str), address: &str, resources: Vec<Resource>| {
        let data = Process::data_of(role.0, CaptureMode::Explicit, resources);
        let mut process = Process::start_as(role.1, &[], (address, data), &[]);
        process.wait_ready();
        process
    };
    let gateways = (ProxyRole::Gateway, "gateway");
    let sidecars = (ProxyRole::Sidecar, "sidecar");
    let processes = vec![
        start(gateways, "127.77.4.1", of_gateway.concat()),
        start(sidecars, "127.77.4.2", of_sidecar.concat()),
    ];
    let listeners = vec![
        ("gateway", gateway),
        ("outbound", outbound),
        ("inbound", inner),
    ];
    (processes, listeners)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_no_fault_with_any_kind_of_listener() {
    let Some(program) = std::env::var_os(VARIABLE) else {
        let reason = format!("{VARIABLE} names no h2spec; `cargo xtask test h2spec` builds one");
        return skipping::skipped("h2spec", &reason);
    };
    let application = Upstream::serve(|request, _| async move {
        drop(request.into_body().collect().await);
        Response::new(body(
            "a few words, more than one frame of one byte could hold",
        ))
    })
    .await;
    let judged = tokio::task::spawn_blocking(move || {
        let (processes, listeners) = proxies(application.address);
        let (mut table, mut wrong) = (String::new(), Vec::new());
        for (name, address) in listeners {
            let outcome = ask(Path::new(&program), address);
            let by_choice = |case: &str| EXCEPTIONS.iter().any(|(excepted, _)| *excepted == case);
            let (excepted, failed): (Vec<_>, Vec<_>) =
                outcome.failed.iter().partition(|case| by_choice(case));
            writeln!(
                table,
                "h2spec at {name}: {} passed, {} failed, {} failed by choice",
                outcome.passed,
                failed.len(),
                excepted.len()
            )
            .unwrap();
            wrong.extend(failed.iter().map(|case| format!("{name}: {case}")));
            if outcome.passed + outcome.failed.len() != CASES {
                wrong.push(format!("{name}: not all {CASES} cases were asked"));
            }
            for (case, reason) in EXCEPTIONS {
                if !outcome.failed.contains(case) {
                    wrong.push(format!(
                        "{name}: {case} passes by now; it was said: {reason}"
                    ));
                }
            }
        }
        drop(processes);
        (table, wrong)
    });
    let (table, wrong) = judged.await.unwrap();
    // Past the harness, which keeps what is printed by a test that passes.
    std::io::stderr().write_all(table.as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{table}{}", wrong.join("\n"));
}
