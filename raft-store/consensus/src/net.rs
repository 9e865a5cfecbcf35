//! The way to other members: openraft's network traits over gRPC.
//!
//! One pipelined append stream per follower; heartbeats, on a stream that stands, votes and
//! forwarded requests on a second connection, snapshots on a third, so that none of them waits
//! behind another.

pub(crate) mod connector;
pub(crate) mod link;
pub(crate) mod service;

use std::{future::Future, io, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use openraft::{
    OptionalSend, RaftNetworkFactory,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{
        Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
    },
    raft::{
        AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use proto::peer as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    adapter::Snapshot,
    snapshot::{self, Checkpoint},
    types::{Node, TypeConfig, Vote},
    wire,
};
use link::{Link, Links, Path};

/// Time to open a stream to a member that may need a new connection first.
const SETUP: Duration = Duration::from_secs(1);
/// Attempts to go on with a snapshot without any progress.
const SNAPSHOT_RETRIES: u32 = 50;
/// Pause before each.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(200);
/// Pauses between attempts to reach a member that is away.
const BACKOFF_MS: [u64; 5] = [10, 20, 50, 100, 200];

pub(crate) type Client = pb::peer_client::PeerClient<tonic::transport::Channel>;

/// Hands openraft its connections.
pub(crate) struct Factory {
    pub(crate) links: Arc<Links>,
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, node: &Node) -> Network {
        Network::new(&self.links, self.links.link(target, &node.peer_urls), Path::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Node) -> Network {
        Network::new(&self.links, self.links.link(target, &node.peer_urls), Path::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Node) -> Network {
        Network::new(&self.links, self.links.link(target, &node.peer_urls), Path::Snapshot)
    }
}

/// One way to one member.
pub(crate) struct Network {
    links: Arc<Links>,
    /// The connections at first.
    first: Arc<Link>,
    path: Path,
    standing: Option<Standing>,
}

/// A stream that stays open between heartbeats: opening one costs more than all else of a heartbeat.
struct Standing {
    out: mpsc::Sender<pb::AppendRequest>,
    answers: Streaming<pb::AppendResponse>,
}

impl Network {
    fn new(links: &Arc<Links>, first: Arc<Link>, path: Path) -> Self {
        Self { links: links.clone(), first, path, standing: None }
    }

    /// The connections now: the member may have got other addresses.
    fn link(&self) -> Arc<Link> {
        self.links.get(self.first.id).unwrap_or_else(|| self.first.clone())
    }

    fn client(&self, path: Path) -> Client {
        self.link().client(path)
    }
}

impl NetBackoff<TypeConfig> for Network {
    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF_MS[BACKOFF_MS.len() - 1];
        let pauses = BACKOFF_MS.into_iter().chain(std::iter::repeat(last));
        Some(Backoff::new(pauses.map(Duration::from_millis)))
    }
}

impl NetStreamAppend<TypeConfig> for Network {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // The pauses between attempts lie in openraft's stream of requests: a stream opened
            // before the first request would try a member that is away again and again.
            let mut input = input;
            let Some(first) = input.next().await else {
                return Ok(Box::pin(futures::stream::empty()) as BoxStream<'s, _>);
            };
            let input = futures::stream::iter([first]).chain(input).map(wire::append_request);
            if self.path == Path::Control {
                let beats = futures::stream::unfold((self, input), |(network, mut input)| async {
                    let beat = network.beat(input.next().await?).await;
                    Some((beat, (network, input)))
                });
                return Ok(Box::pin(beats) as BoxStream<'s, _>);
            }
            let responses = self.open(input, option.soft_ttl().max(SETUP)).await?.map(answered);
            Ok(Box::pin(responses) as BoxStream<'s, _>)
        })
    }
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

/// What a follower has answered.
fn answered(
    answer: Result<pb::AppendResponse, tonic::Status>,
) -> Rpc<StreamAppendResult<TypeConfig>> {
    let answer = answer.map_err(|status| rpc_error(&status))?;
    wire::to_append_response(answer).map_err(|error| broken(&error))
}

impl Network {
    /// Opens a stream of requests to append.
    async fn open(
        &self,
        requests: impl Stream<Item = pb::AppendRequest> + Send + 'static,
        limit: Duration,
    ) -> Rpc<Streaming<pb::AppendResponse>> {
        let mut client = self.client(self.path);
        let opening = client.append(self.link().request(requests));
        match tokio::time::timeout(limit, opening).await {
            Ok(Ok(responses)) => Ok(responses.into_inner()),
            Ok(Err(status)) => Err(rpc_error(&status)),
            Err(_) => Err(unreachable("no answer to an append stream")),
        }
    }

    /// Sends a heartbeat on the stream that stands, or on a new one when it has broken; waits for the answer. Who
    /// stops waiting loses the stream with it, so that no later heartbeat gets this one's answer.
    async fn beat(&mut self, request: pb::AppendRequest) -> Rpc<StreamAppendResult<TypeConfig>> {
        if let Some(mut standing) = self.standing.take()
            && standing.out.send(request.clone()).await.is_ok()
            && let Ok(Some(answer)) = standing.answers.message().await
        {
            self.standing = Some(standing);
            return answered(Ok(answer));
        }
        let (out, requests) = mpsc::channel(1);
        // The stream opens with its first message.
        out.send(request).await.map_err(|_| unreachable("a stream that has ended"))?;
        let mut answers = self.open(ReceiverStream::new(requests), SETUP).await?;
        match answers.message().await {
            Ok(Some(answer)) => {
                self.standing = Some(Standing { out, answers });
                answered(Ok(answer))
            }
            Ok(None) => Err(unreachable("no answer to a heartbeat")),
            Err(status) => Err(rpc_error(&status)),
        }
    }
}

impl NetVote<TypeConfig> for Network {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(wire::vote_request(&request, false), option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(wire::vote_request(&request, true), option.soft_ttl()).await
    }
}

impl Network {
    async fn ask_vote(
        &self,
        request: pb::VoteRequest,
        limit: Duration,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let response = self.link().ask_vote(request, limit).await.map_err(|s| rpc_error(&s))?;
        wire::to_vote_response(response).map_err(|error| broken(&error))
    }
}

impl NetTransferLeader<TypeConfig> for Network {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let message = pb::TransferLeaderRequest {
            from: Some(wire::vote(request.from_leader())),
            to: *request.to_node_id(),
            last_log: request.last_log_id().map(wire::log_id),
        };
        let mut client = self.client(Path::Control);
        let answer = client.transfer_leader(self.link().request(message));
        match tokio::time::timeout(option.soft_ttl(), answer).await {
            Ok(Ok(response)) if response.get_ref().error.is_empty() => Ok(Ok(())),
            Ok(Ok(response)) => {
                let error = response.into_inner().error;
                Err(RPCError::Network(NetworkError::from_string(error)))
            }
            Ok(Err(status)) => Err(rpc_error(&status)),
            Err(_) => Err(unreachable("no answer to a transfer of leadership")),
        }
    }
}

impl NetSnapshot<TypeConfig> for Network {
    type SnapshotData = Checkpoint;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let Snapshot { meta, snapshot: checkpoint } = snapshot;
        let state = wire::applied_state(meta.last_log_id.as_ref(), &meta.last_membership);
        let id = stdx::simulated::random().max(1);
        let start = pb::SnapshotStart { vote: Some(wire::vote(&vote)), state: Some(state), id };
        let sending = self.send_snapshot(Arc::new(checkpoint), start);
        let answer = tokio::select! {
            biased;
            answer = sending => answer?,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        let vote = wire::to_vote(answer.vote);
        let vote = vote.map_err(|error| StreamingError::Network(network(&error)))?;
        Ok(SnapshotResponse::new(vote))
    }
}

impl Network {
    /// Sends a copy of the state; when the connection breaks, the rest of it over a new one.
    async fn send_snapshot(
        &self,
        checkpoint: Arc<Checkpoint>,
        start: pb::SnapshotStart,
    ) -> Result<pb::SnapshotResponse, StreamingError<TypeConfig>> {
        let mut failures = 0;
        let mut have = (0, 0);
        loop {
            let (chunks, queue) = mpsc::channel(snapshot::READ_AHEAD);
            let (copy, first) = (checkpoint.clone(), start.clone());
            let reading = snapshot::send_chunks(copy, first, have, chunks);
            let mut client = self.client(Path::Snapshot);
            let request = self.link().request(ReceiverStream::new(queue));
            let (read, answer) = tokio::join!(reading, client.install_snapshot(request));
            read.map_err(|error| StreamingError::Network(network(&error)))?;
            let status = match answer {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            let error = match rpc_error(&status) {
                RPCError::Unreachable(error) if failures < SNAPSHOT_RETRIES => error,
                RPCError::Unreachable(error) => return Err(StreamingError::Unreachable(error)),
                error => return Err(StreamingError::Network(NetworkError::new(&error))),
            };
            tracing::info!(%error, "snapshot stream has broken");
            let before = have;
            while failures < SNAPSHOT_RETRIES {
                failures += 1;
                tokio::time::sleep(SNAPSHOT_PAUSE).await;
                let request = pb::SnapshotProgressRequest { id: start.id };
                let asked = client.snapshot_progress(self.link().request(request));
                if let Ok(Ok(answer)) = tokio::time::timeout(SETUP, asked).await {
                    let answer = answer.into_inner();
                    have = (answer.files, answer.offset);
                    break;
                }
            }
            if have > before {
                failures = 0;
            }
        }
    }
}

/// Whether a peer is away, to be tried again after a pause, or answered something wrong.
fn rpc_error(status: &tonic::Status) -> RPCError<TypeConfig> {
    let text = stdx::chain(status);
    match status.code() {
        tonic::Code::InvalidArgument | tonic::Code::Internal => {
            RPCError::Network(NetworkError::from_string(text))
        }
        _ => unreachable(&text),
    }
}

fn unreachable(text: &str) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(text))
}

fn broken(error: &io::Error) -> RPCError<TypeConfig> {
    RPCError::Network(network(error))
}

fn network(error: &io::Error) -> NetworkError<TypeConfig> {
    NetworkError::new(error)
}
