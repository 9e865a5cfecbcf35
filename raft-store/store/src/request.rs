//! What can be said against a request before it goes anywhere: etcd's checks, in etcd's order.

use std::collections::BTreeSet;

use bytes::Bytes;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
    request_op::Request,
};

use crate::Error;

/// Bytes that a write costs beside its key and value.
const WRITE_COST: usize = 256;
/// Transactions within each other. Protobuf's decoder gives up a hundred messages down, and a
/// transaction with its operation is two; within a log entry it lies one deeper than as it came.
const DEPTH: usize = 48;

/// What a request may be at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Operations in a transaction.
    pub(crate) txn_ops: usize,
}

pub(crate) fn check_range(request: &RangeRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    let is_known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if is_known { Ok(()) } else { Err(Error::InvalidSortOption) }
}

pub(crate) fn check_put(request: &PutRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

pub(crate) fn check_delete(request: &DeleteRangeRequest) -> Result<(), Error> {
    if request.key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

pub(crate) fn check_txn(request: &TxnRequest, limits: Limits) -> Result<(), Error> {
    check_operations(request, limits.txn_ops, DEPTH)?;
    for branch in [&request.success, &request.failure] {
        Writes::default().add_branch(branch)?;
    }
    Ok(())
}

fn check_operations(request: &TxnRequest, limit: usize, depth: usize) -> Result<(), Error> {
    let lengths = [request.compare.len(), request.success.len(), request.failure.len()];
    let most = lengths.into_iter().max().unwrap_or(0);
    if most > limit || depth == 0 {
        return Err(Error::TooManyOps);
    }
    if request.compare.iter().any(|compare: &Compare| compare.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete(delete)?,
            Some(Request::RequestTxn(nested)) => {
                check_operations(nested, limit - most, depth - 1)?;
            }
            None => return Err(Error::KeyNotFound),
        }
    }
    Ok(())
}

/// What the operations of one branch write, nested ones included: no key twice. As etcd sees it:
/// nested puts are held against the deletions before them, and a range without an end is no
/// range.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

impl Writes {
    fn add_branch(&mut self, branch: &[RequestOp]) -> Result<(), Error> {
        for operation in branch {
            if let Some(Request::RequestDeleteRange(delete)) = &operation.request {
                self.deletes.push((delete.key.clone(), delete.range_end.clone()));
            }
        }
        for operation in branch {
            if let Some(Request::RequestTxn(nested)) = &operation.request {
                self.add_nested(nested)?;
            }
        }
        for operation in branch {
            if let Some(Request::RequestPut(put)) = &operation.request {
                self.add_put(&put.key)?;
            }
        }
        Ok(())
    }

    /// Only one branch of a nested transaction happens: the two may write the same.
    fn add_nested(&mut self, nested: &TxnRequest) -> Result<(), Error> {
        let (mut success, mut failure) = (Self::default(), Self::default());
        success.add_branch(&nested.success)?;
        failure.add_branch(&nested.failure)?;
        let inner: BTreeSet<Bytes> = success.puts.into_iter().chain(failure.puts).collect();
        for key in &inner {
            self.add_put(key)?;
        }
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: &Bytes) -> Result<(), Error> {
        let is_deleted = self.deletes.iter().any(|(start, end)| match end.is_empty() {
            true => key == start,
            false => key >= start && key < end,
        });
        if is_deleted || !self.puts.insert(key.clone()) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }
}

fn operations(request: &TxnRequest) -> impl Iterator<Item = &RequestOp> {
    request.success.iter().chain(&request.failure)
}

/// Whether a transaction writes nothing, whichever branch it takes.
pub(crate) fn is_read_only(request: &TxnRequest) -> bool {
    operations(request).all(|operation| match &operation.request {
        Some(Request::RequestRange(_)) => true,
        Some(Request::RequestTxn(nested)) => is_read_only(nested),
        _ => false,
    })
}

/// Whether a transaction that only reads is content with what this member has.
pub(crate) fn is_serializable(request: &TxnRequest) -> bool {
    operations(request).all(|operation| match &operation.request {
        Some(Request::RequestRange(range)) => range.serializable,
        _ => false,
    })
}

/// Bytes by which a put may make the database grow.
pub(crate) fn put_cost(request: &PutRequest) -> usize {
    WRITE_COST + request.key.len() + request.value.len()
}

/// Bytes by which a transaction may make the database grow; 0 when it puts nothing.
pub(crate) fn txn_cost(request: &TxnRequest) -> usize {
    let branch = |operations: &[RequestOp]| -> usize {
        let cost = |operation: &RequestOp| match &operation.request {
            Some(Request::RequestPut(put)) => put_cost(put),
            Some(Request::RequestTxn(nested)) => txn_cost(nested),
            _ => 0,
        };
        operations.iter().map(cost).sum()
    };
    branch(&request.success).max(branch(&request.failure))
}

/// Bytes by which a lease may make the database grow.
pub(crate) const LEASE_COST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> RequestOp {
        let put = PutRequest { key: key.into(), ..PutRequest::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn delete(key: &'static str, range_end: &'static str) -> RequestOp {
        let delete = DeleteRangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..DeleteRangeRequest::default()
        };
        RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        let txn = TxnRequest { success, failure, ..TxnRequest::default() };
        RequestOp { request: Some(Request::RequestTxn(txn)) }
    }

    fn check(success: Vec<RequestOp>) -> Result<(), Error> {
        let request = TxnRequest { success, ..TxnRequest::default() };
        check_txn(&request, Limits { txn_ops: 4 })
    }

    #[test]
    fn one_key_is_written_once_in_a_branch() {
        assert_eq!(check(vec![put("a"), put("a")]), Err(Error::DuplicateKey));
        assert_eq!(check(vec![put("a"), delete("a", "b")]), Err(Error::DuplicateKey));
        assert_eq!(check(vec![put("b"), delete("a", "b")]), Ok(()));
        assert_eq!(check(vec![delete("a", "c"), delete("b", "d")]), Ok(()));
        assert_eq!(check(vec![put("a"), nested(vec![put("a")], vec![])]), Err(Error::DuplicateKey));
        assert_eq!(check(vec![nested(vec![put("a")], vec![put("a")])]), Ok(()));
    }

    #[test]
    fn operations_are_counted_with_those_of_nested_transactions() {
        assert_eq!(check((0..5).map(|_| delete("x", "")).collect()), Err(Error::TooManyOps));
        let inner = nested((0..4).map(|_| delete("x", "")).collect(), vec![]);
        assert_eq!(check(vec![inner]), Err(Error::TooManyOps));
        assert_eq!(check(vec![RequestOp { request: None }]), Err(Error::KeyNotFound));
    }

    #[test]
    fn a_transaction_without_writes_is_read_only_however_deep() {
        let range = RangeRequest { key: "a".into(), ..RangeRequest::default() };
        let range = RequestOp { request: Some(Request::RequestRange(range)) };
        let reads = TxnRequest {
            success: vec![range.clone(), nested(vec![range.clone()], vec![])],
            ..TxnRequest::default()
        };
        assert!(is_read_only(&reads));
        assert!(!is_serializable(&reads));
        let writes = TxnRequest {
            success: vec![range, nested(vec![put("a")], vec![])],
            ..TxnRequest::default()
        };
        assert!(!is_read_only(&writes));
    }
}
