//! Keys and values.

use futures::{StreamExt, stream::BoxStream};
use prost::Message as _;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse,
    kv_server::Kv, range_request::SortTarget,
};
use tonic::{Request, Response, Status};

use super::Service;
use crate::{Error, Handle, request, room::Room, state::view};

/// Keys in the first message of a streamed range.
const FIRST_KEYS: i64 = 10;
/// Bytes that a message of a streamed range aims at.
const CHUNK: usize = 3 << 19;

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
        let pages = futures::stream::try_unfold(Some(Pages::new(request)), move |pages| {
            let handle = handle.clone();
            async move {
                let Some(mut pages) = pages else { return Ok(None) };
                let (page, is_last) = pages.next(&handle).await?;
                let message = RangeStreamResponse { range_response: Some(page) };
                Ok(Some((message, (!is_last).then_some(pages))))
            }
        });
        Ok(Response::new(pages.boxed()))
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

/// A range in pages, all of one revision.
struct Pages {
    request: RangeRequest,
    /// The limit of the whole; 0 is none.
    limit: i64,
    /// Keys of the next page.
    keys: i64,
    sent: i64,
}

impl Pages {
    fn new(mut request: RangeRequest) -> Self {
        request.set_sort_target(SortTarget::Key);
        Self { limit: request.limit, request, keys: FIRST_KEYS, sent: 0 }
    }

    /// As many keys as aimed at, or fewer when their values are larger than those before.
    async fn read(&mut self, handle: &Handle, left: i64) -> Result<(RangeResponse, Room), Error> {
        loop {
            self.request.limit = self.keys.min(left);
            // Counting visits all keys that are left: only for what may be the last page.
            let counts = self.request.count_only || self.keys >= left;
            let room = if self.keys > 1 { Room::page(2 * CHUNK) } else { Room::endless() };
            match handle.page(&self.request, counts, room).await {
                Err(Error::TooManyRequests) if self.keys > 1 => self.keys /= 2,
                page => return page,
            }
        }
    }

    /// The next page, and whether it is the last, which alone says how many keys there are.
    async fn next(&mut self, handle: &Handle) -> Result<(RangeResponse, bool), Error> {
        let left = if self.limit > 0 { self.limit - self.sent } else { i64::MAX };
        let (mut page, room) = self.read(handle, left).await?;
        let revision = page.header.as_ref().map_or(0, |header| header.revision);
        if self.request.revision == 0 {
            // The first page has waited for what was committed before; the rest only follow it.
            self.request.revision = revision;
            self.request.serializable = true;
        }
        let count = i64::try_from(page.kvs.len()).unwrap_or(i64::MAX);
        let is_last = self.request.count_only || !page.more || count >= left;
        if is_last {
            page.count += self.sent;
            page.more &= !self.request.count_only;
            return Ok((page, true));
        }
        self.sent += count;
        if let Some(last) = page.kvs.last() {
            let mut next = last.key.to_vec();
            next.push(0);
            self.request.key = next.into();
        }
        let bytes = page.encoded_len();
        // Twice as many must have room, or each page would be read twice.
        if bytes < CHUNK / 2 && room.bytes() <= CHUNK {
            self.keys = self.keys.saturating_mul(2);
        } else if bytes > CHUNK {
            self.keys = (self.keys / 2).max(1);
        }
        page.header = None;
        page.more = false;
        page.count = 0;
        Ok((page, false))
    }
}
