//! Clocks are off: wall clocks jump by hours, and the clocks by which members count time run up to
//! a tenth fast or slow. Nothing may depend on the former, and leases only as exactly as the latter.

use anyhow::Result;
use rand::Rng as _;

use super::{Nemesis, Stage};
use crate::faults::Need;
use crate::store::{MEMBERS, Own};
use crate::workload::Leniency;

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "clock",
    what: "wall clocks jump by hours, other clocks run a tenth fast or slow",
    needs: &[Need::Program("cc")],
    own: Own { hosts: false, disks: false, ills: true },
    leniency: Leniency { lease_percent: 90 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["jumped", "another pace"],
};

async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    for at in 0..MEMBERS {
        let seconds = stage.random.random_range(-100_000..100_000);
        stage.members.ill(at).set_wall_clock(seconds)?;
    }
    stage.did("jumped");
    if stage.turn % 3 == 1 {
        let target = stage.leader_mostly().await;
        let pace = stage.random.random_range(-100_000..100_000);
        stage.members.kill(target).await?;
        stage.members.ill(target).set_pace(pace)?;
        stage.members.boot(target)?;
        stage.did("another pace");
    }
    Ok(())
}
