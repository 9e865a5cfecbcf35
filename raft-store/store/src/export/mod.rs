//! The state as a file that etcd's tools read: a bbolt database with etcd's buckets.

mod auth;
pub(crate) mod bbolt;
pub(crate) mod import;
pub(crate) mod reader;

use std::{
    io::{self, Write},
    path::Path,
};

use consensus::Status;
use prost::Message as _;
use proto::etcdserverpb::Member;

use crate::state::{Rev, State, key_kind::revision_key};
use bbolt::Database;

/// The layout of what is in the file, as etcd numbers it.
pub(crate) const STORAGE_VERSION: &str = "3.7.0";

/// A lease as etcd writes it down.
#[derive(Clone, PartialEq, prost::Message)]
struct LeaseRecord {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl: i64,
    #[prost(int64, tag = "3")]
    remaining: i64,
}

/// What the file says about the cluster.
pub(crate) struct About {
    /// Position in the log.
    pub(crate) status: Status,
    /// All members.
    pub(crate) members: Vec<Member>,
}

/// Writes the state into a file; blocks. Buckets come in the order of their names.
pub(crate) fn write(state: &State, about: &About, path: &Path) -> io::Result<()> {
    let mut database = Database::create(path)?;
    let alarms = state.alarms.read().list(proto::etcdserverpb::AlarmType::None);
    let mut bucket = database.bucket("alarm")?;
    for alarm in alarms {
        bucket.put(&alarm.encode_to_vec(), b"")?;
    }
    bucket.finish()?;
    auth::write(&mut database, state)?;
    let mut bucket = database.bucket("cluster")?;
    bucket.put(b"clusterVersion", STORAGE_VERSION.as_bytes())?;
    bucket.finish()?;
    let mut bucket = database.bucket("key")?;
    state.disk.visit(0, |_, _, key, value| bucket.put(key, value).map(|()| true))?;
    bucket.finish()?;
    let leases: Vec<LeaseRecord> = {
        let leases = state.leases.read();
        let record = |(id, lease): (i64, &crate::state::leases::Lease)| LeaseRecord {
            id,
            ttl: lease.ttl,
            remaining: lease.remaining,
        };
        leases.iter().map(record).collect()
    };
    let mut bucket = database.bucket("lease")?;
    for lease in leases {
        bucket.put(&lease.id.to_be_bytes(), &lease.encode_to_vec())?;
    }
    bucket.finish()?;
    let mut members: Vec<_> =
        about.members.iter().map(|member| (format!("{:x}", member.id), member)).collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let mut bucket = database.bucket("members")?;
    for (key, member) in members {
        bucket.put(key.as_bytes(), member_json(member).as_bytes())?;
    }
    bucket.finish()?;
    database.bucket("members_removed")?.finish()?;
    write_meta(&mut database, state, about)?;
    database.finish()
}

fn write_meta(database: &mut Database, state: &State, about: &About) -> io::Result<()> {
    let voters: Vec<u64> = about.members.iter().filter(|m| !m.is_learner).map(|m| m.id).collect();
    let configuration = serde_json::json!({ "voters": voters, "auto_leave": false }).to_string();
    let mut bucket = database.bucket("meta")?;
    bucket.put(b"confState", configuration.as_bytes())?;
    bucket.put(b"consistent_index", &about.status.applied.to_be_bytes())?;
    let revision = |main: i64| revision_key(Rev { main, sub: 0 }, false);
    if state.swept() > 0 {
        bucket.put(b"finishedCompactRev", &revision(state.swept()))?;
    }
    if state.compacted() > 0 {
        bucket.put(b"scheduledCompactRev", &revision(state.compacted()))?;
    }
    bucket.put(b"storageVersion", STORAGE_VERSION.as_bytes())?;
    bucket.put(b"term", &about.status.term.to_be_bytes())?;
    bucket.finish()
}

fn member_json(member: &Member) -> String {
    let mut value = serde_json::json!({
        "id": member.id,
        "peerURLs": member.peer_urls,
        "name": member.name,
        "clientURLs": member.client_urls,
    });
    if member.is_learner {
        value["isLearner"] = true.into();
    }
    value.to_string()
}

/// A writer that counts.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.inner.write_all(bytes)
    }
}
