//! Locks: a queue of keys on leases; whoever's key is the oldest holds the lock.

use bytes::Bytes;
use proto::{
    etcdserverpb::{ResponseHeader, TxnRequest, TxnResponse, response_op::Response as Answer},
    mvccpb::KeyValue,
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock},
};
use tonic::{Request, Response, Status};

use super::{
    Service,
    queue::{self, Caller, Place},
};

#[tonic::async_trait]
impl Lock for Service {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let caller = Caller::of(self, &request)?;
        let LockRequest { name, lease } = request.into_inner();
        let session = caller.session(lease).await?;
        let prefix = queue::prefix(&name);
        let key = queue::key(&prefix, session.lease);
        let header = acquire(&caller, &prefix, &key, session.lease).await?;
        Ok(Response::new(LockResponse { header, key }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let caller = Caller::of(self, &request)?;
        let header = caller.delete(request.into_inner().key).await?.header;
        Ok(Response::new(UnlockResponse { header }))
    }
}

/// Queues up and waits for the turn.
async fn acquire(
    caller: &Caller,
    prefix: &Bytes,
    key: &Bytes,
    lease: i64,
) -> Result<Option<ResponseHeader>, Status> {
    let front = queue::get(queue::front(prefix));
    let txn = TxnRequest {
        compare: vec![queue::created(key, 0)],
        success: vec![queue::put(key, &Bytes::new(), lease), front.clone()],
        failure: vec![queue::get(queue::only(key)), front],
    };
    let response = caller.txn(txn).await?;
    let place = Place::new(caller, key);
    let mine = match (response.succeeded, first(&response, 0)) {
        (false, Some(kv)) => kv.create_revision,
        _ => response.header.as_ref().map_or(0, |header| header.revision),
    };
    if first(&response, 1).is_none_or(|owner| owner.create_revision == mine) {
        place.keep();
        return Ok(response.header);
    }
    caller.wait_turn(prefix, mine - 1).await?;
    let still = caller.range(queue::only(key)).await?;
    place.keep();
    if still.kvs.is_empty() {
        return Err(Status::unknown("mutex: session is expired"));
    }
    Ok(still.header)
}

/// The first key that an operation of a transaction has read.
fn first(response: &TxnResponse, operation: usize) -> Option<&KeyValue> {
    match response.responses.get(operation)?.response.as_ref()? {
        Answer::ResponseRange(range) => range.kvs.first(),
        _ => None,
    }
}
