//! What `proxy init` is told: which connections are the proxy's and which are left alone.
//!
//! Values stay text until [`Capture::read`], so that all mistakes are reported together.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;
use mesh_api::reserved::UNCAPTURED_PORTS;

/// How the rules are shown and removed by hand.
const EXAMPLES: &str = "\
Examples:
  What the injector runs:
    proxy init --include-inbound-ports '*' --include-outbound-cidrs '*'
  A database outside the mesh stays direct, and so does the pod's own port 9000:
    proxy init --exclude-outbound-ports 3306 --exclude-inbound-ports 9000
  What it would do, in the syntax of nft:
    proxy init --dry-run
  What it did, and undoing it:
    nft list ruleset
    proxy init --clean

It needs root and the capability NET_ADMIN in the pod's network namespace, and a node whose
kernel has nf_tables with NAT (modules nf_tables, nft_chain_nat, nft_redir, nf_nat). Nothing is
changed unless everything can be; running it again replaces what it did before.";

/// The options of `proxy init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitOptions {
    /// Where inbound connections go.
    #[arg(long, value_name = "PORT", default_value = "15006")]
    pub(crate) inbound_port: String,
    /// Where outbound connections go.
    #[arg(long, value_name = "PORT", default_value = "15001")]
    pub(crate) outbound_port: String,
    /// Connections of this user are the proxy's own and left alone.
    #[arg(long, value_name = "ID", default_value = "1337")]
    pub(crate) uid: String,
    /// Connections of this group are the proxy's own and left alone.
    #[arg(long, value_name = "ID", default_value = "1337")]
    pub(crate) gid: String,
    /// Inbound: the ports that are captured; '*' for all, '' for none.
    #[arg(long, value_name = "PORTS", default_value = "*")]
    pub(crate) include_inbound_ports: String,
    /// Inbound: ports that are not. The proxy's own (15020, 15021, 15090) never are.
    #[arg(long, value_name = "PORTS", default_value = "")]
    pub(crate) exclude_inbound_ports: String,
    /// Outbound: the addresses that are captured; '*' for all, '' for none.
    #[arg(long, value_name = "CIDRS", default_value = "*")]
    pub(crate) include_outbound_cidrs: String,
    /// Outbound: addresses that are not.
    #[arg(long, value_name = "CIDRS", default_value = "")]
    pub(crate) exclude_outbound_cidrs: String,
    /// Outbound: ports that are captured at any address that is not excluded; '*' for all.
    #[arg(long, value_name = "PORTS", default_value = "")]
    pub(crate) include_outbound_ports: String,
    /// Outbound: ports that are not captured at any address.
    #[arg(long, value_name = "PORTS", default_value = "")]
    pub(crate) exclude_outbound_ports: String,
    /// Prints the rules in the syntax of nft and changes nothing.
    #[arg(long, conflicts_with = "clean")]
    pub(crate) dry_run: bool,
    /// Removes the rules.
    #[arg(long)]
    pub(crate) clean: bool,
    /// Does not try a connection afterwards.
    #[arg(long)]
    pub(crate) skip_verify: bool,
}

/// What is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Capture {
    pub(super) inbound_port: u16,
    pub(super) outbound_port: u16,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) inbound: Chosen<u16>,
    pub(super) not_inbound: BTreeSet<u16>,
    pub(super) outbound: Chosen<IpNet>,
    pub(super) not_outbound: BTreeSet<IpNet>,
    pub(super) outbound_ports: Chosen<u16>,
    pub(super) not_outbound_ports: BTreeSet<u16>,
}

/// All of them, or these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chosen<T> {
    All,
    These(BTreeSet<T>),
}

/// What is wrong with the command line: each line names an option and the way out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct InvalidOptions(Vec<String>);

impl fmt::Display for InvalidOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

const PORT: &str = "expected a port from 1 to 65535";
const PORTS: &str = "expected ports from 1 to 65535, separated by commas";
const CIDRS: &str = "expected addresses such as 10.0.0.0/8 or fd00::/8, separated by commas";
const ID: &str = "expected a number";

impl Capture {
    /// What the options say, or every mistake in them.
    pub(super) fn read(options: &InitOptions) -> Result<Self, InvalidOptions> {
        let mut problems = Problems(Vec::new());
        let mut not_inbound = problems.list(
            "exclude-inbound-ports",
            &options.exclude_inbound_ports,
            port,
            PORTS,
        );
        not_inbound.extend(UNCAPTURED_PORTS);
        let capture = Self {
            inbound_port: problems.one("inbound-port", &options.inbound_port, port, PORT),
            outbound_port: problems.one("outbound-port", &options.outbound_port, port, PORT),
            user: problems.one("uid", &options.uid, |text| text.parse().ok(), ID),
            group: problems.one("gid", &options.gid, |text| text.parse().ok(), ID),
            inbound: problems.chosen(
                "include-inbound-ports",
                &options.include_inbound_ports,
                port,
                PORTS,
            ),
            not_inbound,
            outbound: problems.chosen(
                "include-outbound-cidrs",
                &options.include_outbound_cidrs,
                range,
                CIDRS,
            ),
            not_outbound: problems.list(
                "exclude-outbound-cidrs",
                &options.exclude_outbound_cidrs,
                range,
                CIDRS,
            ),
            outbound_ports: problems.chosen(
                "include-outbound-ports",
                &options.include_outbound_ports,
                port,
                PORTS,
            ),
            not_outbound_ports: problems.list(
                "exclude-outbound-ports",
                &options.exclude_outbound_ports,
                port,
                PORTS,
            ),
        };
        if problems.0.is_empty() && capture.inbound_port == capture.outbound_port {
            problems.add(
                "inbound-port",
                &options.inbound_port,
                "must differ from --outbound-port",
            );
        }
        if problems.0.is_empty() {
            Ok(capture)
        } else {
            Err(InvalidOptions(problems.0))
        }
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// A range, or a single address; what lies beyond the prefix does not count.
fn range(text: &str) -> Option<IpNet> {
    let range: Option<IpNet> = text.parse().ok();
    range
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        .map(|range| range.trunc())
}

struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, option: &str, text: &str, what: &str) {
        self.0.push(format!("--{option} '{text}': {what}"));
    }

    /// One value; the default stands in for one that was reported.
    fn one<T: Default>(
        &mut self,
        option: &str,
        text: &str,
        parse: impl Fn(&str) -> Option<T>,
        what: &str,
    ) -> T {
        parse(text).unwrap_or_else(|| {
            self.add(option, text, what);
            T::default()
        })
    }

    fn list<T: Ord>(
        &mut self,
        option: &str,
        text: &str,
        parse: impl Fn(&str) -> Option<T>,
        what: &str,
    ) -> BTreeSet<T> {
        let mut values = BTreeSet::new();
        let words = text.split(',').map(str::trim);
        for word in words.filter(|word| !word.is_empty()) {
            match parse(word) {
                Some(value) => {
                    values.insert(value);
                }
                None => self.add(option, word, what),
            }
        }
        values
    }

    fn chosen<T: Ord>(
        &mut self,
        option: &str,
        text: &str,
        parse: impl Fn(&str) -> Option<T>,
        what: &str,
    ) -> Chosen<T> {
        if text.trim() == "*" {
            Chosen::All
        } else {
            Chosen::These(self.list(option, text, parse, what))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: InitOptions,
    }

    /// What a command line says.
    pub(in super::super) fn capture(words: &[&str]) -> Result<Capture, InvalidOptions> {
        let line = std::iter::once(&"init").chain(words);
        Capture::read(&Line::try_parse_from(line).unwrap().options)
    }

    #[test]
    fn defaults_capture_everything_but_the_proxys_own() {
        let all = capture(&[]).unwrap();
        assert_eq!((all.inbound_port, all.outbound_port), (15_006, 15_001));
        assert_eq!((all.user, all.group), (1337, 1337));
        assert_eq!((all.inbound, all.outbound), (Chosen::All, Chosen::All));
        assert_eq!(all.not_inbound, BTreeSet::from(UNCAPTURED_PORTS));
        assert_eq!(all.outbound_ports, Chosen::These(BTreeSet::new()));
        let none = capture(&["--include-inbound-ports", ""]).unwrap();
        assert_eq!(none.inbound, Chosen::These(BTreeSet::new()));
    }

    #[test]
    fn lists_are_read_and_mistakes_reported_together() {
        let some = capture(&[
            "--exclude-inbound-ports=15020, 22,",
            "--include-outbound-cidrs=10.1.2.3/8,fd00::1",
        ])
        .unwrap();
        assert!(some.not_inbound.contains(&22));
        let ranges = ["10.0.0.0/8", "fd00::1/128"].map(|text| text.parse().unwrap());
        assert_eq!(some.outbound, Chosen::These(BTreeSet::from(ranges)));

        let wrong = capture(&[
            "--inbound-port=0",
            "--uid=root",
            "--exclude-outbound-ports=80,http",
            "--exclude-outbound-cidrs=10.0.0.0/33",
        ])
        .unwrap_err()
        .to_string();
        for part in [
            "--inbound-port '0'",
            "--uid 'root'",
            "--exclude-outbound-ports 'http'",
            "--exclude-outbound-cidrs '10.0.0.0/33'",
        ] {
            assert!(wrong.contains(part), "{part} is not in:\n{wrong}");
        }
        assert_eq!(wrong.lines().count(), 4, "{wrong}");
        let same = capture(&["--inbound-port=15001"]).unwrap_err().to_string();
        assert!(same.contains("must differ"), "{same}");
    }
}
