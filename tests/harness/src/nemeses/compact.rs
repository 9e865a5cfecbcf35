//! History is dropped and files are rewritten under the clients' hands, and a leader dies amid it.

use anyhow::Result;
use rand::Rng as _;
use std::time::Duration;

use super::{Nemesis, Stage};
use crate::store::{MEMBERS, Own};
use crate::workload::Leniency;

/// Time from the request to compact to the death of who has it.
const AMID: Duration = Duration::from_millis(15);

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "compact",
    what: "compaction, also physical, and defragmentation race with the load and with kills",
    needs: &[],
    own: Own { hosts: false, disks: false, ills: false },
    leniency: Leniency { lease_percent: 100 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["compacted", "defragmented", "killed"],
};

/// Never beyond what the first watcher has seen, whose history is the measure of everything.
async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    let through = stage.random.random_range(0..MEMBERS);
    let behind = stage.random.random_range(0..20);
    let revision = stage.workload.watched() - behind;
    let physical = stage.random.random_bool(0.5);
    let defragments = stage.random.random_range(0..MEMBERS);
    let kills = stage.random.random_ratio(1, 3);
    let members = &*stage.members;
    let (compacted, defragmented) =
        tokio::join!(members.compact(through, revision, physical), members.defragment(defragments));
    if compacted {
        stage.did("compacted");
    }
    if defragmented {
        stage.did("defragmented");
    }
    if kills {
        let leader = stage.leader().await;
        let revision = stage.workload.watched();
        // Nobody waits for the answer, which may never come.
        let members = &*stage.members;
        let _ = tokio::time::timeout(AMID, members.compact(leader, revision, true)).await;
        stage.members.kill(leader).await?;
        stage.did("killed");
        stage.members.boot(leader)?;
    }
    Ok(())
}
