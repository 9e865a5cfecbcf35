//! Members are given up: removed for ever, and new ones with empty disks take their places.

use anyhow::Result;
use rand::Rng as _;

use super::{Nemesis, Stage};
use crate::store::Own;
use crate::workload::Leniency;
use crate::{until, until_some};

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "replace",
    what: "a member is removed and a new one with an empty disk added",
    needs: &[],
    own: Own { hosts: false, disks: false, ills: false },
    leniency: Leniency { lease_percent: 100 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["replaced"],
};

async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    let target = stage.leader_mostly().await;
    let id = until_some("a member tells its id", || stage.members.id(target)).await;
    if stage.random.random_bool(0.5) {
        stage.did("was dead");
        stage.members.kill(target).await?;
    }
    stage.members.replace(target, id).await?;
    stage.did("replaced");
    // It has a vote once it has everything; before, another one must not go.
    until("a new member knows the leader", || async {
        stage.members.leader_by(target).await.is_some()
    })
    .await;
    let last = stage.workload.watched();
    until_some("a new member has everything", || stage.members.hash(target, last)).await;
    Ok(())
}
