//! Reads from outside the log: at a published revision, against a compaction that may overtake
//! them.

use std::io;

use proto::etcdserverpb::{
    RangeRequest, RangeResponse, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
    request_op::Request, response_op::Response,
};

use super::{State, compare, view::View};
use crate::{Error, room::Room};

/// Answers a range request as of now or of the revision it names, with or without a count of all its keys. An answer
/// for which there is no room fails with [`Error::TooManyRequests`], and the room knows.
pub(crate) fn page(
    state: &State,
    request: &RangeRequest,
    counts: bool,
    room: &mut Room,
) -> Result<RangeResponse, Error> {
    repeat(state, |now| {
        room.begin();
        let at = check(state, request.revision, now)?;
        let mut response = View { state, at, unwritten: &[] }.page(request, counts, room)?;
        response.header = Some(header(now));
        Ok((response, at))
    })
}

/// Answers a transaction that only reads; for want of room as [`page`].
pub(crate) fn txn(
    state: &State,
    request: &TxnRequest,
    room: &mut Room,
) -> Result<TxnResponse, Error> {
    repeat(state, |now| {
        room.begin();
        let mut oldest = now;
        let mut response = branch(state, request, now, &mut oldest, room)?;
        response.header = Some(header(now));
        Ok((response, oldest))
    })
    .inspect(|response| state.counts.txn(response))
}

/// Why a read did not come to its end.
enum Failure {
    Known(Error),
    Disk(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Rounds after which a version that is not there is a broken invariant.
const ROUNDS: usize = 16;

/// Reads, and reads again when what was read has been compacted away meanwhile: a read of now
/// then finds a newer now, a read of the past finds out that it is gone.
fn repeat<T>(
    state: &State,
    mut read: impl FnMut(i64) -> Result<(T, i64), Failure>,
) -> Result<T, Error> {
    for _ in 0..ROUNDS {
        match read(state.revision()) {
            Ok((answer, oldest)) if state.compacted() <= oldest => return Ok(answer),
            Ok(_) => {}
            Err(Failure::Disk(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(Failure::Disk(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::TooManyRequests);
            }
            Err(Failure::Disk(error)) => return Err(Error::Internal(error.to_string())),
            Err(Failure::Known(error)) => return Err(error),
        }
    }
    Err(Error::Internal("a version that must be there is not".to_owned()))
}

/// The revision that a request means.
fn check(state: &State, wanted: i64, now: i64) -> Result<i64, Error> {
    match wanted {
        wanted if wanted <= 0 => Ok(now),
        wanted if wanted > now => Err(Error::FutureRevision),
        wanted if wanted < state.compacted() => Err(Error::Compacted),
        wanted => Ok(wanted),
    }
}

fn branch(
    state: &State,
    request: &TxnRequest,
    now: i64,
    oldest: &mut i64,
    room: &mut Room,
) -> Result<TxnResponse, Failure> {
    let view = View { state, at: now, unwritten: &[] };
    let succeeded = compare::all(&view, &request.compare)?;
    let operations = if succeeded { &request.success } else { &request.failure };
    let mut responses = Vec::with_capacity(operations.len());
    for operation in operations {
        let response = match &operation.request {
            Some(Request::RequestRange(request)) => {
                let at = check(state, request.revision, now)?;
                *oldest = at.min(*oldest);
                let mut response = View { state, at, unwritten: &[] }.page(request, true, room)?;
                response.header = Some(header(now));
                Response::ResponseRange(response)
            }
            Some(Request::RequestTxn(request)) => {
                let mut response = branch(state, request, now, oldest, room)?;
                response.header = Some(ResponseHeader::default());
                Response::ResponseTxn(response)
            }
            _ => return Err(Error::KeyNotFound.into()),
        };
        responses.push(ResponseOp { response: Some(response) });
    }
    Ok(TxnResponse { header: None, succeeded, responses })
}

pub(crate) fn header(revision: i64) -> ResponseHeader {
    ResponseHeader { revision, ..ResponseHeader::default() }
}
