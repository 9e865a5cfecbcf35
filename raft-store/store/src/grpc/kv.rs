//! Keys and values.

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse,
    kv_server::Kv, range_request::SortTarget,
};
use tonic::{Request, Response, Status};

use super::{Service, pages};
use crate::{request, room::Room, state::view};

#[tonic::async_trait]
impl Kv for Service {
    type RangeStreamStream = BoxStream<'static, Result<RangeStreamResponse, Status>>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        self.check_leader(&request)?;
        let handle = self.client(&request);
        let request = request.into_inner();
        if !request.serializable {
            self.check_learner()?;
        }
        let (response, room) = handle.page(&request, true, self.handle.inner.rooms.room()).await?;
        Ok(held(response, room))
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        self.check_leader(&request)?;
        let handle = self.client(&request);
        let request = request.into_inner();
        request::check_range(&request)?;
        if !request.serializable {
            self.check_learner()?;
        }
        if !view::is_default_order(&request) {
            return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
        }
        if view::filters(&request) {
            return Err(Status::unimplemented("RangeStream does not support revision filters"));
        }
        let answers = match request.sort_target() {
            SortTarget::Key => pages::of_keys(handle, request).boxed(),
            _ => pages::of_all(&handle, &request).await?.boxed(),
        };
        let messages = answers.map_ok(|page| RangeStreamResponse { range_response: Some(page) });
        Ok(Response::new(messages.boxed()))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        Ok(Response::new(handle.put(request.into_inner()).await?))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        Ok(Response::new(handle.delete_range(request.into_inner()).await?))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        let (response, room) = handle.txn_in_room(request.into_inner()).await?;
        Ok(held(response, room))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        Ok(Response::new(handle.compact(request.into_inner()).await?))
    }
}

/// An answer whose room goes where it goes.
fn held<T>(message: T, room: Room) -> Response<T> {
    let mut response = Response::new(message);
    if let Some(held) = room.hold() {
        response.extensions_mut().insert(held);
    }
    response
}
