//! From a plan to the kernel: one transaction over netlink, no other program involved.
//!
//! The kernel takes a batch of messages whole or not at all. Ours creates each table if it is
//! not there, deletes it, and creates it anew, so that the same batch serves a first run and
//! every later one.

mod message;
mod refused;
mod rules;
mod socket;

use nix::errno::Errno;

use super::plan::{Family, Plan};
use message::Batch;
use socket::Netlink;

pub(crate) use refused::Refused;

/// Whether the pod can talk to itself over every kind of address of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loopback {
    /// It can.
    Ready,
    /// IPv6 is switched off for its loopback interface.
    Disabled,
}

/// Puts a plan into effect, or changes nothing.
pub(super) fn program(plan: &Plan) -> Result<Loopback, Refused> {
    let has_ipv6 = plan.tables.iter().any(|table| table.family == Family::V6);
    let loopback = if has_ipv6 {
        // 127.0.0.6 is this pod's own by nature; its counterpart has to be made so.
        claim(Family::V6)?
    } else {
        Loopback::Ready
    };
    let mut batch = Batch::new();
    for table in &plan.tables {
        rules::delete(&mut batch, table.family);
        rules::create(&mut batch, table);
    }
    send(batch)?;
    Ok(loopback)
}

/// Removes what was put into effect; nothing to remove is fine.
pub(super) fn remove(families: &[Family]) -> Result<(), Refused> {
    let mut batch = Batch::new();
    for family in families {
        rules::delete(&mut batch, *family);
    }
    send(batch)?;
    if families.contains(&Family::V6) {
        disclaim(Family::V6)?;
    }
    Ok(())
}

fn send(batch: Batch) -> Result<(), Refused> {
    let (bytes, steps) = batch.finish();
    let socket = Netlink::filters().map_err(|errno| Refused::new("opening netlink", errno))?;
    let verdicts = socket
        .exchange(&bytes)
        .map_err(|errno| Refused::new("sending the rules", errno))?;
    // The first one is the cause; what follows follows from it.
    let cause = verdicts
        .iter()
        .filter_map(|(sequence, errno)| Some((*sequence, (*errno)?)))
        .min_by_key(|(sequence, _)| *sequence);
    if let Some((sequence, errno)) = cause {
        return Err(Refused::new(steps.name(sequence), errno));
    }
    if verdicts.is_empty() {
        return Err(Refused::new("waiting for the answer", Errno::ETIMEDOUT));
    }
    Ok(())
}

fn claim(family: Family) -> Result<Loopback, Refused> {
    match address(&message::add_loopback_address(family.proxy_source())) {
        Ok(()) | Err(Errno::EEXIST) => Ok(Loopback::Ready),
        // A lack of rights is EPERM; this is what an interface without IPv6 answers.
        Err(Errno::EACCES | Errno::EADDRNOTAVAIL) => Ok(Loopback::Disabled),
        Err(errno) => Err(Refused::new("adding the address ::6 to lo", errno)),
    }
}

fn disclaim(family: Family) -> Result<(), Refused> {
    match address(&message::remove_loopback_address(family.proxy_source())) {
        Ok(()) | Err(Errno::EADDRNOTAVAIL | Errno::EACCES) => Ok(()),
        Err(errno) => Err(Refused::new("removing the address ::6 from lo", errno)),
    }
}

fn address(message: &[u8]) -> Result<(), Errno> {
    let verdicts = Netlink::addresses()?.exchange(message)?;
    match verdicts.first() {
        Some((_, None)) => Ok(()),
        Some((_, Some(errno))) => Err(*errno),
        None => Err(Errno::ETIMEDOUT),
    }
}
