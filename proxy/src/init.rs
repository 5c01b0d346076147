//! `proxy init`: makes the kernel redirect a pod's TCP connections to the proxy beside it, and
//! then makes sure that it does.
//!
//! Runs once, before anything else in the pod, as root with `NET_ADMIN` and nothing more. The
//! rules are data ([`plan`]); [`netlink`] hands them to nf_tables in one transaction, so that a
//! pod has all of them or none, and running it again replaces them; [`verify`] opens a
//! connection and looks where it arrives.

mod ipv6;
mod netlink;
pub(crate) mod options;
mod plan;
mod text;
mod verify;

use std::fmt;
use std::path::Path;

use ipv6::Ipv6;
use netlink::Loopback;
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
    if options.dry_run {
        let plan = Plan::of(&capture, families(ipv6));
        return Ok(Report(vec![text::render(&plan).trim_end().to_owned()]));
    }
    let mut report = Report(vec![format!(
        "capturing: inbound to port {}, outbound to port {}, but for user {} and group {}",
        capture.inbound_port, capture.outbound_port, capture.user, capture.group
    )]);
    let acting = program(&capture, ipv6, &mut report)?;
    if !options.skip_verify {
        for finding in verify::verify(&acting, &capture)? {
            report.0.push(finding.to_string());
        }
    }
    Ok(report)
}

fn families(ipv6: Ipv6) -> &'static [Family] {
    match ipv6 {
        Ipv6::Known { .. } => &[Family::V4, Family::V6],
        Ipv6::Unknown => &[Family::V4],
    }
}

/// Programs all that the kernel can; says what it cannot. Returns the rules by which connections
/// should arrive at the proxy now.
fn program(capture: &Capture, ipv6: Ipv6, report: &mut Report) -> Result<Plan, InitError> {
    let plan = Plan::of(capture, families(ipv6));
    let only_v4 = || Plan::of(capture, &[Family::V4]);
    let note = match netlink::program(&plan) {
        Ok(Loopback::Ready) => {
            if ipv6 == Ipv6::Unknown {
                let note = "IPv6 is left out: the kernel has none, so nothing can go over it";
                report.0.push(note.to_owned());
            }
            return Ok(plan);
        }
        Ok(Loopback::Disabled) => "IPv6 is off for this pod's loopback interface \
             (net.ipv6.conf.lo.disable_ipv6 is 1): connections over IPv6 are redirected, and fail \
             there. Switch it on for lo if the pod shall use IPv6"
            .to_owned(),
        // A pod that has no address of that kind loses nothing. One that has would be reached
        // past its proxy.
        Err(refused) if ipv6 == (Ipv6::Known { in_use: false }) && refused.is_unsupported() => {
            netlink::program(&only_v4())?;
            format!("IPv6 is left out, and this pod has no address of that kind: {refused}")
        }
        Err(refused) => return Err(refused.into()),
    };
    report.0.push(note);
    Ok(only_v4())
}

fn clean(ipv6: Ipv6) -> Result<Report, InitError> {
    match netlink::remove(families(ipv6)) {
        Err(refused) if ipv6 == (Ipv6::Known { in_use: false }) && refused.is_unsupported() => {
            netlink::remove(&[Family::V4])?;
        }
        removed => removed?,
    }
    Ok(Report(vec![
        "removed: nothing is captured any more".to_owned(),
    ]))
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
