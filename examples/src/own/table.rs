//! What is printed: the table of addresses, and lines about what happens.

use std::fmt::Write as _;
use std::io::Write as _;

use mesh_api::proxy::ProxyRole;
use mesh_api::workload::WorkloadId;

use super::plan::{Plan, Planned, Way};

/// A line for the user.
pub(super) fn say(line: &str) {
    // Whoever reads may have seen enough; the mesh goes on.
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Where everything is.
pub(super) fn whole(plan: &Plan, admin: std::net::SocketAddr) -> String {
    let mut out = String::new();
    for (id, proxy) in &plan.proxies {
        out.push_str(&of(id, proxy));
    }
    // Writing to a String cannot fail.
    let _written = writeln!(
        out,
        "control plane\n  findings                http://{admin}/debug/diagnostics\n  \
         who has what            http://{admin}/debug/syncz"
    );
    out
}

/// Where one proxy is.
pub(super) fn of(id: &WorkloadId, proxy: &Planned) -> String {
    let mut out = format!("{} {id}\n", proxy.role.name());
    let mut line = |what: &str, value: String| {
        let _written = writeln!(out, "  {what:<23} {value}");
    };
    for way in &proxy.ways {
        match way {
            Way::FromOutside(socket, spoken) => {
                line("call from outside", format!("{socket} ({spoken})"));
            }
            Way::In(socket, Some(application)) => {
                line("others call", socket.to_string());
                line("application listens", application.to_string());
            }
            Way::In(socket, None) => line("others call", socket.to_string()),
            // A gateway's own way out is nobody's to use.
            Way::OutHttp(_) | Way::OutTcp(..) if proxy.role == ProxyRole::Gateway => {}
            Way::OutHttp(socket) => {
                line("application calls", format!("http_proxy=http://{socket}"));
            }
            Way::OutTcp(socket, to) => line("application calls", format!("{socket} for {to}")),
        }
    }
    let nothing_in = !proxy
        .ways
        .iter()
        .any(|way| matches!(way, Way::In(..) | Way::FromOutside(..)));
    if nothing_in {
        let why = match proxy.role {
            ProxyRole::Sidecar => "none: no Sidecar with an ingress of captureMode NONE",
            ProxyRole::Gateway => "none: its Gateways have no server that can be bound",
        };
        line("ports", why.to_owned());
    }
    line("admin", format!("http://{}:15000", proxy.address));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_where_to_call_and_where_to_listen() {
        let proxy = Planned {
            role: ProxyRole::Sidecar,
            address: "127.80.1.1".parse().unwrap(),
            ways: vec![
                Way::In(
                    "127.80.1.1:8080".parse().unwrap(),
                    Some("127.80.1.101:8080".parse().unwrap()),
                ),
                Way::OutHttp("127.80.1.1:15001".parse().unwrap()),
                Way::OutTcp("127.80.1.1:7000".parse().unwrap(), "store".to_owned()),
            ],
        };
        let text = of(&"shop/web-1".parse().unwrap(), &proxy);
        for expected in [
            "sidecar shop/web-1\n",
            "others call             127.80.1.1:8080\n",
            "application listens     127.80.1.101:8080\n",
            "application calls       http_proxy=http://127.80.1.1:15001\n",
            "application calls       127.80.1.1:7000 for store\n",
            "admin                   http://127.80.1.1:15000\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        assert!(!text.contains("none:"));
        let closed = Planned {
            ways: Vec::new(),
            ..proxy
        };
        assert!(of(&"shop/web-1".parse().unwrap(), &closed).contains("captureMode NONE"));
    }
}
