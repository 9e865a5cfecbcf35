//! A streamed range, message by message.

use futures::{Stream, StreamExt, stream};
use prost::Message as _;
use proto::{
    etcdserverpb::{RangeRequest, RangeResponse},
    mvccpb::KeyValue,
};
use tonic::Status;

use crate::{
    Error, Handle,
    room::{Held, Room},
};

/// Keys in the first message of a streamed range.
const FIRST_KEYS: i64 = 10;
/// Bytes that a message of a streamed range aims at.
const CHUNK: usize = 3 << 19;

/// The messages of a range in order of its keys, each read when the one before it is on its way.
pub(super) fn of_keys(
    handle: Handle,
    request: RangeRequest,
) -> impl Stream<Item = Result<RangeResponse, Status>> {
    stream::try_unfold(Some(Pages::new(request)), move |pages| {
        let handle = handle.clone();
        async move {
            let Some(mut pages) = pages else { return Ok(None) };
            let (page, is_last) = pages.next(&handle).await?;
            Ok(Some((page, (!is_last).then_some(pages))))
        }
    })
}

/// The messages of a range in another order: all of it is read first, in the room that large answers share.
pub(super) async fn of_all(
    handle: &Handle,
    request: &RangeRequest,
) -> Result<impl Stream<Item = Result<RangeResponse, Status>> + use<>, Error> {
    let (whole, room) = handle.page(request, true, handle.inner.rooms.room()).await?;
    let pieces = Pieces { left: Some(whole), _held: room.hold() };
    Ok(stream::iter(pieces).map(Ok))
}

/// An answer that is complete, in pieces.
struct Pieces {
    left: Option<RangeResponse>,
    _held: Option<Held>,
}

impl Iterator for Pieces {
    type Item = RangeResponse;

    /// The last piece alone says of which revision it is, how many keys there are, and whether there are more.
    fn next(&mut self) -> Option<RangeResponse> {
        let mut left = self.left.take()?;
        let mut bytes = 0;
        let mut fits = |kv: &KeyValue| {
            bytes += kv.encoded_len();
            bytes < CHUNK
        };
        let fitting = left.kvs.iter().take_while(|kv| fits(kv)).count().max(1);
        if fitting >= left.kvs.len() {
            return Some(left);
        }
        let rest = left.kvs.split_off(fitting);
        let piece = RangeResponse { kvs: left.kvs, ..RangeResponse::default() };
        self.left = Some(RangeResponse { kvs: rest, ..left });
        Some(piece)
    }
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
    fn new(request: RangeRequest) -> Self {
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
