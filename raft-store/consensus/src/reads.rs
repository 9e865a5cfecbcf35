//! Linearizable reads: one round to a majority gives the index for every read that was waiting
//! when it began; reads that come later wait for the next round.

use std::{sync::Arc, time::Duration};

use openraft::ReadPolicy;
use proto::peer::forward_request::Request;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{Error, node::Inner, view::View};

/// Reads that may wait for the next round.
const QUEUE: usize = 16 << 10;
/// How long a read waits through elections.
const LIMIT: Duration = Duration::from_secs(5);

pub(crate) type Waiter = oneshot::Sender<Option<u64>>;

/// Where reads queue.
#[derive(Clone)]
pub(crate) struct Reads {
    queue: mpsc::Sender<Waiter>,
}

impl Reads {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Waiter>) {
        let (queue, waiters) = mpsc::channel(QUEUE);
        (Self { queue }, waiters)
    }

    pub(crate) async fn read_index(&self) -> Result<u64, Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(answer).await.map_err(|_| Error::Stopped)?;
        match answered.await {
            Ok(Some(index)) => Ok(index),
            Ok(None) => Err(Error::NoLeader),
            Err(_) => Err(Error::Stopped),
        }
    }
}

/// Makes round after round for whoever waits.
pub(crate) async fn run(inner: Arc<Inner>, mut waiters: mpsc::Receiver<Waiter>) {
    while let Some(first) = waiters.recv().await {
        let mut group = vec![first];
        while let Ok(waiter) = waiters.try_recv() {
            group.push(waiter);
        }
        let index = match inner.read_round().await {
            Ok(index) => Some(index),
            // Whoever waits hears it from the sender that is dropped.
            Err(Error::Stopped) => continue,
            Err(_) => None,
        };
        for waiter in group {
            if waiter.send(index).is_err() {
                tracing::trace!("a reader has left");
            }
        }
    }
}

impl Inner {
    /// The index for reads that began before now.
    async fn read_round(&self) -> Result<u64, Error> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let (leader, term) = self.wait_leader(deadline).await?;
            let attempt = async {
                if leader == self.id {
                    return self.read_index_here().await;
                }
                let answer = self.ask(leader, term, Request::ReadIndex(true)).await?;
                Ok(answer.index)
            };
            match timeout_at(deadline, attempt).await {
                Ok(Ok(index)) => return Ok(index),
                // The view of a core that has stopped names this leader for ever.
                Ok(Err(Error::Stopped)) if leader == self.id => return Err(Error::Stopped),
                Ok(Err(error)) => {
                    tracing::debug!(error = stdx::chain(&error), "read round failed");
                    self.pause(View { leader: Some(leader), term }).await;
                }
                Err(_) => return Err(Error::NoLeader),
            }
        }
    }

    /// Confirms leadership with a majority; the index of what is committed by then.
    pub(crate) async fn read_index_here(&self) -> Result<u64, Error> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Ok(read.index()),
            Err(openraft::errors::RaftError::APIError(_)) => Err(Error::NotLeader),
            Err(openraft::errors::RaftError::Fatal(_)) => Err(Error::Stopped),
        }
    }
}
