//! What the state does with requests, straight through the applier, without consensus.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest, LeaseRevokeRequest,
        PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
        request_op::Request,
        response_op::Response,
    },
    mvccpb::KeyValue,
};

use super::{State, read, sweep, write::Failure, write::Writer};
use crate::{Error, apply, hash, propose::Applied, room::Room, watch::EventBatch};

type Results = Vec<Result<Applied, Error>>;
type Batches = Vec<std::sync::Arc<EventBatch>>;

/// A state in a directory of its own.
pub(crate) struct Fixture {
    pub(crate) dir: PathBuf,
    pub(crate) state: std::sync::Arc<State>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).ok();
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("trireme-state-{}-{number}", std::process::id()));
        let state = State::open(&dir, 1 << 20, &consensus::Reserve::default()).unwrap().into();
        Self { dir, state }
    }

    /// Applies a group of entries.
    fn apply(&self, requests: Vec<InternalRaftRequest>) -> Vec<Result<Applied, Error>> {
        self.apply_all(requests).0
    }

    fn apply_all(&self, requests: Vec<InternalRaftRequest>) -> (Results, Batches) {
        let mut writer = Writer::new(&self.state);
        let mut results = Vec::new();
        for request in requests {
            let incoming = apply::Incoming { request, index: 7, is_answered: true };
            results.push(match apply::apply(&mut writer, incoming, &mut Default::default()) {
                Ok(applied) => Ok(applied),
                Err(Failure::Refused(error)) => Err(error),
                Err(Failure::Disk(error)) => panic!("{error}"),
            });
        }
        let batches = writer.commit(b"applied").unwrap();
        (results, batches)
    }

    pub(crate) fn put_batches(&self, key: &'static str, value: &'static str) -> Batches {
        let put = Some(put(key, value));
        self.apply_all(vec![InternalRaftRequest { put, ..Default::default() }]).1
    }

    pub(crate) fn delete_batches(&self, key: &'static str) -> Batches {
        let delete_range = Some(delete(key, ""));
        self.apply_all(vec![InternalRaftRequest { delete_range, ..Default::default() }]).1
    }

    /// Applies one entry.
    pub(crate) fn one(&self, request: InternalRaftRequest) -> Result<Applied, Error> {
        self.apply(vec![request]).pop().unwrap()
    }

    pub(crate) fn put(&self, key: &'static str, value: &'static str) -> i64 {
        self.put_with_lease(key, value, 0)
    }

    fn put_with_lease(&self, key: &'static str, value: &'static str, lease: i64) -> i64 {
        let put = PutRequest { lease, ..put(key, value) };
        match self.one(InternalRaftRequest { put: Some(put), ..Default::default() }) {
            Ok(Applied::Put(response)) => response.header.unwrap().revision,
            other => panic!("{other:?}"),
        }
    }

    fn delete(&self, key: &'static str, end: &'static str) -> i64 {
        let delete = delete(key, end);
        match self.one(InternalRaftRequest { delete_range: Some(delete), ..Default::default() }) {
            Ok(Applied::DeleteRange(response)) => response.deleted,
            other => panic!("{other:?}"),
        }
    }

    fn txn(&self, txn: TxnRequest) -> Result<TxnResponse, Error> {
        match self.one(InternalRaftRequest { txn: Some(txn), ..Default::default() })? {
            Applied::Txn(response) => Ok(response),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn compact(&self, revision: i64) -> Result<(), Error> {
        let compaction = proto::etcdserverpb::CompactionRequest { revision, physical: false };
        let request = InternalRaftRequest { compaction: Some(compaction), ..Default::default() };
        self.one(request).map(|_| ())
    }

    fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        read::page(&self.state, &request, true, &mut Room::endless())
    }

    fn values(&self, request: RangeRequest) -> Vec<String> {
        let response = self.range(request).unwrap();
        let text = |kv: KeyValue| String::from_utf8(kv.value.to_vec()).unwrap();
        response.kvs.into_iter().map(text).collect()
    }

    /// Closes the state and opens it again.
    fn reopen(&mut self) {
        self.state.disk.flush().unwrap();
        let elsewhere = Self::new();
        self.state = elsewhere.state.clone();
        self.state =
            State::open(&self.dir, 1 << 20, &consensus::Reserve::default()).unwrap().into();
    }
}

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

fn delete(key: &'static str, end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: true }
}

fn all() -> RangeRequest {
    RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn compare(key: &'static str, result: CompareResult, to: TargetUnion) -> Compare {
    let target = match to {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        range_end: bytes::Bytes::new(),
        target_union: Some(to),
    }
}

#[test]
fn an_empty_store_is_at_revision_one_and_every_write_counts() {
    let store = Fixture::new();
    assert_eq!(store.state.revision(), 1);
    assert_eq!(store.put("a", "1"), 2);
    assert_eq!(store.put("a", "2"), 3);
    assert_eq!(store.delete("b", ""), 0);
    assert_eq!(store.state.revision(), 3);
    assert_eq!(store.delete("a", ""), 1);
    assert_eq!(store.put("a", "3"), 5);
    let kv = store.range(all()).unwrap().kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn the_past_can_be_read_until_it_is_compacted() {
    let store = Fixture::new();
    store.put("a", "1");
    store.put("b", "1");
    store.put("a", "2");
    let at = |revision| RangeRequest { revision, ..all() };
    assert_eq!(store.values(at(2)), ["1"]);
    assert_eq!(store.values(at(3)), ["1", "1"]);
    assert_eq!(store.values(at(0)), ["2", "1"]);
    assert_eq!(store.range(at(3)).unwrap().header.unwrap().revision, 4);
    assert_eq!(store.range(at(5)), Err(Error::FutureRevision));
    store.compact(3).unwrap();
    assert_eq!(store.range(at(2)), Err(Error::Compacted));
    assert_eq!(store.values(at(3)), ["1", "1"]);
    assert_eq!(store.compact(3), Err(Error::Compacted));
    assert_eq!(store.compact(9), Err(Error::FutureRevision));
}

#[test]
fn a_range_counts_before_it_limits_and_filters() {
    let store = Fixture::new();
    for key in ["a", "b", "c", "d"] {
        store.put(key, key);
    }
    store.put("a", "z");
    let page = store.range(RangeRequest { limit: 2, ..all() }).unwrap();
    assert_eq!((page.kvs.len(), page.more, page.count), (2, true, 4));
    let page = store.range(RangeRequest { limit: 4, ..all() }).unwrap();
    assert_eq!((page.kvs.len(), page.more), (4, false));
    let page = store.range(RangeRequest { min_mod_revision: 4, limit: 2, ..all() }).unwrap();
    let keys: Vec<_> = page.kvs.iter().map(|kv| kv.key.clone()).collect();
    assert_eq!((keys, page.more, page.count), (vec!["a".into(), "c".into()], true, 4));
    let page = store.range(RangeRequest { count_only: true, limit: 1, ..all() }).unwrap();
    assert_eq!((page.kvs.len(), page.more, page.count), (0, false, 4));
    let page = store.range(RangeRequest { keys_only: true, ..all() }).unwrap();
    assert!(page.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
}

#[test]
fn a_range_is_sorted_by_what_it_asks_for() {
    let store = Fixture::new();
    store.put("a", "2");
    store.put("b", "3");
    store.put("c", "1");
    store.put("a", "2");
    let by = |target: SortTarget, order: SortOrder| {
        store.values(RangeRequest { sort_target: target.into(), sort_order: order.into(), ..all() })
    };
    assert_eq!(by(SortTarget::Key, SortOrder::Descend), ["1", "3", "2"]);
    assert_eq!(by(SortTarget::Value, SortOrder::None), ["1", "2", "3"]);
    assert_eq!(by(SortTarget::Mod, SortOrder::Descend), ["2", "1", "3"]);
    assert_eq!(by(SortTarget::Version, SortOrder::Descend), ["2", "3", "1"], "equal ones by key");
    let first = RangeRequest {
        sort_target: SortTarget::Create.into(),
        sort_order: SortOrder::Descend.into(),
        limit: 1,
        ..all()
    };
    assert_eq!(store.values(first), ["1"]);
}

#[test]
fn a_transaction_takes_one_branch_and_one_revision() {
    let store = Fixture::new();
    store.put("a", "1");
    let response = store
        .txn(TxnRequest {
            compare: vec![
                compare("a", CompareResult::Equal, TargetUnion::Value("1".into())),
                compare("b", CompareResult::Equal, TargetUnion::Version(0)),
                compare("b", CompareResult::Less, TargetUnion::ModRevision(1)),
            ],
            success: vec![
                op(Request::RequestPut(put("b", "1"))),
                op(Request::RequestDeleteRange(delete("a", ""))),
                op(Request::RequestRange(all())),
            ],
            failure: vec![op(Request::RequestPut(put("x", "1")))],
        })
        .unwrap();
    assert!(response.succeeded);
    assert_eq!(response.header.unwrap().revision, 3);
    let Some(Response::ResponseRange(range)) = &response.responses[2].response else { panic!() };
    assert_eq!((range.kvs.len(), range.kvs[0].key.clone()), (1, "b".into()));
    assert_eq!(range.header.as_ref().unwrap().revision, 3);
    assert_eq!(store.state.revision(), 3);
}

#[test]
fn a_value_of_a_missing_key_compares_with_nothing() {
    let store = Fixture::new();
    for result in [CompareResult::Equal, CompareResult::NotEqual, CompareResult::Less] {
        let request = TxnRequest {
            compare: vec![compare("a", result, TargetUnion::Value("1".into()))],
            ..TxnRequest::default()
        };
        assert!(!store.txn(request).unwrap().succeeded);
    }
}

#[test]
fn a_comparison_of_a_range_must_hold_for_every_key() {
    let store = Fixture::new();
    store.put("p/a", "1");
    store.put("p/b", "1");
    let ask = |value: &'static str| {
        let mut compare = compare("p/", CompareResult::Equal, TargetUnion::Value(value.into()));
        compare.range_end = "p0".into();
        store.txn(TxnRequest { compare: vec![compare], ..TxnRequest::default() }).unwrap().succeeded
    };
    assert!(ask("1"));
    store.put("p/b", "2");
    assert!(!ask("1"));
}

#[test]
fn nested_comparisons_are_made_before_anything_is_written() {
    let store = Fixture::new();
    let nested = TxnRequest {
        compare: vec![compare("a", CompareResult::Equal, TargetUnion::Version(0))],
        success: vec![op(Request::RequestPut(put("seen", "absent")))],
        failure: vec![op(Request::RequestPut(put("seen", "present")))],
    };
    let request = TxnRequest {
        success: vec![op(Request::RequestPut(put("a", "1"))), op(Request::RequestTxn(nested))],
        ..TxnRequest::default()
    };
    store.txn(request).unwrap();
    assert_eq!(store.values(RangeRequest { key: "seen".into(), ..Default::default() }), ["absent"]);
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let store = Fixture::new();
    let ignoring = PutRequest { ignore_value: true, ..put("missing", "") };
    for (last, error) in [
        (Request::RequestPut(ignoring), Error::KeyNotFound),
        (Request::RequestPut(PutRequest { lease: 7, ..put("b", "1") }), Error::LeaseNotFound),
        (Request::RequestRange(RangeRequest { revision: 50, ..all() }), Error::FutureRevision),
    ] {
        let request = TxnRequest {
            success: vec![op(Request::RequestPut(put("a", "1"))), op(last)],
            ..TxnRequest::default()
        };
        assert_eq!(store.txn(request), Err(error));
        assert_eq!(store.state.revision(), 1);
        assert_eq!(store.range(all()).unwrap().count, 0);
    }
}

#[test]
fn entries_of_one_group_see_each_other() {
    let store = Fixture::new();
    let write = |value| InternalRaftRequest { put: Some(put("a", value)), ..Default::default() };
    let read = TxnRequest {
        success: vec![
            op(Request::RequestRange(RangeRequest { revision: 2, ..all() })),
            op(Request::RequestPut(put("b", "x"))),
        ],
        ..TxnRequest::default()
    };
    let read = InternalRaftRequest { txn: Some(read), ..Default::default() };
    let results = store.apply(vec![write("1"), write("2"), read]);
    let Ok(Applied::Txn(response)) = &results[2] else { panic!("{results:?}") };
    let Some(Response::ResponseRange(range)) = &response.responses[0].response else { panic!() };
    assert_eq!(range.kvs[0].value, "1");
    assert_eq!(store.state.revision(), 4);
}

#[test]
fn a_lease_takes_its_keys_along_in_one_revision() {
    let store = Fixture::new();
    let grant = LeaseGrantRequest { id: 7, ttl: 10 };
    let grant = InternalRaftRequest { lease_grant: Some(grant), ..Default::default() };
    store.one(grant.clone()).unwrap();
    assert_eq!(store.one(grant).unwrap_err(), Error::LeaseExists);
    store.put_with_lease("a", "1", 7);
    store.put_with_lease("b", "1", 7);
    store.put_with_lease("c", "1", 7);
    let bare = RangeRequest { keys_only: true, ..all() };
    let by_value = RangeRequest { sort_target: SortTarget::Value.into(), ..bare.clone() };
    let leases = |request| store.range(request).unwrap().kvs.iter().map(|kv| kv.lease).sum::<i64>();
    assert_eq!((leases(bare), leases(by_value)), (0, 21), "known only where values are read");
    store.put("c", "free");
    let before = store.state.revision();
    let revoke = Some(LeaseRevokeRequest { id: 7 });
    let revoke = InternalRaftRequest { lease_revoke: revoke, ..Default::default() };
    store.one(revoke.clone()).unwrap();
    assert_eq!(store.state.revision(), before + 1);
    assert_eq!(store.values(all()), ["free"]);
    assert_eq!(store.one(revoke).unwrap_err(), Error::LeaseNotFound);
}

#[test]
fn a_put_can_keep_the_value_or_the_lease() {
    let store = Fixture::new();
    let grant = Some(LeaseGrantRequest { id: 7, ttl: 10 });
    store.one(InternalRaftRequest { lease_grant: grant, ..Default::default() }).unwrap();
    store.put_with_lease("a", "1", 7);
    let keep = PutRequest { ignore_lease: true, prev_kv: true, ..put("a", "2") };
    let Ok(Applied::Put(response)) =
        store.one(InternalRaftRequest { put: Some(keep), ..Default::default() })
    else {
        panic!("the key exists")
    };
    assert_eq!(response.prev_kv.unwrap().value, "1");
    let keep = PutRequest { ignore_value: true, ..put("a", "") };
    store.one(InternalRaftRequest { put: Some(keep), ..Default::default() }).unwrap();
    let kv = store.range(all()).unwrap().kvs.remove(0);
    assert_eq!((kv.value, kv.lease, kv.version), ("2".into(), 0, 3));
}

#[tokio::test]
async fn a_restart_finds_everything_as_it_was() {
    let mut store = Fixture::new();
    let grant = Some(LeaseGrantRequest { id: 7, ttl: 10 });
    store.one(InternalRaftRequest { lease_grant: grant, ..Default::default() }).unwrap();
    store.put("a", "1");
    store.put_with_lease("b", "1", 7);
    store.put("a", "2");
    store.delete("a", "");
    store.compact(3).unwrap();
    let (before, hash) = (store.range(all()).unwrap(), hash::hash_kv(&store.state, 0).unwrap());
    store.reopen();
    assert_eq!(store.range(all()).unwrap(), before);
    assert_eq!(hash::hash_kv(&store.state, 0).unwrap(), hash);
    assert_eq!(store.state.compacted(), 3);
    assert_eq!(store.state.leases.read().get(7).unwrap().keys.len(), 1);
    assert_eq!(store.values(RangeRequest { revision: 4, ..all() }), ["2", "1"]);
    sweep::sweep(&store.state, 3).await.unwrap();
    assert_eq!(store.state.swept(), 3);
    assert_eq!(hash::hash_kv(&store.state, 0).unwrap(), hash);
}

#[tokio::test]
async fn sweeping_removes_what_nobody_can_read() {
    let store = Fixture::new();
    for value in ["1", "2", "3"] {
        store.put("a", value);
    }
    store.put("b", "1");
    store.delete("b", "");
    store.put("c", "1");
    store.compact(6).unwrap();
    sweep::sweep(&store.state, 6).await.unwrap();
    let mut left = Vec::new();
    store
        .state
        .disk
        .visit(0, |rev, _, _, _| {
            left.push(rev.main);
            Ok(true)
        })
        .unwrap();
    // The deletion at the compacted revision itself stays, as in etcd.
    assert_eq!(left, [4, 6, 7]);
    assert_eq!(store.values(all()), ["3", "1"]);
}

#[test]
fn a_range_of_many_keys_that_only_the_disk_has_is_whole_and_in_order() {
    const KEYS: usize = 2500;
    let mut store = Fixture::new();
    // Revisions lie in another order than keys.
    let name = |at: usize| format!("k{:04}", at * 997 % KEYS);
    let puts = (0..KEYS).map(|at| {
        let (key, value) = (name(at).into(), name(at).into());
        let put = Some(PutRequest { key, value, ..PutRequest::default() });
        InternalRaftRequest { put, ..Default::default() }
    });
    store.apply(puts.collect());
    store.delete("k0001", "k0003");
    store.reopen();
    let wanted: Vec<_> = (0..KEYS).filter(|at| !(1..3).contains(at)).collect();
    let wanted: Vec<_> = wanted.into_iter().map(|at| format!("k{at:04}")).collect();
    assert_eq!(store.values(all()), wanted);
    for limit in [999, 1000, 1001, 2000, 2498, 3000] {
        let request = RangeRequest { limit: limit as i64, ..all() };
        let whole = store.range(request.clone()).unwrap();
        let page = read::page(&store.state, &request, false, &mut Room::endless()).unwrap();
        assert_eq!(whole.count, wanted.len() as i64);
        assert_eq!(page.count, wanted.len().min(limit + 1) as i64, "no key is visited in vain");
        assert_eq!((&whole.kvs, whole.more), (&page.kvs, page.more));
        let keys: Vec<_> = page.kvs.iter().map(|kv| kv.key.clone()).collect();
        assert_eq!(keys, wanted[..wanted.len().min(limit)]);
        assert_eq!(page.more, limit < wanted.len());
    }
    let descending = RangeRequest { sort_order: SortOrder::Descend.into(), limit: 2, ..all() };
    assert_eq!(store.values(descending), ["k2499", "k2498"]);
    let count = store.range(RangeRequest { count_only: true, ..all() }).unwrap();
    assert_eq!((count.count, count.kvs.len(), count.more), (wanted.len() as i64, 0, false));
}
