//! Power is lost: what was not synced is gone, of one member or of all at once. Each has a disk of
//! its own; nothing reaches it after the cut, not even the file system's journal.

use anyhow::Result;

use super::{Nemesis, Stage};
use crate::faults::Need;
use crate::store::{MEMBERS, Own};
use crate::workload::Leniency;

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "power",
    what: "power loss of one member or of all: un-synced data is gone",
    needs: &[Need::Root, Need::Loop, Need::Program("mkfs.ext4"), Need::Program("perl")],
    own: Own { hosts: false, disks: true, ills: false },
    leniency: Leniency { lease_percent: 100 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["one", "all"],
};

async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    let target = stage.leader_mostly().await;
    let is_all = stage.turn.is_multiple_of(2);
    stage.did(if is_all { "all" } else { "one" });
    let lost: Vec<usize> = (0..MEMBERS).filter(|at| is_all || *at == target).collect();
    for at in &lost {
        stage.members.disk(*at).cut_power().await?;
    }
    for at in &lost {
        stage.members.bury(*at).await?;
        stage.members.disk(*at).restore_power().await?;
    }
    for at in lost {
        stage.members.boot(at)?;
    }
    Ok(())
}
