//! Log entries: what clients ask, and what the applier then does. Whatever came through the
//! checks must be applied, because an entry that cannot be is the end of every member.

use std::sync::LazyLock;

use fuzz::{Outcome, Target};
use parking_lot::Mutex;
use prost::Message as _;
use proto::etcdserverpb::{
    AlarmRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest, CompactionRequest, Compare,
    DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest, compare::TargetUnion, request_op::Request,
};

use crate::{
    request::{Limits, check_delete, check_put, check_range, check_txn, is_read_only, txn_cost},
    room::Room,
    state::{read, tests::Fixture},
};

pub(super) const TARGET: Target =
    Target { name: "request", seeds, decode, found: &[], rounds: 2000 };

static FIXTURE: LazyLock<Mutex<Fixture>> = LazyLock::new(|| Mutex::new(Fixture::new()));

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let put = PutRequest {
        key: "a".into(),
        value: "1".into(),
        lease: 7,
        prev_kv: true,
        ..Default::default()
    };
    let range =
        RangeRequest { key: "a".into(), range_end: "\0".into(), limit: 3, ..Default::default() };
    let delete = DeleteRangeRequest { key: "a".into(), range_end: "b".into(), prev_kv: true };
    let operation = |request| RequestOp { request: Some(request) };
    let nested = TxnRequest {
        success: vec![operation(Request::RequestDeleteRange(delete.clone()))],
        ..Default::default()
    };
    let txn = TxnRequest {
        compare: vec![Compare {
            result: 1,
            target: 1,
            key: "a".into(),
            range_end: "c".into(),
            target_union: Some(TargetUnion::CreateRevision(1)),
        }],
        success: vec![
            operation(Request::RequestTxn(nested)),
            operation(Request::RequestRange(range.clone())),
        ],
        failure: vec![operation(Request::RequestPut(put.clone()))],
    };
    let permission =
        proto::authpb::Permission { perm_type: 2, key: "a".into(), range_end: "\0".into() };
    let grant = AuthRoleGrantPermissionRequest { name: "r".to_owned(), perm: Some(permission) };
    let user = AuthUserAddRequest {
        name: "ann".to_owned(),
        hashed_password: "aGFzaA==".to_owned(),
        ..Default::default()
    };
    let none = InternalRaftRequest::default;
    [
        InternalRaftRequest { put: Some(put), ..none() },
        InternalRaftRequest { range: Some(range), ..none() },
        InternalRaftRequest { delete_range: Some(delete), ..none() },
        InternalRaftRequest { txn: Some(txn), ..none() },
        InternalRaftRequest {
            compaction: Some(CompactionRequest { revision: 3, physical: true }),
            ..none()
        },
        InternalRaftRequest { lease_grant: Some(LeaseGrantRequest { id: 7, ttl: 60 }), ..none() },
        InternalRaftRequest { lease_revoke: Some(LeaseRevokeRequest { id: 7 }), ..none() },
        InternalRaftRequest {
            alarm: Some(AlarmRequest { action: 0, member_id: 1, alarm: 0 }),
            ..none()
        },
        InternalRaftRequest { auth_user_add: Some(user), ..none() },
        InternalRaftRequest { auth_role_grant_permission: Some(grant), ..none() },
    ]
    .map(|request| request.encode_to_vec())
    .to_vec()
}

fn decode(input: &[u8]) -> Outcome {
    let Ok(request) = InternalRaftRequest::decode(input) else { return Outcome::Refused };
    let bytes = request.encode_to_vec();
    assert_eq!(InternalRaftRequest::decode(&bytes[..]).as_ref(), Ok(&request));
    if !is_allowed(&request) {
        return Outcome::Refused;
    }
    let fixture = FIXTURE.lock();
    if let Some(range) = &request.range {
        return Outcome::from(&read::page(&fixture.state, range, true, &mut Room::endless()));
    }
    if let Some(txn) = request.txn.as_ref().filter(|txn| is_read_only(txn)) {
        return Outcome::from(&read::txn(&fixture.state, txn, &mut Room::endless()));
    }
    // An alarm would end all that follows.
    if request.alarm.is_some_and(|alarm| alarm.action == 1) {
        return Outcome::Refused;
    }
    // What it answers may be a refusal too; it must answer.
    fixture.one(request).ok();
    Outcome::Taken
}

/// What is said against a request before it comes into the log.
fn is_allowed(request: &InternalRaftRequest) -> bool {
    let limits = Limits { txn_ops: 128 };
    request.range.as_ref().is_none_or(|range| check_range(range).is_ok())
        && request.put.as_ref().is_none_or(|put| check_put(put).is_ok())
        && request.delete_range.as_ref().is_none_or(|delete| check_delete(delete).is_ok())
        && request
            .txn
            .as_ref()
            .is_none_or(|txn| check_txn(txn, limits).is_ok() && txn_cost(txn) < usize::MAX)
}
