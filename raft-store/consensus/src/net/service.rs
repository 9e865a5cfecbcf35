//! What this member answers to other members.

use std::{io, sync::Arc};

use futures::{StreamExt, stream::BoxStream};
use http_body_util::BodyExt;
use openraft::raft::TransferLeaderRequest;
use proto::peer::{self as pb, peer_server::PeerServer, snapshot_chunk::Part};
use stdx::{
    Shutdown,
    serve::{Accept, PeerInfo},
};
use tonic::{Request, Response, Status, Streaming};
use tower::ServiceExt;

use super::link::MESSAGE;
use crate::{
    adapter::{Snapshot, blocking},
    node::Inner,
    snapshot::{Partial, Receiver},
    wire,
};

/// Forwarded requests of one member in progress at once.
const FORWARDED: usize = 4096;

/// Serves members until told to stop.
pub(crate) async fn listen<L: Accept>(
    listener: L,
    tls: Option<Arc<rustls::ServerConfig>>,
    stop: Shutdown,
    inner: Arc<Inner>,
) {
    let service = PeerServer::new(Service { inner, stop: stop.clone() })
        .max_decoding_message_size(MESSAGE)
        .max_encoding_message_size(MESSAGE);
    stdx::serve::listen("peer", listener, tls, stop, move |_: PeerInfo, request| {
        let service = service.clone();
        async move {
            let response = match service.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            response.map(|body| body.map_err(Into::into).boxed_unsync())
        }
    })
    .await;
}

/// The peer service of one member.
struct Service {
    inner: Arc<Inner>,
    stop: Shutdown,
}

impl Service {
    fn check<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        let (from, cluster) = self.inner.identity.check(request.metadata())?;
        self.inner.removed.check(from)?;
        if self.inner.identity.adopt(cluster) {
            self.inner.keep_cluster(cluster);
        }
        Ok(from)
    }

    /// Ends a stream when this member stops, because an orderly end waits for open streams, and
    /// when the other end is removed from the cluster.
    fn until_stopped<T: Send + 'static>(
        &self,
        from: u64,
        stream: impl futures::Stream<Item = T> + Send + 'static,
    ) -> BoxStream<'static, T> {
        let stop = self.stop.clone();
        let removed = self.inner.removed.wait(from);
        let end = async move {
            tokio::select! {
                biased;
                () = stop.triggered() => {}
                () = removed => {}
            }
        };
        stream.take_until(Box::pin(end)).boxed()
    }
}

#[tonic::async_trait]
impl pb::peer_server::Peer for Service {
    type AppendStream = BoxStream<'static, Result<pb::AppendResponse, Status>>;
    type ForwardStream = BoxStream<'static, Result<pb::ForwardResponse, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let from = self.check(&request)?;
        let inner = self.inner.clone();
        inner.pace.begin(from, tokio::time::Instant::now());
        let requests = request.into_inner().scan((), move |(), message| {
            let request = message.ok().map(wire::to_append_request);
            std::future::ready(match request {
                Some(Ok(request)) => {
                    inner.hear(from);
                    Some(request)
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "append request not understood");
                    None
                }
                None => None,
            })
        });
        let results = self.inner.raft.stream_append(self.until_stopped(from, requests));
        let responses = results.map(|result| match result {
            Ok(result) => Ok(wire::append_response(result)),
            Err(fatal) => Err(Status::unavailable(fatal.to_string())),
        });
        Ok(Response::new(self.until_stopped(from, responses)))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        self.check(&request)?;
        let request = request.into_inner();
        let (pre, death) = (request.pre, request.pre && request.transfer);
        let request = wire::to_vote_request(request).map_err(|e| bad(&e))?;
        let raft = &self.inner.raft;
        let answer = if pre { raft.pre_vote(request).await } else { raft.vote(request).await };
        let answer = answer.map_err(|fatal| Status::unavailable(fatal.to_string()))?;
        let mut response = wire::vote_response(&answer);
        if death {
            // Not asked whether the lease has run out, but whether the leader is gone from here.
            response.granted = self.inner.leader_is_gone();
        }
        Ok(Response::new(response))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        self.check(&request)?;
        let request = request.into_inner();
        let from = wire::to_vote(request.from).map_err(|e| bad(&e))?;
        let last_log = wire::to_position(request.last_log).map_err(|e| bad(&e))?;
        let request = TransferLeaderRequest::new(from, request.to, last_log);
        let answer = self.inner.raft.handle_transfer_leader(request).await;
        let error = match answer {
            Ok(Ok(())) => String::new(),
            Ok(Err(refusal)) => refusal.to_string(),
            Err(fatal) => return Err(Status::unavailable(fatal.to_string())),
        };
        Ok(Response::new(pb::TransferLeaderResponse { error }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotChunk>>,
    ) -> Result<Response<pb::SnapshotResponse>, Status> {
        let from = self.check(&request)?;
        let mut chunks = request.into_inner();
        let Some(Part::Start(start)) = chunks.message().await?.and_then(|c| c.part) else {
            return Err(Status::invalid_argument("a snapshot without a beginning"));
        };
        let vote = wire::to_vote(start.vote).map_err(|e| bad(&e))?;
        let state = start.state.unwrap_or_default();
        let meta = wire::to_snapshot_meta(state).map_err(|e| bad(&e))?;
        let known = self.inner.partial.lock().take_if(|partial| partial.id == start.id);
        let mut receiver = match known.filter(|_| start.id != 0) {
            Some(partial) => partial.receiver,
            None => {
                let dir = self.inner.incoming_snapshot();
                blocking(move || Receiver::create(dir)).await.map_err(|e| disk(&e))?
            }
        };
        let have = receiver.position();
        tracing::info!(from = format!("{from:x}"), at = ?meta.last_log_id, ?have, "snapshot comes in");
        loop {
            let message = match chunks.message().await {
                Ok(message) => message,
                Err(status) => {
                    // The rest may come on another stream.
                    let partial = Partial { id: start.id, receiver };
                    *self.inner.partial.lock() = Some(partial);
                    return Err(status);
                }
            };
            match message.and_then(|chunk| chunk.part) {
                Some(Part::Data(data)) => {
                    receiver = blocking(move || receiver.write(&data).map(|()| receiver))
                        .await
                        .map_err(|e| disk(&e))?;
                }
                Some(Part::End(end)) => {
                    let checkpoint =
                        blocking(move || receiver.finish(&end)).await.map_err(|e| disk(&e))?;
                    let snapshot = Snapshot { meta, snapshot: checkpoint };
                    let done = self.inner.raft.install_full_snapshot(vote, snapshot).await;
                    let done = done.map_err(|fatal| Status::unavailable(fatal.to_string()))?;
                    let vote = Some(wire::vote(&done.vote));
                    return Ok(Response::new(pb::SnapshotResponse { vote }));
                }
                Some(Part::Start(_)) | None => {
                    return Err(Status::invalid_argument("a snapshot that is not complete"));
                }
            }
        }
    }

    async fn snapshot_progress(
        &self,
        request: Request<pb::SnapshotProgressRequest>,
    ) -> Result<Response<pb::SnapshotProgressResponse>, Status> {
        self.check(&request)?;
        let id = request.into_inner().id;
        let partial = self.inner.partial.lock();
        let have = partial.as_ref().filter(|partial| partial.id == id && id != 0);
        let (files, offset) = have.map_or((0, 0), |partial| partial.receiver.position());
        Ok(Response::new(pb::SnapshotProgressResponse { files, offset }))
    }

    async fn membership(
        &self,
        _: Request<pb::MembershipRequest>,
    ) -> Result<Response<pb::MembershipResponse>, Status> {
        Ok(Response::new(self.inner.membership_response()))
    }

    async fn forward(
        &self,
        request: Request<Streaming<pb::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let from = self.check(&request)?;
        let inner = self.inner.clone();
        let answers = request
            .into_inner()
            .scan((), |(), message| std::future::ready(message.ok()))
            .map(move |request| {
                let inner = inner.clone();
                async move { Ok(inner.serve_forwarded(request).await) }
            })
            .buffer_unordered(FORWARDED);
        Ok(Response::new(self.until_stopped(from, answers)))
    }
}

fn bad(error: &io::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn disk(error: &io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::InvalidData => bad(error),
        _ => Status::unavailable(error.to_string()),
    }
}
