//! What the rest of the process holds of the store: the etcd API without the network.

use std::sync::Arc;

use consensus::Status;
use proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, CompactionRequest, CompactionResponse, DeleteRangeRequest,
    DeleteRangeResponse, InternalRaftRequest, LeaseGrantResponse, LeaseTimeToLiveResponse, Member,
    PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
    alarm_request::AlarmAction,
};
use tokio::sync::{broadcast, watch};

use crate::{
    Error, WatchSpec, Watcher,
    auth::{self, Access, AuthError, Caller, Identity},
    members,
    node::Inner,
    propose::Applied,
    request::{self, Limits},
    room::Room,
    state::{State, read},
};

/// A running member of the store. Cloning shares it. Whoever starts a member may do everything
/// with it; the client ports hand out handles that are subject to users and roles.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
    pub(crate) caller: Caller,
}

impl Handle {
    /// Reads keys: linearizable, unless the request says `serializable`.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        Ok(self.page(&request, true, self.inner.rooms.room()).await?.0)
    }

    /// The same, with or without a count of the keys beyond the limit, in a room; it comes back with the answer.
    pub(crate) async fn page(
        &self,
        request: &RangeRequest,
        counts: bool,
        room: Room,
    ) -> Result<(RangeResponse, Room), Error> {
        request::check_range(request)?;
        self.inner.check_corrupt()?;
        if !request.serializable {
            self.inner.wait_read().await?;
        }
        let check = |state: &State, who: &Identity| {
            let auth = state.auth.read();
            auth.check_keys(who, Access::Read, &request.key, &request.range_end)
        };
        let read = |state: &State, room: &mut Room| read::page(state, request, counts, room);
        let (mut response, room) = self.read_in_room(room, check, read).await?;
        self.inner.fill(&mut response.header);
        Ok((response, room))
    }

    /// Reads what the caller may see; again once there is room for the answer.
    async fn read_in_room<T>(
        &self,
        mut room: Room,
        check: impl Fn(&State, &Identity) -> Result<(), AuthError>,
        read: impl Fn(&State, &mut Room) -> Result<T, Error>,
    ) -> Result<(T, Room), Error> {
        loop {
            match self.read(&check, |state| read(state, &mut room)).await {
                Err(Error::TooManyRequests) if room.is_full() => {
                    room.wait(&self.inner.metrics.reads_waited).await?;
                }
                answer => return Ok((answer?, room)),
            }
        }
    }

    /// Writes one key.
    pub async fn put(&self, request: PutRequest) -> Result<PutResponse, Error> {
        request::check_put(&request)?;
        self.inner.check_space(request::put_cost(&request)).await?;
        let request = InternalRaftRequest { put: Some(request), ..Default::default() };
        let Applied::Put(mut response) = self.propose(request).await? else {
            return Err(odd_answer());
        };
        self.inner.fill(&mut response.header);
        Ok(response)
    }

    /// Deletes keys.
    pub async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Error> {
        request::check_delete(&request)?;
        let request = InternalRaftRequest { delete_range: Some(request), ..Default::default() };
        let Applied::DeleteRange(mut response) = self.propose(request).await? else {
            return Err(odd_answer());
        };
        self.inner.fill(&mut response.header);
        Ok(response)
    }

    /// Compares, then reads and writes; all of it or nothing. One that only reads does not enter
    /// the log.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        Ok(self.txn_in_room(request).await?.0)
    }

    /// The same, and the room that the answer takes.
    pub(crate) async fn txn_in_room(
        &self,
        request: TxnRequest,
    ) -> Result<(TxnResponse, Room), Error> {
        let limits = Limits { txn_ops: self.inner.config.max_txn_ops };
        request::check_txn(&request, limits)?;
        let (mut response, room) = if request::is_read_only(&request) {
            self.inner.check_corrupt()?;
            if !request::is_serializable(&request) {
                self.inner.wait_read().await?;
            }
            let check = |state: &State, who: &Identity| {
                auth::check_txn(&state.auth.read(), &state.leases.read(), who, &request)
            };
            let read = |state: &State, room: &mut Room| read::txn(state, &request, room);
            self.read_in_room(self.inner.rooms.room(), check, read).await?
        } else {
            self.inner.check_space(request::txn_cost(&request)).await?;
            let request = InternalRaftRequest { txn: Some(request), ..Default::default() };
            match self.propose(request).await? {
                Applied::Txn(response) => (response, Room::endless()),
                _ => return Err(odd_answer()),
            }
        };
        self.inner.fill(&mut response.header);
        Ok((response, room))
    }

    /// Forgets what was before a revision. With `physical`, waits until it is gone from this
    /// member's disk.
    pub async fn compact(&self, request: CompactionRequest) -> Result<CompactionResponse, Error> {
        self.check_admin().await?;
        let (revision, physical) = (request.revision, request.physical);
        let request = InternalRaftRequest { compaction: Some(request), ..Default::default() };
        let Applied::Compaction(mut response) = self.propose(request).await? else {
            return Err(odd_answer());
        };
        if physical {
            self.inner.machine.wait_compacted(revision).await?;
        }
        self.inner.fill(&mut response.header);
        Ok(response)
    }

    /// Begins a lease of so many seconds; id 0 lets the store choose one.
    pub async fn lease_grant(&self, ttl: i64, id: i64) -> Result<LeaseGrantResponse, Error> {
        let who = self.identify_user().await?;
        self.inner.lease_grant(&who, ttl, id).await
    }

    /// Ends a lease and deletes its keys.
    pub async fn lease_revoke(&self, id: i64) -> Result<(), Error> {
        let who = self.identify_user().await?;
        self.inner.lease_revoke(&who, id).await
    }

    /// Renews a lease; answers with the seconds it now has, and [`Error::LeaseNotFound`] when
    /// there is none.
    pub async fn lease_keep_alive(&self, id: i64) -> Result<i64, Error> {
        self.check_lease(Access::Write, id).await?;
        self.inner.lease_keep_alive(id).await
    }

    /// How long a lease still has; `ttl` is -1 when there is none.
    pub async fn lease_time_to_live(
        &self,
        id: i64,
        keys: bool,
    ) -> Result<LeaseTimeToLiveResponse, Error> {
        let who = match keys {
            true => self.check_lease(Access::Read, id).await?,
            false => self.identify_user().await?,
        };
        let response = self.inner.lease_time_to_live(id, keys).await?;
        if keys {
            who.check_same(self.inner.state().load().auth.read().revision())?;
        }
        Ok(response)
    }

    /// All leases, as this member knows them.
    pub fn lease_leases(&self) -> Vec<i64> {
        self.inner.state().load().leases.read().ids()
    }

    /// Raises, lowers or lists alarms.
    pub async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, Error> {
        match request.action() {
            AlarmAction::Get => drop(self.identify_user().await?),
            _ => self.check_admin().await?,
        }
        self.inner.alarm(request).await
    }

    /// Waits until this member has everything that was committed before; its revision then.
    pub async fn barrier(&self) -> Result<i64, Error> {
        self.inner.wait_read().await?;
        Ok(self.revision())
    }

    /// The newest revision here.
    pub fn revision(&self) -> i64 {
        self.inner.state().load().revision()
    }

    /// The revision below which history is gone.
    pub fn compacted(&self) -> i64 {
        self.inner.state().load().compacted()
    }

    /// Follows a range of keys. Costs nothing until something happens in the range.
    pub fn watch(&self, spec: WatchSpec) -> Watcher {
        self.inner.machine.watch(spec)
    }

    /// Whether this member leads, as it changes. True means that it has also applied everything
    /// from before its term.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.inner.leading.clone()
    }

    /// Who leads, as it changes.
    pub fn leader(&self) -> watch::Receiver<Option<u64>> {
        self.inner.consensus.leader()
    }

    /// Ids of members whose process has just been proven dead.
    pub fn peer_down(&self) -> broadcast::Receiver<u64> {
        self.inner.consensus.peer_down()
    }

    /// This member's id.
    pub fn id(&self) -> u64 {
        self.inner.consensus.id()
    }

    /// What this member knows of the cluster.
    pub fn status(&self) -> Status {
        self.inner.consensus.status()
    }

    /// All members; `linearizable` waits for what was decided before.
    pub async fn member_list(&self, linearizable: bool) -> Result<Vec<Member>, Error> {
        if linearizable {
            self.inner.wait_read().await?;
        }
        self.identify_user().await?;
        Ok(self.inner.members())
    }

    /// Adds a member by its peer URLs.
    pub async fn member_add(&self, urls: Vec<String>, learner: bool) -> Result<Member, Error> {
        members::check_urls(&urls)?;
        self.check_admin().await?;
        self.inner.member_add(urls, learner).await
    }

    /// Removes a member for ever.
    pub async fn member_remove(&self, id: u64) -> Result<(), Error> {
        self.check_admin().await?;
        self.inner.member_remove(id).await
    }

    /// Gives a learner its vote.
    pub async fn member_promote(&self, id: u64) -> Result<(), Error> {
        self.check_admin().await?;
        self.inner.member_promote(id).await
    }

    /// Changes a member's peer URLs.
    pub async fn member_update(&self, id: u64, urls: Vec<String>) -> Result<(), Error> {
        self.check_admin().await?;
        self.inner.member_update(id, urls).await
    }

    /// Hands leadership to another voter; only the leader can.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), Error> {
        self.check_admin().await?;
        if !self.inner.consensus.is_leader() {
            return Err(Error::NotLeader);
        }
        Ok(self.inner.consensus.transfer_leader(to).await?)
    }

    /// The header that an answer of now carries.
    pub fn header(&self) -> ResponseHeader {
        let mut header = None;
        self.inner.fill(&mut header);
        header.unwrap_or_default()
    }

    /// Waits for the end of this member: an error means that the process must end.
    pub async fn closed(&self) -> Result<(), Error> {
        Ok(self.inner.consensus.closed().await?)
    }

    /// Consensus underneath.
    pub fn consensus(&self) -> &consensus::Handle {
        &self.inner.consensus
    }
}

/// An answer of another kind than the question: a broken invariant.
fn odd_answer() -> Error {
    Error::Internal("the state machine gave an answer of another kind".to_owned())
}
