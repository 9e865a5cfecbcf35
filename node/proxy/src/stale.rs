//! Flows that lead to endpoints which are gone. Pure, but for [`sweep`].

use crate::Error;
use crate::nft::{Flow, Kernel};
use crate::plan::{Front, Handling, Protocol, Target, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Endpoints that flows to a front may lead to.
pub(crate) type Valid = BTreeMap<Front, BTreeSet<Target>>;

/// The UDP fronts of a Service with their endpoints.
pub(crate) fn valid(wanted: &Wanted, all: &mut Valid) {
    for ((_, front), handling) in &wanted.fronts {
        if front.protocol != Protocol::Udp {
            continue;
        }
        let targets = all.entry(*front).or_default();
        if let Handling::Pick(group, _) = handling {
            targets.extend(wanted.groups.get(group).into_iter().flatten());
        }
    }
}

/// Whether a flow goes to one of the fronts and is answered by nobody who may.
fn is_stale(flow: &Flow, valid: &Valid) -> bool {
    let at = |address| Front { address, protocol: Protocol::Udp, port: flow.to.1 };
    let (address, port) = flow.answers;
    let target = Target { address, port };
    if let Some(targets) = valid.get(&at(flow.to.0)) {
        return !targets.contains(&target);
    }
    // A node port has any address; a flow that was not redirected may be something else.
    let redirected = flow.to != flow.answers;
    let targets = valid.get(&at(Ipv4Addr::UNSPECIFIED)).filter(|_| redirected);
    targets.is_some_and(|targets| !targets.contains(&target))
}

/// Forgets flows to these fronts that lead nowhere; their next packets choose anew.
pub(crate) fn sweep(kernel: &mut Kernel, valid: &Valid) -> Result<(), Error> {
    if valid.is_empty() {
        return Ok(());
    }
    for flow in kernel.flows(Protocol::Udp as u8)? {
        if is_stale(&flow, valid) {
            kernel.forget(&flow)?;
        }
    }
    Ok(())
}
