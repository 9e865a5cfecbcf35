//! From a request to its answer: into the log as an [`InternalRaftRequest`] with an id of its
//! own, out of the state machine here when it meets that id.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use proto::etcdserverpb::{
    AlarmResponse, CompactionResponse, DeleteRangeResponse, InternalRaftRequest,
    LeaseGrantResponse, PutResponse, TxnResponse,
};
use tokio::sync::oneshot;

use crate::{Error, auth::Identity, metrics, node::Inner};

/// Proposals of one member that may wait for their answers.
const MAX_PENDING: usize = 10_000;

/// What the state machine answers.
#[derive(Debug)]
pub(crate) enum Applied {
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compaction(CompactionResponse),
    LeaseGrant(LeaseGrantResponse),
    Alarm(AlarmResponse),
    /// A user was authenticated here in the log, at this auth revision.
    Authenticated {
        index: u64,
        revision: u64,
    },
    /// Done, and there is nothing to say.
    Done,
}

/// What waits for an answer.
pub(crate) type Waiter = oneshot::Sender<Result<Applied, Error>>;

/// Proposals of this member that wait for their answers, by id.
pub(crate) struct Pending {
    waiters: Mutex<HashMap<u64, Waiter>>,
    next: AtomicU64,
}

impl Pending {
    /// Ids begin at a random place: those of an earlier life of this member may still be in the
    /// log.
    pub(crate) fn new() -> Self {
        let next = AtomicU64::new(stdx::simulated::random() >> 1);
        Self { waiters: Mutex::default(), next }
    }

    /// Takes the waiter for an id, if it is from here.
    pub(crate) fn take(&self, id: u64) -> Option<Waiter> {
        self.waiters.lock().remove(&id)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiters.lock().len()
    }

    /// Fails all: what they wait for may have been skipped.
    pub(crate) fn fail_all(&self, error: &Error) {
        let waiters = std::mem::take(&mut *self.waiters.lock());
        for (_, waiter) in waiters {
            answer(waiter, Err(error.clone()));
        }
    }

    fn register(&self) -> Result<(u64, oneshot::Receiver<Result<Applied, Error>>), Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (waiter, answer) = oneshot::channel();
        let mut waiters = self.waiters.lock();
        if waiters.len() >= MAX_PENDING {
            return Err(Error::TooManyRequests);
        }
        waiters.insert(id, waiter);
        Ok((id, answer))
    }
}

/// Gives an answer to whoever waits for it.
pub(crate) fn answer(waiter: Waiter, result: Result<Applied, Error>) {
    if waiter.send(result).is_err() {
        tracing::trace!("nobody waits for this answer any more");
    }
}

/// Forgets a waiter when its proposal is given up.
struct Registered<'a> {
    pending: &'a Pending,
    id: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.pending.take(self.id);
    }
}

impl Inner {
    /// Puts a request of this process into the log and waits until it is applied here.
    pub(crate) async fn propose(&self, request: InternalRaftRequest) -> Result<Applied, Error> {
        self.propose_as(&Identity::Process, request).await
    }

    /// Puts a request into the log and waits until it is applied here.
    pub(crate) async fn propose_as(
        &self,
        who: &Identity,
        request: InternalRaftRequest,
    ) -> Result<Applied, Error> {
        if self.machine.is_fenced() {
            return Err(Error::Corrupt);
        }
        let pending = &self.machine.pending;
        let (id, mut answered) = pending.register()?;
        let _registered = Registered { pending, id };
        let payload = encode(request, who, id);
        if payload.len() > self.config.max_request_bytes {
            return Err(Error::RequestTooLarge);
        }
        loop {
            let proposed = tokio::select! {
                biased;
                // Usually first: the state machine is on the way to the outcome below.
                answer = &mut answered => return answer.unwrap_or(Err(Error::Stopped)),
                proposed = self.consensus.propose(payload.clone()) => proposed,
            };
            match proposed {
                // Applied by the leader, and soon here.
                Ok(()) => {
                    let soon = tokio::time::timeout(consensus::PROPOSE_TIMEOUT, &mut answered);
                    return match soon.await {
                        Ok(answer) => answer.unwrap_or(Err(Error::Stopped)),
                        Err(_) => Err(Error::TimeoutApplied),
                    };
                }
                Err(consensus::Error::LeaderChanged) => match answered.try_recv() {
                    Ok(answer) => return answer,
                    // It was not met and never will be: once more.
                    Err(oneshot::error::TryRecvError::Empty) => {}
                    Err(oneshot::error::TryRecvError::Closed) => return Err(Error::Stopped),
                },
                Err(error) => {
                    return match answered.try_recv() {
                        Ok(answer) => answer,
                        Err(_) => {
                            metrics::count_one(&self.metrics.proposals_failed);
                            Err(error.into())
                        }
                    };
                }
            }
        }
    }
}

fn encode(mut request: InternalRaftRequest, who: &Identity, id: u64) -> Bytes {
    request.header = Some(who.header(id));
    request.encode_to_vec().into()
}
