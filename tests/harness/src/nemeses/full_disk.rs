//! Disks without room: filled under a running member, and found full at its start, when not even a
//! small part of the log has room that was set aside for it.
//!
//! Members refuse what grows, with etcd's error; the alarm is up; everybody can read, from all
//! members. Once there is room again and the alarm is lowered, everything goes on.

use anyhow::{Result, ensure};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::{AlarmType, PutRequest, RangeRequest};
use tokio::time::timeout;
use tonic::Code;

use super::{Nemesis, Stage};
use crate::faults::Need;
use crate::store::{MEMBERS, Own};
use crate::until;
use crate::workload::{ANSWER, Leniency};

/// The row.
pub(super) const NEMESIS: Nemesis = Nemesis {
    name: "full-disk",
    what: "disks of one member or all are filled while they run, and found full at a start",
    needs: &[Need::Root, Need::Loop, Need::Program("mkfs.ext4")],
    own: Own { hosts: false, disks: true, ills: false },
    leniency: Leniency { lease_percent: 100 },
    turn: |stage| Box::pin(turn(stage)),
    must: &["one", "all", "start"],
};

async fn turn(stage: &mut Stage<'_>) -> Result<()> {
    let target = stage.leader_mostly().await;
    let kind = ["one", "all", "start"][stage.turn as usize % 3];
    let full: Vec<usize> = (0..MEMBERS).filter(|at| kind == "all" || *at == target).collect();
    if kind == "start" {
        stage.members.kill(target).await?;
        stage.members.disk(target).fill()?;
        stage.members.boot(target)?;
        until("a member serves from a full disk", || async {
            stage.members.id(target).await.is_some()
        })
        .await;
    }
    for at in &full {
        stage.members.disk(*at).fill()?;
    }
    for at in 0..MEMBERS {
        until("a member refuses writes", || refuses(stage, at)).await;
        until("a member reads what all have", || reads(stage, at)).await;
    }
    until("the alarm is up", || async {
        let alarms = stage.members.alarms(target).await.unwrap_or_default();
        alarms.iter().any(|one| one.alarm() == AlarmType::Nospace)
    })
    .await;
    stage.pass(500, 1500).await;
    ensure!(stage.members.ended().is_empty(), "a full disk is no reason to end");
    stage.did(kind);
    for at in full {
        stage.members.disk(at).clear()?;
    }
    // Whoever still has no room raises it again.
    until("writes are taken again", || async {
        stage.members.lower_alarms(target).await.is_some() && puts(stage, target).await.is_ok()
    })
    .await;
    Ok(())
}

async fn puts(stage: &Stage<'_>, at: usize) -> Result<(), Code> {
    let (key, value) = ("n".into(), "more".into());
    let request = PutRequest { key, value, ..PutRequest::default() };
    match timeout(ANSWER, KvClient::new(stage.members.channel(at)).put(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(status.code()),
        Err(_) => Err(Code::DeadlineExceeded),
    }
}

async fn refuses(stage: &Stage<'_>, at: usize) -> bool {
    puts(stage, at).await == Err(Code::ResourceExhausted)
}

async fn reads(stage: &Stage<'_>, at: usize) -> bool {
    let request = RangeRequest { key: "k0".into(), ..RangeRequest::default() };
    let answer = timeout(ANSWER, KvClient::new(stage.members.channel(at)).range(request)).await;
    matches!(answer, Ok(Ok(_)))
}
