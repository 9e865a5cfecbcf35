//! Members cannot hear each other, while clients reach all of them.

use anyhow::Result;

use super::{Nemesis, Stage};
use crate::faults::Need;
use crate::store::{MEMBERS, Own};
use crate::workload::Leniency;

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "partition",
    what: "two-way, one-way and half-way cuts between members",
    needs: &[Need::Root, Need::Program("ip"), Need::Program("nft"), Need::Program("nsenter")],
    own: Own { hosts: true, disks: false, ills: false },
    leniency: Leniency { lease_percent: 100 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["cut off", "deaf", "mute", "no triangle"],
};

/// A minority is alone; a member hears nobody; a member is heard by nobody; two of three cannot
/// speak to each other, but both to the third.
async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    let leader = stage.leader().await;
    let target = stage.leader_mostly().await;
    let others: Vec<usize> = (0..MEMBERS).filter(|at| *at != target).collect();
    let network = stage.members.network();
    let kind = match stage.turn % 4 {
        0 => {
            for other in others {
                network.cut(target, other).await?;
            }
            "cut off"
        }
        1 => {
            for other in others {
                network.deafen(target, other).await?;
            }
            "deaf"
        }
        2 => {
            for other in others {
                network.deafen(other, target).await?;
            }
            "mute"
        }
        _ => {
            network.cut(target, others[0]).await?;
            "no triangle"
        }
    };
    stage.did(kind);
    if target == leader {
        stage.did("leader");
    }
    stage.pass(1000, 3000).await;
    for at in 0..MEMBERS {
        stage.members.network().heal(at).await?;
    }
    Ok(())
}
