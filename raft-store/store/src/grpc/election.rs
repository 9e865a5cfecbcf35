//! Elections: a queue of candidates; whoever's key is the oldest is elected, and its value is what
//! it proclaims.

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use proto::{
    etcdserverpb::{
        DeleteRangeRequest, RequestOp, ResponseHeader, TxnRequest, request_op,
        response_op::Response as Answer,
    },
    mvccpb::KeyValue,
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
        election_server::Election,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    Service,
    queue::{self, Caller, Place},
};
use crate::{WatchBatch, WatchEvent, WatchSpec};

/// Answers that may wait for the network before an observer waits.
const QUEUE: usize = 16;

#[tonic::async_trait]
impl Election for Service {
    type ObserveStream = BoxStream<'static, Result<LeaderResponse, Status>>;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let caller = Caller::of(self, &request)?;
        let CampaignRequest { name, lease, value } = request.into_inner();
        let session = caller.session(lease).await?;
        let prefix = queue::prefix(&name);
        let key = queue::key(&prefix, session.lease);
        let (header, rev) = campaign(&caller, &prefix, &key, session.lease, value).await?;
        let leader = Some(LeaderKey { name, key, rev, lease: session.lease });
        Ok(Response::new(CampaignResponse { header, leader }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let caller = Caller::of(self, &request)?;
        let ProclaimRequest { leader, value } = request.into_inner();
        let leader = leader.ok_or_else(no_leader_key)?;
        let _session = caller.session(leader.lease).await?;
        let header = proclaim(&caller, &leader.key, leader.rev, leader.lease, &value).await?;
        Ok(Response::new(ProclaimResponse { header }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let caller = Caller::of(self, &request)?;
        let found = caller.front(&queue::prefix(&request.into_inner().name)).await?;
        let kv = found.kvs.into_iter().next();
        let kv = kv.ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(LeaderResponse { header: found.header, kv: Some(kv) }))
    }

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let caller = Caller::of(self, &request)?;
        let prefix = queue::prefix(&request.into_inner().name);
        let (out, answers) = mpsc::channel(QUEUE);
        stdx::task::spawn("store-observe", async move {
            let stop = caller.stop();
            let observer = Observer { caller, prefix, out: out.clone() };
            let ended = tokio::select! {
                ended = observer.run() => ended,
                () = out.closed() => return,
                () = stop.triggered() => Ended::Failed(crate::Error::Stopped.into()),
            };
            if let Ended::Failed(status) = ended
                && out.send(Err(status)).await.is_err()
            {
                tracing::trace!("the client has left first");
            }
        });
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let caller = Caller::of(self, &request)?;
        let leader = request.into_inner().leader.ok_or_else(no_leader_key)?;
        let _session = caller.session(leader.lease).await?;
        let key = leader.key;
        let delete = DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() };
        let delete = RequestOp { request: Some(request_op::Request::RequestDeleteRange(delete)) };
        let txn = TxnRequest {
            compare: vec![queue::created(&key, leader.rev)],
            success: vec![delete],
            failure: Vec::new(),
        };
        let header = caller.txn(txn).await?.header;
        Ok(Response::new(ResignResponse { header }))
    }
}

/// Queues up and waits for the turn; the header of the entry into the queue, and the key's
/// revision.
async fn campaign(
    caller: &Caller,
    prefix: &Bytes,
    key: &Bytes,
    lease: i64,
    value: Bytes,
) -> Result<(Option<ResponseHeader>, i64), Status> {
    let txn = TxnRequest {
        compare: vec![queue::created(key, 0)],
        success: vec![queue::put(key, &value, lease)],
        failure: vec![queue::get(queue::only(key))],
    };
    let response = caller.txn(txn).await?;
    let place = Place::new(caller, key);
    let mut rev = response.header.as_ref().map_or(0, |header| header.revision);
    let old = response.responses.into_iter().next().and_then(|answer| answer.response);
    if let (false, Some(Answer::ResponseRange(range))) = (response.succeeded, old)
        && let Some(kv) = range.kvs.into_iter().next()
    {
        rev = kv.create_revision;
        if kv.value != value {
            proclaim(caller, key, rev, lease, &value).await?;
        }
    }
    caller.wait_turn(prefix, rev - 1).await?;
    place.keep();
    Ok((response.header, rev))
}

/// Changes the value of a candidate that is still in the queue.
async fn proclaim(
    caller: &Caller,
    key: &Bytes,
    revision: i64,
    lease: i64,
    value: &Bytes,
) -> Result<Option<ResponseHeader>, Status> {
    let txn = TxnRequest {
        compare: vec![queue::created(key, revision)],
        success: vec![queue::put(key, value, lease)],
        failure: Vec::new(),
    };
    let response = caller.txn(txn).await?;
    match response.succeeded {
        true => Ok(response.header),
        false => Err(Status::unknown("election: not leader")),
    }
}

fn no_leader_key() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

/// Why an observer stops.
enum Ended {
    /// Nobody listens any more.
    Left,
    /// It cannot go on.
    Failed(Status),
}

/// Tells who is elected, whenever that or what it proclaims changes.
struct Observer {
    caller: Caller,
    prefix: Bytes,
    out: mpsc::Sender<Result<LeaderResponse, Status>>,
}

impl Observer {
    async fn run(&self) -> Ended {
        loop {
            let round = match self.elected().await {
                Ok((header, kv)) => self.follow(header, kv).await,
                Err(ended) => return ended,
            };
            if let Err(ended) = round {
                return ended;
            }
        }
    }

    /// Who is elected, as soon as somebody is.
    async fn elected(&self) -> Result<(ResponseHeader, KeyValue), Ended> {
        let found = self.caller.front(&self.prefix).await.map_err(Ended::Failed)?;
        let header = found.header.unwrap_or_default();
        if let Some(kv) = found.kvs.into_iter().next() {
            return Ok((header, kv));
        }
        let mut watcher = self.caller.watch(WatchSpec {
            key: self.prefix.clone(),
            range_end: queue::end_of(&self.prefix),
            start_revision: header.revision,
            no_delete: true,
            ..WatchSpec::default()
        });
        match watcher.next().await {
            Some(WatchBatch::Events { events, .. }) => {
                let kv = events.first().map(|event| KeyValue::clone(&event.kv));
                let kv = kv.unwrap_or_default();
                Ok((self.caller.header(kv.mod_revision), kv))
            }
            _ => Err(closed_early()),
        }
    }

    /// Tells of a leader and what it proclaims until its key is gone.
    async fn follow(&self, header: ResponseHeader, kv: KeyValue) -> Result<(), Ended> {
        let spec = WatchSpec {
            key: kv.key.clone(),
            start_revision: header.revision + 1,
            ..WatchSpec::default()
        };
        self.tell(header, kv).await?;
        let mut watcher = self.caller.watch(spec);
        loop {
            let Some(WatchBatch::Events { revision, events }) = watcher.next().await else {
                return Err(closed_early());
            };
            for WatchEvent { kv, deleted, .. } in events {
                if deleted {
                    return Ok(());
                }
                self.tell(self.caller.header(revision), KeyValue::clone(&kv)).await?;
            }
        }
    }

    async fn tell(&self, header: ResponseHeader, kv: KeyValue) -> Result<(), Ended> {
        let response = LeaderResponse { header: Some(header), kv: Some(kv) };
        self.out.send(Ok(response)).await.map_err(|_| Ended::Left)
    }
}

fn closed_early() -> Ended {
    Ended::Failed(Status::unknown("election: observe closed early"))
}
