//! Questions to members, and requests of an operator.

use anyhow::{Context, Result};
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, CompactionRequest, DefragmentRequest, HashKvRequest, HashKvResponse,
    MemberAddRequest, MemberRemoveRequest, StatusRequest,
};
use tonic::transport::{Channel, Endpoint};

use super::{ASK, MEMBERS, Members};
use crate::until_some;

impl Members {
    /// A connection of its own to a member, made when it is first used.
    pub fn channel(&self, at: usize) -> Channel {
        let url = format!("http://{}", self.members[at].client);
        let endpoint = Endpoint::from_shared(url).expect("a host and a port make a URL");
        endpoint.connect_timeout(ASK).connect_lazy()
    }

    /// The member that leads, as far as any running one knows.
    pub async fn leader(&self) -> Option<usize> {
        let mut newest = None;
        for at in 0..MEMBERS {
            if let Some((leader, _, term)) = self.status(at).await
                && leader != 0
                && newest.is_none_or(|(known, _)| term > known)
            {
                newest = Some((term, leader));
            }
        }
        let (_, leader) = newest?;
        for at in 0..MEMBERS {
            if self.id(at).await == Some(leader) {
                return Some(at);
            }
        }
        None
    }

    /// The leader's id as one member knows it.
    pub async fn leader_by(&self, at: usize) -> Option<u64> {
        self.status(at).await.map(|(leader, ..)| leader).filter(|leader| *leader != 0)
    }

    /// A member's id.
    pub async fn id(&self, at: usize) -> Option<u64> {
        self.status(at).await.map(|(_, id, _)| id)
    }

    /// A member's leader, its own id and its term.
    async fn status(&self, at: usize) -> Option<(u64, u64, u64)> {
        let mut client = MaintenanceClient::new(self.channel(at));
        let answer = tokio::time::timeout(ASK, client.status(StatusRequest {})).await.ok()?;
        let answer = answer.ok()?.into_inner();
        let header = answer.header?;
        Some((answer.leader, header.member_id, answer.raft_term))
    }

    /// A member's hash of all keys up to a revision; nothing when it does not answer or is not that
    /// far.
    pub async fn hash(&self, at: usize, revision: i64) -> Option<HashKvResponse> {
        let mut client = MaintenanceClient::new(self.channel(at));
        let answer = client.hash_kv(HashKvRequest { revision });
        Some(tokio::time::timeout(ASK, answer).await.ok()?.ok()?.into_inner())
    }

    /// The alarms that are up.
    pub async fn alarms(&self, at: usize) -> Option<Vec<AlarmMember>> {
        self.alarm(at, AlarmRequest::default()).await
    }

    /// Lowers all alarms that are up, as an operator would.
    pub async fn lower_alarms(&self, at: usize) -> Option<()> {
        for alarm in self.alarms(at).await? {
            let action = AlarmAction::Deactivate.into();
            let AlarmMember { member_id, alarm } = alarm;
            self.alarm(at, AlarmRequest { action, member_id, alarm }).await?;
        }
        Some(())
    }

    async fn alarm(&self, at: usize, request: AlarmRequest) -> Option<Vec<AlarmMember>> {
        let mut client = MaintenanceClient::new(self.channel(at));
        let answer = tokio::time::timeout(ASK, client.alarm(request)).await.ok()?.ok()?;
        Some(answer.into_inner().alarms)
    }

    /// Drops history below a revision; whether a member has said that it is done.
    pub async fn compact(&self, at: usize, revision: i64, physical: bool) -> bool {
        let mut client = KvClient::new(self.channel(at));
        let answer = client.compact(CompactionRequest { revision, physical });
        matches!(tokio::time::timeout(5 * ASK, answer).await, Ok(Ok(_)))
    }

    /// Has a member rewrite its files; whether it has said that it is done.
    pub async fn defragment(&self, at: usize) -> bool {
        let mut client = MaintenanceClient::new(self.channel(at));
        let answer = client.defragment(DefragmentRequest {});
        matches!(tokio::time::timeout(10 * ASK, answer).await, Ok(Ok(_)))
    }

    /// Takes a member out of the group, through any other one.
    pub(super) async fn remove(&self, at: usize, id: u64) -> Result<()> {
        let mut tries = 0;
        let removed = until_some("a member is removed", || {
            tries += 1;
            let through = (at + 1 + tries % (MEMBERS - 1)) % MEMBERS;
            let mut client = ClusterClient::new(self.channel(through));
            async move {
                let request = MemberRemoveRequest { id };
                let answer = tokio::time::timeout(5 * ASK, client.member_remove(request)).await;
                match answer.ok()? {
                    Ok(_) => Some(Ok(())),
                    // An earlier try was done after all.
                    Err(status) if status.message().contains("member not found") => Some(Ok(())),
                    Err(status) => (!is_passing(&status)).then_some(Err(status)),
                }
            }
        })
        .await;
        removed.context("removing a member")
    }

    /// Makes a member that is about to start known to the group.
    pub(super) async fn add(&self, at: usize) -> Result<()> {
        let url = format!("http://{}", self.members[at].peer);
        let mut tries = 0;
        let added = until_some("a member is added", || {
            tries += 1;
            let through = (at + 1 + tries % (MEMBERS - 1)) % MEMBERS;
            let mut client = ClusterClient::new(self.channel(through));
            let request = MemberAddRequest { peer_urls: vec![url.clone()], is_learner: false };
            async move {
                let answer = tokio::time::timeout(5 * ASK, client.member_add(request)).await;
                match answer.ok()? {
                    Ok(_) => Some(Ok(())),
                    Err(status) if status.message().contains("exist") => Some(Ok(())),
                    Err(status) => (!is_passing(&status)).then_some(Err(status)),
                }
            }
        })
        .await;
        added.context("adding a member")
    }
}

/// Whether a change of members may be possible a little later.
fn is_passing(status: &tonic::Status) -> bool {
    matches!(status.code(), tonic::Code::Unavailable | tonic::Code::FailedPrecondition)
}
