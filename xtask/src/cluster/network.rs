//! The addresses of the cluster on this machine, and the packet filter rules that the network
//! plugins and kube-proxy leave behind.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::layout;
use crate::tools;

/// The tables that the network plugins write to.
const TABLES: [&str; 2] = ["nat", "filter"];
/// What kube-proxy makes, and nobody else.
const PROXY_TABLES: [&str; 2] = ["ip kube-proxy", "ip6 kube-proxy"];
/// What using `iptables` makes.
const LEGACY_TABLES: [&str; 4] = ["ip nat", "ip filter", "ip6 nat", "ip6 filter"];

/// Runs a program of the system; its output if it succeeds.
pub(super) fn output(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String> {
    use std::io::Write;

    let path = tools::find(program).with_context(|| format!("`{program}` is not installed"))?;
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{program}` could not be started"))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes())?;
    }
    let finished = child.wait_with_output()?;
    if !finished.status.success() {
        bail!(
            "`{program} {}` failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&finished.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

/// Fails if somebody else uses the addresses of the cluster.
pub(super) fn require_free_addresses() -> Result<()> {
    let routes = output("ip", &["-4", "-o", "route", "show", "table", "all"], None)?;
    let Some(route) = clash(&routes) else {
        return Ok(());
    };
    bail!(
        "this machine already has a route into the cluster's addresses ({}, {}, {}): `{route}`. \
         Another cluster or a VPN uses them; end it first, or `cargo xtask cluster down` with the \
         --state of the cluster that does",
        layout::NODE_ADDRESS,
        layout::POD_RANGE,
        layout::SERVICE_RANGE
    )
}

/// A route of somebody else for a part of what is ours. Wider ones do no harm: ours win.
fn clash(routes: &str) -> Option<&str> {
    let ours: Vec<(u32, u32)> = [
        layout::NODE_ADDRESS,
        layout::POD_RANGE,
        layout::SERVICE_RANGE,
    ]
    .iter()
    .filter_map(|range| parse_range(range))
    .collect();
    let own_devices = [layout::NODE_BRIDGE, layout::POD_BRIDGE];
    routes.lines().map(str::trim).find(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let device = words.iter().skip_while(|word| **word != "dev").nth(1);
        if device.is_some_and(|name| own_devices.contains(name)) {
            return false;
        }
        let kinds = [
            "local",
            "broadcast",
            "unreachable",
            "blackhole",
            "multicast",
        ];
        let destination = words.iter().find(|word| !kinds.contains(word));
        destination
            .and_then(|text| parse_range(text))
            .is_some_and(|(address, length)| {
                ours.iter().any(|(start, size)| {
                    length >= *size && (u64::from(address ^ start) >> (32 - size)) == 0
                })
            })
    })
}

/// Address and prefix length.
fn parse_range(text: &str) -> Option<(u32, u32)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, length.parse().ok()?),
        None => (text, 32),
    };
    let address: Ipv4Addr = address.parse().ok()?;
    (length <= 32).then_some((address.into(), length))
}

fn has_link(name: &str) -> bool {
    output("ip", &["link", "show", "dev", name], None).is_ok()
}

/// Gives the node an address of its own. A bridge without ports can hold one on any kernel,
/// while dummy interfaces are often left out.
pub(super) fn add_node_address() -> Result<()> {
    if !has_link(layout::NODE_BRIDGE) {
        output(
            "ip",
            &["link", "add", layout::NODE_BRIDGE, "type", "bridge"],
            None,
        )?;
    }
    let address = format!("{}/32", layout::NODE_ADDRESS);
    let device = layout::NODE_BRIDGE;
    output("ip", &["addr", "replace", &address, "dev", device], None)?;
    output("ip", &["link", "set", device, "up"], None)?;
    // Service addresses exist in rules only. The route keeps a connection to one from leaving
    // the machine, and lets machines without a default route reach them at all.
    let route = [
        "route",
        "replace",
        layout::SERVICE_RANGE,
        "dev",
        device,
        "src",
        layout::NODE_ADDRESS,
    ];
    output("ip", &route, None)?;
    Ok(())
}

/// Removes the interfaces of the cluster; their addresses and routes go with them.
pub(super) fn remove_interfaces() -> Result<()> {
    if has_link(layout::POD_BRIDGE) {
        let arguments = ["-o", "link", "show", "master", layout::POD_BRIDGE];
        // Those of pods whose namespaces are gone go by themselves, maybe just now.
        for name in port_names(&output("ip", &arguments, None)?) {
            if has_link(name) && output("ip", &["link", "delete", name], None).is_err() {
                eprintln!("note: the interface {name} could not be removed, or went by itself");
            }
        }
    }
    for name in [layout::POD_BRIDGE, layout::NODE_BRIDGE] {
        if has_link(name) {
            output("ip", &["link", "delete", name], None)?;
        }
    }
    Ok(())
}

/// The interfaces in a listing of `ip -o link`, whose lines are like `7: veth1@if2: <UP> …`.
fn port_names(listing: &str) -> impl Iterator<Item = &str> {
    listing.lines().filter_map(|line| {
        let name = line.split(": ").nth(1)?;
        name.split('@').next()
    })
}

/// The chains of network plugins that are there now, each as `table chain`.
pub(super) fn plugin_chains() -> BTreeSet<String> {
    let mut chains = BTreeSet::new();
    for table in TABLES {
        // Without iptables there are no chains of it.
        let rules = output("iptables-save", &["-t", table], None).unwrap_or_default();
        let names = rules.lines().filter_map(chain_name);
        chains.extend(names.map(|chain| format!("{table} {chain}")));
    }
    chains
}

/// The chain that a line of `iptables-save` declares, if it is one of a network plugin.
fn chain_name(line: &str) -> Option<&str> {
    let name = line.strip_prefix(':')?.split(' ').next()?;
    name.starts_with("CNI-").then_some(name)
}

/// The tables of the packet filter that are there now.
pub(super) fn tables() -> Result<BTreeSet<String>> {
    let listed = output("nft", &["list", "tables"], None)?;
    let names = listed
        .lines()
        .filter_map(|line| line.strip_prefix("table "));
    Ok(names.map(str::to_owned).collect())
}

/// Removes the rules of the cluster, except chains and tables that were there before it.
pub(super) fn remove_rules(
    network: &str,
    chains: &BTreeSet<String>,
    tables_before: &BTreeSet<String>,
) -> Result<()> {
    for table in TABLES {
        let rules = output("iptables-save", &["-t", table], None)?;
        if let Some(script) = removal(table, &rules, chains, network) {
            output("iptables-restore", &["--noflush"], Some(&script))?;
        }
    }
    let now = tables()?;
    for table in PROXY_TABLES
        .into_iter()
        .filter(|table| now.contains(*table))
    {
        nft("delete", table)?;
    }
    // Using `iptables` once makes a table with its usual chains; without rules it does nothing.
    for table in LEGACY_TABLES
        .into_iter()
        .filter(|table| now.contains(*table))
    {
        if !tables_before.contains(table) && has_no_rules(&nft("list", table)?) {
            nft("delete", table)?;
        }
    }
    Ok(())
}

fn nft(verb: &str, table: &str) -> Result<String> {
    let mut arguments = vec![verb, "table"];
    arguments.extend(table.split(' '));
    output("nft", &arguments, None)
}

/// Whether the listing of a table has only base chains that accept everything.
fn has_no_rules(listing: &str) -> bool {
    listing.lines().map(str::trim).all(|line| {
        let is_frame = line.is_empty() || line == "}" || line.ends_with('{');
        is_frame || (line.starts_with("type ") && line.ends_with("policy accept;"))
    })
}

/// What `iptables-restore` is told to take the chains that are new, and the jumps to them, out of
/// a table. `None` if there are none.
fn removal(table: &str, rules: &str, before: &BTreeSet<String>, network: &str) -> Option<String> {
    let mark = format!("name: \\\"{network}\\\"");
    let chains: Vec<&str> = rules
        .lines()
        .filter_map(chain_name)
        .filter(|chain| !before.contains(&format!("{table} {chain}")))
        .collect();
    let mut script = String::new();
    for rule in rules.lines().filter_map(|line| line.strip_prefix("-A ")) {
        let mut words = rule.split(' ');
        let target = words.by_ref().skip_while(|word| *word != "-j").nth(1);
        let own = rule
            .split(' ')
            .next()
            .is_some_and(|of| chains.contains(&of));
        if !own && (rule.contains(&mark) || target.is_some_and(|chain| chains.contains(&chain))) {
            script.extend(["-D ", rule, "\n"]);
        }
    }
    // A chain can be deleted once it is empty and nothing jumps to it.
    script.extend(chains.iter().map(|chain| format!("-F {chain}\n")));
    script.extend(chains.iter().map(|chain| format!("-X {chain}\n")));
    (!script.is_empty()).then(|| format!("*{table}\n{script}COMMIT\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_routes_into_our_ranges_of_other_devices_clash() {
        let fine = "default via 192.0.2.1 dev eth0\n\
                    10.0.0.0/8 dev tun0 scope link\n\
                    10.96.0.0/16 dev mesh-node scope link src 10.213.0.1\n\
                    local 10.213.0.1 dev mesh-node table local scope host\n\
                    10.215.0.0/16 dev eth1\n";
        assert_eq!(clash(fine), None);
        for route in [
            "10.96.0.0/12 dev x",
            "local 10.213.0.1 dev dummy0 table local",
            "10.214.7.0/24 dev cni0 proto kernel",
            "10.96.0.0/16 via 10.0.0.1 dev eth0",
        ] {
            let found = clash(route).is_some();
            // The first is wider than ours.
            assert_eq!(found, !route.contains("/12"), "{route}");
        }
    }

    #[test]
    fn the_ports_of_a_bridge_are_found_in_a_listing() {
        let listing = "7: veth1a@if2: <BROADCAST,UP> mtu 1500 qdisc noqueue master mesh-pods\n\
                       9: plain: <UP> mtu 1500\n";
        assert!(port_names(listing).eq(["veth1a", "plain"]));
    }

    #[test]
    fn the_chains_of_plugins_go_and_those_of_before_stay() {
        let rules = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
             :CNI-HOSTPORT-DNAT - [0:0]\n:CNI-0123 - [0:0]\n:CNI-of-another - [0:0]\n\
             -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n\
             -A POSTROUTING -s 10.9.0.2/32 -j CNI-of-another\n\
             -A POSTROUTING -s 10.214.0.2/32 -m comment --comment \"name: \\\"mesh-pods\\\" id: \\\"x\\\"\" -j CNI-0123\n\
             -A CNI-0123 -d 10.214.0.0/16 -j ACCEPT\nCOMMIT\n";
        let before = BTreeSet::from(["nat CNI-of-another".to_owned()]);
        let script = removal("nat", rules, &before, "mesh-pods").unwrap();
        assert_eq!(
            script,
            "*nat\n\
             -D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n\
             -D POSTROUTING -s 10.214.0.2/32 -m comment --comment \"name: \\\"mesh-pods\\\" id: \\\"x\\\"\" -j CNI-0123\n\
             -F CNI-HOSTPORT-DNAT\n-F CNI-0123\n-X CNI-HOSTPORT-DNAT\n-X CNI-0123\nCOMMIT\n"
        );
        let empty = ":PREROUTING ACCEPT [0:0]\n";
        assert_eq!(removal("nat", empty, &before, "mesh-pods"), None);
    }

    #[test]
    fn a_table_with_a_rule_or_a_policy_is_not_empty() {
        let empty = "table ip nat {\n\tchain OUTPUT {\n\t\ttype nat hook output priority -100; \
             policy accept;\n\t}\n}\n";
        assert!(has_no_rules(empty));
        let closed = empty.replace("accept", "drop");
        assert!(!has_no_rules(&closed));
        let with_rule = empty.replace("\t}\n}", "\t\tcounter packets 0 bytes 0\n\t}\n}");
        assert!(!has_no_rules(&with_rule));
    }
}
