//! The standing stream to every other member: carries what a follower asks of the leader, and by
//! breaking tells at once that a process may have died.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use proto::peer::{
    ForwardRequest, ForwardResponse, forward_request::Request, forward_response::Failure,
};
use stdx::Shutdown;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    Error, detector,
    membership::Change,
    net::link::{Link, Path},
    node::Inner,
    propose::{Outcome, PROPOSE_TIMEOUT},
    removal,
};

/// Requests to one member that may wait to be sent.
const QUEUE: usize = 4096;
/// Time to open the stream.
const OPEN: Duration = Duration::from_secs(2);
/// Pauses between attempts to open it, the last one repeated.
const PAUSES_MS: [u64; 6] = [5, 20, 50, 100, 200, 300];

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The request never left.
    NotSent,
    /// It may have arrived.
    Unknown,
}

type Answer = oneshot::Sender<Result<ForwardResponse, Lost>>;

/// One request and who waits for its answer.
pub(crate) struct Outgoing {
    request: ForwardRequest,
    answer: Answer,
}

/// The streams by member.
#[derive(Default)]
pub(crate) struct Forwarder {
    peers: Mutex<BTreeMap<u64, (mpsc::Sender<Outgoing>, Shutdown)>>,
}

impl Forwarder {
    /// Sends a request to a member and waits for its answer.
    pub(crate) async fn request(
        &self,
        to: u64,
        request: ForwardRequest,
    ) -> Result<ForwardResponse, Lost> {
        let queue = self.peers.lock().get(&to).map(|(queue, _)| queue.clone());
        let queue = queue.ok_or(Lost::NotSent)?;
        let (answer, answered) = oneshot::channel();
        queue.send(Outgoing { request, answer }).await.map_err(|_| Lost::NotSent)?;
        answered.await.unwrap_or(Err(Lost::Unknown))
    }

    /// Keeps streams to exactly these members.
    pub(crate) fn reconcile(&self, inner: &Arc<Inner>, links: &[Arc<Link>]) {
        let mut peers = self.peers.lock();
        peers.retain(|id, (_, stop)| {
            let wanted = links.iter().any(|link| link.id == *id);
            if !wanted {
                stop.trigger();
                inner.links.remove(*id);
            }
            wanted
        });
        for link in links {
            peers.entry(link.id).or_insert_with(|| {
                let (queue, requests) = mpsc::channel(QUEUE);
                let stop = inner.stop.child();
                let peer = Peer { inner: inner.clone(), id: link.id, requests };
                let guard = stop.clone();
                stdx::task::spawn("consensus-peer", async move { guard.guard(peer.run()).await });
                (queue, stop)
            });
        }
    }

    /// Forgets all streams, so that their tasks end.
    pub(crate) fn clear(&self) {
        self.peers.lock().clear();
    }
}

/// The task that keeps one member's stream open.
struct Peer {
    inner: Arc<Inner>,
    id: u64,
    requests: mpsc::Receiver<Outgoing>,
}

impl Peer {
    async fn run(mut self) {
        let mut failures = 0;
        while let Some(link) = self.inner.links.get(self.id) {
            let (out, queue) = mpsc::channel(QUEUE);
            let mut client = link.client(Path::Control);
            let opening = client.forward(link.request(ReceiverStream::new(queue)));
            match timeout(OPEN, opening).await {
                Ok(Ok(answers)) => {
                    failures = 0;
                    link.set_up(true);
                    detector::reached(&self.inner, self.id);
                    self.serve(out, answers.into_inner()).await;
                    link.set_up(false);
                    detector::lost(&self.inner, self.id);
                }
                Ok(Err(status)) => {
                    tracing::debug!(peer = format!("{:x}", self.id), %status, "peer not reached");
                    if removal::is_notice(&status) {
                        self.inner.finish(Err(removal::NOTICE.to_owned()));
                        return;
                    }
                }
                Err(_) => tracing::debug!(peer = format!("{:x}", self.id), "peer is silent"),
            }
            let pause = PAUSES_MS[failures.min(PAUSES_MS.len() - 1)];
            failures += 1;
            self.refuse(Duration::from_millis(pause)).await;
        }
    }

    /// Turns requests away while there is no stream.
    async fn refuse(&mut self, pause: Duration) {
        let end = sleep(pause);
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => return,
                outgoing = self.requests.recv() => match outgoing {
                    Some(outgoing) => reply(outgoing.answer, Err(Lost::NotSent)),
                    None => return end.await,
                },
            }
        }
    }

    /// Carries requests and answers until the stream breaks.
    async fn serve(
        &mut self,
        out: mpsc::Sender<ForwardRequest>,
        mut answers: Streaming<ForwardResponse>,
    ) {
        let mut waiting: BTreeMap<u64, Answer> = BTreeMap::new();
        let mut next_id = 0;
        loop {
            tokio::select! {
                biased;
                answer = answers.message() => match answer {
                    Ok(Some(response)) => {
                        if let Some(answer) = waiting.remove(&response.id) {
                            reply(answer, Ok(response));
                        }
                    }
                    Ok(None) | Err(_) => break,
                },
                outgoing = self.requests.recv() => {
                    let Some(mut outgoing) = outgoing else { break };
                    next_id += 1;
                    outgoing.request.id = next_id;
                    waiting.insert(next_id, outgoing.answer);
                    if out.send(outgoing.request).await.is_err() {
                        break;
                    }
                }
            }
        }
        for (_, answer) in waiting {
            reply(answer, Err(Lost::Unknown));
        }
    }
}

fn reply(answer: Answer, result: Result<ForwardResponse, Lost>) {
    if answer.send(result).is_err() {
        tracing::trace!("nobody waits for this answer any more");
    }
}

impl Inner {
    /// Answers what another member asks of the leader.
    pub(crate) async fn serve_forwarded(&self, request: ForwardRequest) -> ForwardResponse {
        let mut response = ForwardResponse { id: request.id, ..ForwardResponse::default() };
        let result = match request.request {
            Some(Request::Propose(payload)) => {
                match self.propose_here(request.term, payload).await {
                    Outcome::Done => Ok(()),
                    Outcome::Refused => Err(Error::NotLeader),
                    Outcome::Lost => Err(Error::LeaderChanged),
                    Outcome::Stopped => Err(Error::Stopped),
                }
            }
            Some(Request::ReadIndex(_)) => {
                self.read_index_here().await.map(|index| response.index = index)
            }
            Some(Request::Call(request)) => {
                self.service.call(request).await.map(|answer| response.answer = answer)
            }
            Some(Request::Change(change)) => match Change::from_wire(change) {
                Some(change) => self.change_here(change).await,
                None => Err(Error::Membership("a change that this version does not know".into())),
            },
            Some(Request::Ask(request)) => {
                self.service.ask(request).await.map(|answer| response.answer = answer)
            }
            Some(Request::Pulse(_)) => {
                response.pulse = Some(self.pulse());
                Ok(())
            }
            None => Err(Error::Remote("a request that this version does not know".into())),
        };
        if let Err(error) = result {
            response.message = stdx::chain(&error);
            response.set_failure(failure(&error));
        }
        response
    }

    /// Asks one member; [`Error::NotLeader`] when it cannot be reached.
    pub(crate) async fn ask_member(&self, id: u64, request: Bytes) -> Result<Bytes, Error> {
        if id == self.id {
            return self.service.ask(request).await;
        }
        let asking = self.ask(id, 0, Request::Ask(request));
        match tokio::time::timeout(PROPOSE_TIMEOUT, asking).await {
            Ok(answer) => answer.map(|response| response.answer),
            Err(_) => Err(Error::Timeout),
        }
    }

    pub(crate) async fn call_leader(&self, request: Bytes) -> Result<Bytes, Error> {
        let deadline = Instant::now() + PROPOSE_TIMEOUT;
        loop {
            let (leader, term) = self.wait_leader(deadline).await?;
            let attempt = async {
                if leader == self.id {
                    return self.service.call(request.clone()).await;
                }
                let request = Request::Call(request.clone());
                self.ask(leader, term, request).await.map(|response| response.answer)
            };
            match tokio::time::timeout_at(deadline, attempt).await {
                Ok(Err(Error::NotLeader)) => {
                    self.pause(crate::view::View { leader: Some(leader), term }).await
                }
                Ok(result) => return result,
                Err(_) => return Err(Error::Timeout),
            }
        }
    }

    /// The answer of a term's leader, which is unknown once a later term has another: a host that was lost never
    /// answers, and its connection breaks late.
    pub(crate) async fn ask_leader(
        &self,
        leader: u64,
        request: ForwardRequest,
    ) -> Result<ForwardResponse, Lost> {
        let (term, mut view) = (request.term, self.view.clone());
        let superseded = async {
            let later = view.wait_for(|view| view.term > term && view.leader.is_some());
            if term == 0 || later.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            answer = self.forwarder.request(leader, request) => answer,
            () = superseded => Err(Lost::Unknown),
        }
    }

    /// One request to the leader; [`Error::NotLeader`] when it certainly did nothing.
    pub(crate) async fn ask(
        &self,
        leader: u64,
        term: u64,
        request: Request,
    ) -> Result<ForwardResponse, Error> {
        let request = ForwardRequest { id: 0, term, request: Some(request) };
        match self.ask_leader(leader, request).await {
            Ok(response) => match response.failure() {
                Failure::None => Ok(response),
                Failure::NotLeader | Failure::NoLeader => Err(Error::NotLeader),
                Failure::LeaderChanged => Err(Error::LeaderChanged),
                Failure::Membership => Err(Error::Membership(response.message)),
                Failure::Timeout => Err(Error::Timeout),
                Failure::Stopped => Err(Error::LeaderChanged),
                Failure::Other | Failure::TooLarge => Err(Error::Remote(response.message)),
            },
            Err(Lost::NotSent) => Err(Error::NotLeader),
            Err(Lost::Unknown) => Err(Error::LeaderChanged),
        }
    }
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::NoLeader => Failure::NoLeader,
        Error::NotLeader => Failure::NotLeader,
        Error::LeaderChanged => Failure::LeaderChanged,
        Error::Timeout => Failure::Timeout,
        Error::TooLarge(_) => Failure::TooLarge,
        Error::Membership(_) => Failure::Membership,
        Error::Stopped | Error::Fatal(_) | Error::Removed => Failure::Stopped,
        Error::Remote(_) | Error::Config(_) | Error::Tls(_) | Error::Io { .. } => Failure::Other,
    }
}
