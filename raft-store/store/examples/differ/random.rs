//! Random requests over few keys, so that they meet.

use proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    compare::TargetUnion, request_op::Request as Op,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Any request.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    Left(LeaseTimeToLiveRequest),
    Leases,
    Hash(HashKvRequest),
    /// A range as a stream.
    Stream(RangeRequest),
}

/// Makes requests from a seed.
pub(crate) struct Generator {
    random: StdRng,
    /// Whether ranges may end before they begin. Whether an etcd with auth allows those depends
    /// on the shape of its tree of permissions.
    has_inverted: bool,
}

impl Generator {
    pub(crate) fn new(seed: u64, has_inverted: bool) -> Self {
        Self { random: StdRng::seed_from_u64(seed), has_inverted }
    }

    pub(crate) fn below(&mut self, limit: i64) -> i64 {
        self.random.random_range(0..limit)
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    fn key(&mut self) -> bytes::Bytes {
        if self.chance(1) {
            return bytes::Bytes::new();
        }
        let key = ["a", "b", "c", "p/a", "p/b", "p/c", "p/d", "q/a"];
        key[self.random.random_range(0..key.len())].into()
    }

    fn end(&mut self) -> bytes::Bytes {
        match self.below(10) {
            0..=3 => bytes::Bytes::new(),
            4 => "\0".into(),
            5..=7 if self.has_inverted => "p0".into(),
            5..=7 => "q0".into(),
            _ if !self.has_inverted => "r".into(),
            _ => self.key(),
        }
    }

    fn revision(&mut self, now: i64) -> i64 {
        match self.below(10) {
            0..=5 => 0,
            6 => now + self.below(3),
            7 => self.below(now + 1),
            _ => (now - self.below(20)).max(0),
        }
    }

    /// The next request to servers that are at this revision.
    pub(crate) fn request(&mut self, now: i64) -> Request {
        match self.below(100) {
            0..=24 => Request::Put(self.put()),
            25..=49 => Request::Range(self.range(now)),
            50..=59 => Request::Delete(self.delete()),
            60..=84 => Request::Txn(self.txn(now, 2)),
            85..=86 => Request::Compact(CompactionRequest {
                // Not 0, which makes an etcd answer oddly ever after.
                revision: (now - 30 + self.below(35)).max(1),
                physical: true,
            }),
            87..=89 => {
                let (id, ttl) = (self.lease(), 1000 + self.below(1000));
                Request::Grant(LeaseGrantRequest { id, ttl })
            }
            90..=91 => Request::Revoke(LeaseRevokeRequest { id: self.lease() }),
            92 => {
                let (id, keys) = (self.lease(), self.chance(80));
                Request::Left(LeaseTimeToLiveRequest { id, keys })
            }
            93 => Request::Leases,
            94..=95 => Request::Hash(HashKvRequest { revision: self.revision(now) }),
            _ => {
                let (key, range_end) = (self.key(), self.end());
                let (limit, revision) = (self.below(5), self.revision(now));
                Request::Stream(RangeRequest {
                    key,
                    range_end,
                    limit,
                    revision,
                    ..Default::default()
                })
            }
        }
    }

    fn lease(&mut self) -> i64 {
        1 + self.below(5)
    }

    fn put(&mut self) -> PutRequest {
        let (ignore_value, ignore_lease) = (self.chance(8), self.chance(8));
        let value = if ignore_value && self.chance(90) {
            bytes::Bytes::new()
        } else {
            format!("v{}", self.below(6)).into()
        };
        let lease =
            if self.chance(25) && (!ignore_lease || self.chance(5)) { self.lease() } else { 0 };
        let (key, prev_kv) = (self.key(), self.chance(40));
        PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let (key, prev_kv) = (self.key(), self.chance(50));
        let range_end = if self.chance(70) { bytes::Bytes::new() } else { self.end() };
        DeleteRangeRequest { key, range_end, prev_kv }
    }

    fn range(&mut self, now: i64) -> RangeRequest {
        let mut filter = |percent| if self.chance(percent) { self.below(now + 1) } else { 0 };
        let filters = [filter(5), filter(5), filter(5), filter(5)];
        RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: if self.chance(40) { self.below(5) } else { 0 },
            revision: self.revision(now),
            sort_order: if self.chance(40) { self.below(3) as i32 } else { 0 },
            // Equal numbers have no order of their own: keys and revisions only.
            sort_target: if self.chance(40) { [0, 3][self.below(2) as usize] } else { 0 },
            serializable: self.chance(20),
            keys_only: self.chance(15),
            count_only: self.chance(10),
            min_mod_revision: filters[0],
            max_mod_revision: filters[1],
            min_create_revision: filters[2],
            max_create_revision: filters[3],
        }
    }

    fn txn(&mut self, now: i64, depth: u32) -> TxnRequest {
        let compares = self.below(3);
        TxnRequest {
            compare: (0..compares).map(|_| self.compare(now)).collect(),
            success: self.branch(now, depth),
            failure: self.branch(now, depth),
        }
    }

    fn branch(&mut self, now: i64, depth: u32) -> Vec<RequestOp> {
        let count = self.below(4);
        (0..count).map(|_| RequestOp { request: self.operation(now, depth) }).collect()
    }

    fn operation(&mut self, now: i64, depth: u32) -> Option<Op> {
        Some(match self.below(100) {
            0..=39 => Op::RequestRange(self.range(now)),
            40..=69 => Op::RequestPut(self.put()),
            70..=84 => Op::RequestDeleteRange(self.delete()),
            85..=98 if depth > 0 => Op::RequestTxn(self.txn(now, depth - 1)),
            85..=98 => Op::RequestRange(self.range(now)),
            _ => return None,
        })
    }

    fn compare(&mut self, now: i64) -> Compare {
        let target = self.below(5) as i32;
        let target_union = match target {
            0 => TargetUnion::Version(self.below(3)),
            1 => TargetUnion::CreateRevision(self.below(now + 1)),
            2 => TargetUnion::ModRevision(self.below(now + 1)),
            3 => TargetUnion::Value(format!("v{}", self.below(6)).into()),
            _ => TargetUnion::Lease(self.below(5)),
        };
        Compare {
            result: self.below(4) as i32,
            target,
            key: self.key(),
            range_end: if self.chance(30) { self.end() } else { bytes::Bytes::new() },
            target_union: Some(target_union).filter(|_| self.chance(97)),
        }
    }
}
