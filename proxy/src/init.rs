//! `proxy init`: makes the kernel redirect a pod's TCP connections to the proxy beside it, and
//! then makes sure that it does.
//!
//! Runs once, before anything else in the pod, as root with `NET_ADMIN` and nothing more. The
//! rules are data ([`plan`]); [`netlink`] hands them to nf_tables in one transaction, so that a
//! pod has all of them or none, and running it again replaces them; [`verify`] opens a
//! connection and looks where it arrives.

mod netlink;
pub(crate) mod options;
mod plan;
mod text;
mod verify;

use std::fmt;
use std::path::Path;

use options::{Capture, InitOptions, InvalidOptions};
use plan::{Family, Plan};
use verify::{Finding, NotCaptured};

/// Why a pod's traffic is not redirected; says what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// The command line is wrong.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// The kernel did not take the rules.
    #[error(transparent)]
    Refused(#[from] netlink::Refused),
    /// The kernel took the rules, but they do not act.
    #[error(transparent)]
    NotCaptured(#[from] NotCaptured),
}

/// What was done, one line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report(Vec<String>);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// Does what the command line says.
pub(crate) fn run(options: &InitOptions) -> Result<Report, InitError> {
    let capture = Capture::read(options)?;
    let ipv6 = Ipv6::of_this_network(Path::new("/proc"));
    if options.clean {
        return clean(ipv6);
    }
    let families: &[Family] = match ipv6 {
        Ipv6::Usable => &[Family::V4, Family::V6],
        Ipv6::Absent(_) => &[Family::V4],
    };
    let plan = Plan::of(&capture, families);
    if options.dry_run {
        return Ok(Report(vec![text::render(&plan).trim_end().to_owned()]));
    }
    netlink::program(&plan)?;
    let mut report = Report(vec![format!(
        "capturing: inbound to port {}, outbound to port {}, but for user {} and group {}",
        capture.inbound_port, capture.outbound_port, capture.user, capture.group
    )]);
    if let Ipv6::Absent(why) = ipv6 {
        report
            .0
            .push(format!("IPv6 is left out: {why}; this pod has none"));
    }
    if !options.skip_verify {
        for finding in verify::verify(&plan, &capture)? {
            report.0.push(finding.to_string());
        }
    }
    Ok(report)
}

fn clean(ipv6: Ipv6) -> Result<Report, InitError> {
    let families: &[Family] = match ipv6 {
        Ipv6::Usable => &[Family::V4, Family::V6],
        Ipv6::Absent(_) => &[Family::V4],
    };
    netlink::remove(families)?;
    Ok(Report(vec![
        "removed: nothing is captured any more".to_owned(),
    ]))
}

/// Whether this network namespace has IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ipv6 {
    Usable,
    /// It has none, and why.
    Absent(&'static str),
}

impl Ipv6 {
    fn of_this_network(proc: &Path) -> Self {
        if !proc.join("net/if_inet6").exists() {
            return Self::Absent("the kernel was started without it");
        }
        let switch = proc.join("sys/net/ipv6/conf/all/disable_ipv6");
        match std::fs::read_to_string(switch) {
            Ok(value) if value.trim() == "1" => Self::Absent("net.ipv6.conf.all.disable_ipv6 is 1"),
            // Unreadable is not disabled: programming it then either works or says why not.
            Ok(_) | Err(_) => Self::Usable,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Captured { probe } => {
                write!(
                    f,
                    "verified: a connection to {probe} arrived at the proxy's port"
                )
            }
            Self::NothingToProbe(family) => write!(
                f,
                "not verified: no {family} address is captured that a connection could try"
            ),
            Self::NoRoute { probe, error } => write!(
                f,
                "not verified: this pod has no route to {probe} ({error}), so nothing leaves \
                 that could be captured"
            ),
            Self::PortTaken { listener } => write!(
                f,
                "not verified: something already listens on {listener}, most likely the proxy"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_without_ipv6_is_recognised() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(
            Ipv6::of_this_network(proc.path()),
            Ipv6::Absent("the kernel was started without it")
        );
        let switch = proc.path().join("sys/net/ipv6/conf/all");
        std::fs::create_dir_all(&switch).unwrap();
        std::fs::create_dir(proc.path().join("net")).unwrap();
        std::fs::write(proc.path().join("net/if_inet6"), "").unwrap();
        assert_eq!(Ipv6::of_this_network(proc.path()), Ipv6::Usable);
        std::fs::write(switch.join("disable_ipv6"), "1\n").unwrap();
        assert!(matches!(
            Ipv6::of_this_network(proc.path()),
            Ipv6::Absent(_)
        ));
        std::fs::write(switch.join("disable_ipv6"), "0\n").unwrap();
        assert_eq!(Ipv6::of_this_network(proc.path()), Ipv6::Usable);
    }
}
