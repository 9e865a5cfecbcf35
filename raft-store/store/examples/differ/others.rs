//! Random locks, elections, and what runs a cluster: each refused or allowed, and in etcd's words.
//! A name belongs to one lease, so that nothing waits.

use proto::{
    etcdserverpb::{
        AlarmRequest, DefragmentRequest, DowngradeRequest, MemberAddRequest, MemberPromoteRequest,
        MemberRemoveRequest, MemberUpdateRequest, MoveLeaderRequest, ResponseHeader,
        SnapshotRequest, cluster_client::ClusterClient, maintenance_client::MaintenanceClient,
    },
    v3electionpb::{
        CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
        election_client::ElectionClient,
    },
    v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient},
};
use tonic::Status;

use crate::{random::Generator, servers::Link};

/// A request beside those for keys and for auth.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Lock(LockRequest),
    Unlock(UnlockRequest),
    Campaign(CampaignRequest),
    Leader(LeaderRequest),
    Proclaim(ProclaimRequest),
    Resign(ResignRequest),
    MoveLeader(u64),
    Defragment,
    Snapshot,
    Downgrade(DowngradeRequest),
    Alarm(AlarmRequest),
    MemberAdd(Vec<String>),
    MemberRemove(u64),
    MemberUpdate(u64, Vec<String>),
    MemberPromote(u64),
}

impl Generator {
    /// The next request.
    pub(crate) fn other_request(&mut self) -> Request {
        let lease = 1 + self.below(5);
        let name = |kind: &str| bytes::Bytes::from(format!("{kind}{lease}"));
        let (lock, election) = (name("a"), name("p/"));
        let value: bytes::Bytes = format!("v{}", self.below(3)).into();
        let urls = ["nonsense", "http://127.0.0.1", "http://a/b", "ftp://127.0.0.1:1"];
        let urls = vec![urls[self.below(4) as usize].to_owned()];
        match self.below(40) {
            0..=8 => Request::Lock(LockRequest { name: lock, lease }),
            9..=13 => {
                let key = format!("a{lease}/{lease:x}").into();
                Request::Unlock(UnlockRequest { key })
            }
            14..=19 => Request::Campaign(CampaignRequest { name: election, lease, value }),
            20..=23 => Request::Leader(LeaderRequest { name: election }),
            24..=25 => {
                Request::Proclaim(ProclaimRequest { leader: self.leader(&election, lease), value })
            }
            26..=27 => Request::Resign(ResignRequest { leader: self.leader(&election, lease) }),
            28 => Request::MoveLeader(5),
            29 => Request::Defragment,
            30 => Request::Snapshot,
            31..=32 => {
                // 3.6.0, to which etcd could go back, is refused here on purpose.
                let version = ["", "3.8.0", "3.5", "x"][self.below(4) as usize].to_owned();
                let action = [0, 2][self.below(2) as usize];
                Request::Downgrade(DowngradeRequest { action, version })
            }
            33 => Request::Alarm(AlarmRequest { action: 2, member_id: 5, alarm: 1 }),
            34..=35 => Request::MemberAdd(urls),
            36 => Request::MemberRemove(5),
            37..=38 => Request::MemberUpdate(5, urls),
            _ => Request::MemberPromote(5),
        }
    }

    /// A claim to lead, most of them wrong.
    fn leader(&mut self, name: &bytes::Bytes, lease: i64) -> Option<LeaderKey> {
        let key = [name, format!("/{lease:x}").as_bytes()].concat().into();
        let rev = self.below(50);
        self.chance(90).then(|| LeaderKey { name: name.clone(), key, rev, lease })
    }
}

/// What is asked.
pub(crate) struct Others {
    lock: LockClient<Link>,
    election: ElectionClient<Link>,
    cluster: ClusterClient<Link>,
    maintenance: MaintenanceClient<Link>,
}

impl Others {
    pub(crate) fn new(link: &Link) -> Self {
        Self {
            lock: LockClient::new(link.clone()),
            election: ElectionClient::new(link.clone()),
            cluster: ClusterClient::new(link.clone()),
            maintenance: MaintenanceClient::new(link.clone()),
        }
    }

    /// The answer in words, without what must differ.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<String, Status> {
        macro_rules! ask {
            ($client:ident, $method:ident, $request:expr) => {{
                let mut answer = self.$client.$method($request).await?.into_inner();
                clean(&mut answer.header);
                format!("{answer:?}")
            }};
        }
        Ok(match request {
            Request::Lock(request) => ask!(lock, lock, request),
            Request::Unlock(request) => ask!(lock, unlock, request),
            Request::Campaign(request) => ask!(election, campaign, request),
            Request::Leader(request) => ask!(election, leader, request),
            Request::Proclaim(request) => ask!(election, proclaim, request),
            Request::Resign(request) => ask!(election, resign, request),
            Request::MoveLeader(target_id) => {
                ask!(maintenance, move_leader, MoveLeaderRequest { target_id })
            }
            Request::Defragment => ask!(maintenance, defragment, DefragmentRequest {}),
            Request::Snapshot => {
                let mut blobs = self.maintenance.snapshot(SnapshotRequest {}).await?.into_inner();
                while blobs.message().await?.is_some() {}
                "a snapshot".to_owned()
            }
            Request::Downgrade(request) => ask!(maintenance, downgrade, request),
            Request::Alarm(request) => ask!(maintenance, alarm, request),
            Request::MemberAdd(peer_urls) => {
                let request = MemberAddRequest { peer_urls, is_learner: false };
                self.cluster.member_add(request).await?;
                "a member".to_owned()
            }
            Request::MemberRemove(id) => {
                ask!(cluster, member_remove, MemberRemoveRequest { id })
            }
            Request::MemberUpdate(id, peer_urls) => {
                ask!(cluster, member_update, MemberUpdateRequest { id, peer_urls })
            }
            Request::MemberPromote(id) => {
                ask!(cluster, member_promote, MemberPromoteRequest { id })
            }
        })
    }
}

fn clean(header: &mut Option<ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}
