//! Members die at once, as by `kill -9`, and come back on what they have.

use anyhow::Result;
use rand::Rng as _;

use super::{Nemesis, Stage};
use crate::store::{MEMBERS, Own};
use crate::workload::Leniency;

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "kill",
    what: "kill -9 of the leader, another member, or all",
    needs: &[],
    own: Own { hosts: false, disks: false, ills: false },
    leniency: Leniency { lease_percent: 100 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["leader", "all"],
};

async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    if stage.turn % 4 == 3 {
        stage.did("all");
        for at in 0..MEMBERS {
            stage.members.kill(at).await?;
        }
        for at in 0..MEMBERS {
            stage.members.boot(at)?;
        }
        return Ok(());
    }
    let leader = stage.leader().await;
    let target = if stage.random.random_bool(0.8) { leader } else { stage.other(leader) };
    stage.did(if target == leader { "leader" } else { "follower" });
    stage.members.kill(target).await?;
    // Sometimes it is there again before anybody has noticed.
    if stage.random.random_bool(0.6) {
        stage.pass(100, 1500).await;
    }
    stage.members.boot(target)
}
