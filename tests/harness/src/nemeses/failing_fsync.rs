//! A disk that says once that it could not keep what it was given, and then that all is well: the
//! member must end at once, with the reason, because a second fsync proves nothing.

use anyhow::{Result, ensure};

use super::{Nemesis, Stage};
use crate::faults::Need;
use crate::store::Own;
use crate::workload::Leniency;

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "failing-fsync",
    what: "one fsync of the leader or another member fails with EIO, later ones succeed",
    needs: &[Need::Program("cc")],
    own: Own { hosts: false, disks: false, ills: true },
    leniency: Leniency { lease_percent: 100 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["failed"],
};

async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    let target = stage.leader_mostly().await;
    let before = stage.members.ill(target).failed()?;
    stage.members.ill(target).fail_fsync(1)?;
    stage.members.see_end(target).await?;
    ensure!(stage.members.ill(target).failed()? == before + 1, "one fsync has failed");
    let log = stage.members.log(target);
    ensure!(log.contains("Input/output error"), "the log names the reason");
    stage.did("failed");
    stage.pass(100, 1000).await;
    stage.members.boot(target)
}
