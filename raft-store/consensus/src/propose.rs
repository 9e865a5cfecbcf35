//! Proposals: to the local core when this member leads, to the leader otherwise, again after an
//! election, but never so that one proposal could take effect twice.
//!
//! A proposal is good for one term only. When the leader of that term is lost, the proposal is
//! decided as soon as the next leader's first entry is applied here: an entry of the old term that
//! did not come before it never comes.

use std::time::Duration;

use bytes::Bytes;
use openraft::{errors::ClientWriteError, impls::ProgressResponder, vote::leader_id_std};
use proto::peer::{ForwardRequest, forward_request::Request, forward_response::Failure};
use tokio::time::{Instant, timeout_at};

use crate::{Error, forward::Lost, node::Inner, types::Command, view::View};

/// How long a proposal waits through elections.
pub const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest proposal.
pub const MAX_PROPOSAL: usize = 32 << 20;
/// Pause before a leader that refused is asked again, unless a new one shows up earlier.
const PAUSE: Duration = Duration::from_millis(5);

/// What became of a proposal in one term.
pub(crate) enum Outcome {
    /// Committed, and applied by the leader.
    Done,
    /// It did not enter the log.
    Refused,
    /// It may have entered the log of a leader that is no more.
    Lost,
    /// This member is stopping.
    Stopped,
}

impl Inner {
    pub(crate) async fn propose(&self, payload: Bytes, limit: Duration) -> Result<(), Error> {
        if payload.len() > MAX_PROPOSAL {
            return Err(Error::TooLarge(payload.len()));
        }
        let deadline = Instant::now() + limit;
        loop {
            let (leader, term) = self.wait_leader(deadline).await?;
            let attempt = async {
                if leader == self.id {
                    self.propose_here(term, payload.clone()).await
                } else {
                    self.propose_there(leader, term, payload.clone()).await
                }
            };
            match timeout_at(deadline, attempt).await {
                Ok(Outcome::Done) => return Ok(()),
                Ok(Outcome::Refused) => self.pause(View { leader: Some(leader), term }).await,
                Ok(Outcome::Lost) => return Err(self.wait_lost(term, deadline).await),
                Ok(Outcome::Stopped) => return Err(Error::Stopped),
                Err(_) => return Err(Error::Timeout),
            }
        }
    }

    /// Proposes to the local core, which must still lead this term when it takes it up.
    pub(crate) async fn propose_here(&self, term: u64, payload: Bytes) -> Outcome {
        let (responder, done) = ProgressResponder::complete_only();
        let expected = leader_id_std::CommittedLeaderId::new(term);
        let write = self.raft.write(Command(payload)).with_leader(expected).responder(responder);
        if write.await.is_err() {
            return Outcome::Stopped;
        }
        match done.await {
            Ok(Ok(_)) => Outcome::Done,
            Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => Outcome::Lost,
            Ok(Err(_)) => Outcome::Refused,
            // The core ended with the proposal in its hands.
            Err(_) => Outcome::Lost,
        }
    }

    async fn propose_there(&self, leader: u64, term: u64, payload: Bytes) -> Outcome {
        let request = ForwardRequest { id: 0, term, request: Some(Request::Propose(payload)) };
        match self.ask_leader(leader, request).await {
            Ok(response) => match response.failure() {
                Failure::None => Outcome::Done,
                Failure::NotLeader | Failure::NoLeader => Outcome::Refused,
                _ => Outcome::Lost,
            },
            Err(Lost::NotSent) => Outcome::Refused,
            Err(Lost::Unknown) => Outcome::Lost,
        }
    }

    /// Waits until a leader is known. Who asks again and again ends here when the member does: the
    /// last view stays as it was, and nothing waits for the next.
    pub(crate) async fn wait_leader(&self, deadline: Instant) -> Result<(u64, u64), Error> {
        if self.stop.is_triggered() {
            return Err(Error::Stopped);
        }
        let mut view = self.view.clone();
        let known = async {
            let known = view.wait_for(|view| view.leader.is_some()).await;
            known.ok().and_then(|view| view.leader.map(|leader| (leader, view.term)))
        };
        match timeout_at(deadline, known).await {
            Ok(Some(known)) => Ok(known),
            Ok(None) => Err(Error::Stopped),
            Err(_) => Err(Error::NoLeader),
        }
    }

    /// A moment's rest, cut short by a new view. One that can't change any more cuts nothing short.
    pub(crate) async fn pause(&self, seen: View) {
        let mut view = self.view.clone();
        let news = view.wait_for(|view| *view != seen);
        let has_news = tokio::time::timeout(PAUSE, news).await.map(|news| news.is_ok());
        match has_news {
            Ok(true) => {}
            Ok(false) => tokio::time::sleep(PAUSE).await,
            Err(_) => tracing::trace!("asking the same leader again"),
        }
    }

    /// Waits until what was proposed in this term is decided for this member.
    async fn wait_lost(&self, term: u64, deadline: Instant) -> Error {
        let mut applied = self.applied.clone();
        let decided = applied.wait_for(|applied| applied.term > term);
        match timeout_at(deadline, decided).await {
            Ok(Ok(_)) => Error::LeaderChanged,
            Ok(Err(_)) => Error::Stopped,
            Err(_) => Error::Timeout,
        }
    }
}
