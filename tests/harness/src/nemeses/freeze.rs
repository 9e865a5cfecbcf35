//! Members stand still and then go on as if nothing had been: a leader that wakes up may think that
//! it still leads.

use anyhow::Result;

use super::{Nemesis, Stage};
use crate::store::Own;
use crate::workload::Leniency;

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "freeze",
    what: "SIGSTOP of the leader or another member for longer than an election",
    needs: &[],
    own: Own { hosts: false, disks: false, ills: false },
    leniency: Leniency { lease_percent: 100 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["leader"],
};

async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    let leader = stage.leader().await;
    let target = stage.leader_mostly().await;
    stage.did(if target == leader { "leader" } else { "follower" });
    stage.members.freeze(target)?;
    stage.pass(1000, 2500).await;
    stage.members.thaw(target)
}
