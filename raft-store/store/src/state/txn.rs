//! Transactions that write: which branch, whether all of it can be done, then do it.
//!
//! Every comparison, nested ones too, is made before the first write, and so is every check that
//! can refuse the transaction: it happens as a whole or not at all, on all members alike.

use std::collections::VecDeque;

use proto::etcdserverpb::{
    RangeRequest, RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
    request_op::Request, response_op::Response,
};

use super::{
    NOW, compare,
    read::header,
    write::{Failure, Writer},
};
use crate::Error;

/// Whether each transaction, outermost first, takes its success branch.
type Path = VecDeque<bool>;

impl Writer<'_> {
    /// Does a transaction. `answered` tells whether anybody here waits for what it reads.
    pub(crate) fn txn(
        &mut self,
        request: TxnRequest,
        answered: bool,
    ) -> Result<TxnResponse, Failure> {
        let mut path = Path::new();
        self.decide(&request, &mut path)?;
        self.check(&request, &mut path.iter().copied())?;
        let mut response = self.execute(request, &mut path, answered)?;
        response.header = Some(header(self.current()));
        self.state.counts.txn(&response);
        Ok(response)
    }

    fn decide(&self, request: &TxnRequest, path: &mut Path) -> Result<(), Failure> {
        let succeeded = compare::all(&self.view(), &request.compare)?;
        path.push_back(succeeded);
        for operation in branch(request, succeeded) {
            if let Some(Request::RequestTxn(nested)) = &operation.request {
                self.decide(nested, path)?;
            }
        }
        Ok(())
    }

    fn check(
        &self,
        request: &TxnRequest,
        path: &mut dyn Iterator<Item = bool>,
    ) -> Result<(), Error> {
        let succeeded = path.next().unwrap_or_default();
        for operation in branch(request, succeeded) {
            match &operation.request {
                Some(Request::RequestRange(range)) => self.check_revision(range.revision)?,
                Some(Request::RequestPut(put)) => self.check_put(put)?,
                Some(Request::RequestTxn(nested)) => self.check(nested, path)?,
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }

    fn check_revision(&self, wanted: i64) -> Result<(), Error> {
        match wanted {
            wanted if wanted <= 0 => Ok(()),
            wanted if wanted > self.revision() => Err(Error::FutureRevision),
            wanted if wanted < self.compacted() => Err(Error::Compacted),
            _ => Ok(()),
        }
    }

    fn execute(
        &mut self,
        request: TxnRequest,
        path: &mut Path,
        answered: bool,
    ) -> Result<TxnResponse, Failure> {
        let succeeded = path.pop_front().unwrap_or_default();
        let operations = if succeeded { request.success } else { request.failure };
        let mut responses = Vec::with_capacity(operations.len());
        for operation in operations {
            let response = match operation.request {
                Some(Request::RequestRange(range)) => {
                    Response::ResponseRange(self.range(&range, answered)?)
                }
                Some(Request::RequestPut(put)) => Response::ResponsePut(self.put(put)?),
                Some(Request::RequestDeleteRange(delete)) => {
                    Response::ResponseDeleteRange(self.delete_range(&delete)?)
                }
                Some(Request::RequestTxn(nested)) => {
                    let mut response = self.execute(nested, path, answered)?;
                    response.header = Some(ResponseHeader::default());
                    Response::ResponseTxn(response)
                }
                None => continue,
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: None, succeeded, responses })
    }

    fn range(&self, request: &RangeRequest, answered: bool) -> Result<RangeResponse, Failure> {
        let mut response = RangeResponse::default();
        if answered {
            let at = if request.revision > 0 { request.revision } else { NOW };
            response = self.view_at(at).range(request)?;
        }
        response.header = Some(header(self.current()));
        Ok(response)
    }
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}
