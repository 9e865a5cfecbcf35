//! Finds members whose data is not what the others have, and keeps them from serving it.
//!
//! Two ways lead there. Members compare [digests](crate::state::digest) all the time: one that
//! differs from a majority *fences* itself, for good, and the others go on without an alarm.
//! And, where an operator has asked for it with etcd's flags, what is on disk is read and hashed
//! as etcd does it, at the start and from time to time by the leader; a difference found that way
//! raises etcd's CORRUPT alarm, with which nobody serves any more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use consensus::Divergence;
use prost::Message as _;
use proto::etcdserverpb::{AlarmType, HashKvRequest, HashKvResponse, ResponseHeader};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    Error,
    hash::{self, KvHash},
    node::Inner,
    state::Cell,
};

/// Time for other members to answer when this one starts.
const START: Duration = Duration::from_secs(3);
/// Pause before one that could not be reached is asked again.
const AGAIN: Duration = Duration::from_millis(50);
/// The member id of an alarm that is about no member in particular.
const NOBODY: u64 = 0;

/// Answers another member that wants to compare.
pub(crate) async fn answer(cell: Arc<Cell>, request: Bytes) -> Result<Bytes, consensus::Error> {
    let remote = |text: String| consensus::Error::Remote(text);
    let request = HashKvRequest::decode(request).map_err(|error| remote(error.to_string()))?;
    let state = cell.load();
    let now = state.revision();
    let hashing = stdx::simulated::blocking(move || hash::hash_kv(&state, request.revision));
    let hash = hashing.await.map_err(|panic| remote(panic.to_string()))?;
    let hash = hash.map_err(|error| remote(error.to_string()))?;
    let header = Some(ResponseHeader { revision: now, ..ResponseHeader::default() });
    let (hash_revision, compact_revision) = (hash.revision, hash.compacted);
    let answer = HashKvResponse { header, hash: hash.hash, compact_revision, hash_revision };
    Ok(answer.encode_to_vec().into())
}

impl Inner {
    /// Compares this member's data with the others' before it serves anybody. Members that do not
    /// answer, or stand elsewhere, are passed over, as etcd does.
    pub(crate) async fn check_at_start(&self) -> Result<(), Error> {
        let here = self.hash_here(0).await?;
        let deadline = Instant::now() + START;
        let asking = self.others().into_iter().map(|id| async move {
            let ask = async {
                loop {
                    match self.hash_of(id, here.revision).await {
                        Err(Error::NotLeader) => sleep(AGAIN).await,
                        answer => return answer,
                    }
                }
            };
            (id, timeout_at(deadline, ask).await)
        });
        for (id, answer) in futures::future::join_all(asking).await {
            match answer {
                Ok(Ok(there)) if there.compact_revision == here.compacted => {
                    if there.hash != here.hash {
                        tracing::error!(peer = format!("{id:x}"), ?here, ?there, "hashes differ");
                        let own = self.consensus.id();
                        let text = format!("{own:x} found data inconsistency with peers");
                        return Err(Error::Start(text));
                    }
                }
                other => tracing::warn!(peer = format!("{id:x}"), ?other, "peer not compared"),
            }
        }
        Ok(())
    }

    /// Compares all members' newest data every so often while this member leads.
    pub(crate) async fn check_periodically(self: Arc<Self>, every: Duration) {
        loop {
            sleep(every).await;
            self.check_all(0).await;
        }
    }

    /// Compares what compactions left every so often while this member leads.
    pub(crate) async fn check_compacted(self: Arc<Self>, every: Duration) {
        let mut checked = 0;
        loop {
            sleep(every).await;
            let compacted = self.state().load().compacted();
            if compacted > checked && self.check_all(compacted).await {
                checked = compacted;
            }
        }
    }

    /// Compares all members at a revision; whether all that run could be compared.
    async fn check_all(&self, revision: i64) -> bool {
        if !*self.leading.borrow() {
            return false;
        }
        let Ok(here) = self.hash_here(revision).await else { return false };
        let mut hashes = BTreeMap::from([(self.consensus.id(), here.hash)]);
        let others = self.others();
        for id in &others {
            match self.hash_of(*id, here.revision).await {
                Ok(there) if there.compact_revision == here.compacted => {
                    hashes.insert(*id, there.hash);
                }
                other => tracing::debug!(peer = format!("{id:x}"), ?other, "peer not compared"),
            }
        }
        for id in corrupt(&hashes, others.len() + 1) {
            tracing::error!(member = format!("{id:x}"), ?hashes, "data is corrupt");
            if let Err(error) = self.raise_for(AlarmType::Corrupt, id).await {
                tracing::warn!(%error, "alarm not raised");
            }
        }
        hashes.len() == others.len() + 1
    }

    fn others(&self) -> Vec<u64> {
        let members = self.consensus.status().members.into_iter().map(|member| member.id);
        members.filter(|id| *id != self.consensus.id()).collect()
    }

    async fn hash_here(&self, revision: i64) -> Result<KvHash, Error> {
        let state = self.state().load();
        match stdx::simulated::blocking(move || hash::hash_kv(&state, revision)).await {
            Ok(hash) => hash,
            Err(panic) => Err(Error::Internal(panic.to_string())),
        }
    }

    async fn hash_of(&self, id: u64, revision: i64) -> Result<HashKvResponse, Error> {
        let request = HashKvRequest { revision }.encode_to_vec().into();
        let answer = self.consensus.ask_member(id, request).await?;
        HashKvResponse::decode(answer).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Acts on what comparing digests has shown.
    pub(crate) async fn follow_divergence(self: Arc<Self>) {
        let mut divergence = self.consensus.divergence();
        if self.machine.is_fenced() {
            tracing::error!("this member's data is not the cluster's: it serves nobody");
            self.machine.hub.close();
        }
        loop {
            let found = divergence.borrow_and_update().clone();
            match found {
                None | Some(Divergence::Elsewhere(_)) => {}
                Some(Divergence::Here) => self.fence().await,
                Some(Divergence::Split(members)) => {
                    for id in members.into_iter().filter(|_| *self.leading.borrow()) {
                        if let Err(error) = self.raise_for(AlarmType::Corrupt, id).await {
                            tracing::warn!(%error, "alarm not raised");
                        }
                    }
                }
            }
            if divergence.changed().await.is_err() {
                return;
            }
        }
    }

    /// Serves nobody from now on; leads nobody, if others can.
    async fn fence(&self) {
        tracing::error!(
            "this member's data differs from a majority's: it serves nobody any more. Remove it \
             from the cluster and add it again with an empty directory"
        );
        if let Err(error) = self.machine.fence() {
            tracing::error!(%error, "not written down that this member is fenced");
        }
        self.machine.hub.close();
        if self.consensus.is_leader() {
            for id in self.others() {
                if self.consensus.transfer_leader(id).await.is_ok() {
                    return;
                }
            }
        }
    }
}

/// Which members an alarm is about, of those that could be compared. When no hash has a majority
/// of all members behind it, nobody can say who is right.
fn corrupt(hashes: &BTreeMap<u64, u32>, members: usize) -> Vec<u64> {
    let count = |hash: &u32| hashes.values().filter(|other| *other == hash).count();
    let Some(first) = hashes.values().next() else { return Vec::new() };
    if hashes.values().all(|hash| hash == first) {
        return Vec::new();
    }
    match hashes.values().find(|hash| count(hash) > members / 2) {
        Some(right) => {
            hashes.iter().filter(|(_, hash)| *hash != right).map(|(id, _)| *id).collect()
        }
        None => vec![NOBODY],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_says_who_is_corrupt() {
        let of =
            |hashes: &[(u64, u32)], members| corrupt(&hashes.iter().copied().collect(), members);
        assert_eq!(of(&[(1, 7), (2, 7), (3, 7)], 3), [0; 0]);
        assert_eq!(of(&[(1, 7), (2, 8), (3, 7)], 3), [2]);
        assert_eq!(of(&[(1, 8), (2, 7), (3, 7)], 3), [1]);
        assert_eq!(of(&[(1, 8), (2, 7)], 3), [NOBODY]);
        assert_eq!(of(&[(1, 8), (2, 7), (3, 9)], 3), [NOBODY]);
    }
}
