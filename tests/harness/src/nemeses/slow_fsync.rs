//! A disk that takes its time: every fsync of one member, or of all, lasts longer.

use anyhow::Result;
use rand::Rng as _;
use std::time::Duration;

use super::{Nemesis, Stage};
use crate::faults::Need;
use crate::store::{MEMBERS, Own};
use crate::workload::Leniency;

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "slow-fsync",
    what: "each fsync of the leader, another member or all takes 30 to 400 ms longer",
    needs: &[Need::Program("cc")],
    own: Own { hosts: false, disks: false, ills: true },
    leniency: Leniency { lease_percent: 100 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["one", "all"],
};

async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    let delay = Duration::from_millis(stage.random.random_range(30..400));
    let target = stage.leader_mostly().await;
    let is_all = stage.turn % 3 == 2;
    stage.did(if is_all { "all" } else { "one" });
    for at in (0..MEMBERS).filter(|at| is_all || *at == target) {
        stage.members.ill(at).delay_fsync(delay)?;
    }
    stage.pass(1000, 4000).await;
    for at in 0..MEMBERS {
        stage.members.ill(at).delay_fsync(Duration::ZERO)?;
    }
    Ok(())
}
