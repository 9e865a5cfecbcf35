//! Data that moves from an etcd to us and back, as snapshot files.
//!
//! `fixtures/etcd-3.7.1.snapshot.db` was saved from a real etcd 3.7.1: revisions 2 to 14 with
//! deletions (one in a transaction with two puts), compacted at 8, a lease on one key, users
//! root, alice and bob, one role, and auth switched on. The hashes are what that etcd said.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use proto::etcdserverpb::{
    PutRequest, RangeRequest, SnapshotRequest, maintenance_client::MaintenanceClient,
};

use super::cluster::{Cluster, wait_until};
use crate::{
    Error, Handle, hash,
    snapshot::{Restore, contents, restore},
    state::key_kind::{AUTH_ENABLED, KeyKind},
};

/// A file that goes with the test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(what: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("trireme-snapshots-{}-{number}-{what}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.is_dir() {
            fs::remove_dir_all(&self.0).ok();
        } else {
            fs::remove_file(&self.0).ok();
        }
    }
}

fn fixture() -> PathBuf {
    // Asked for when it runs: a build may come from a checkout that lay elsewhere.
    let here = std::env::var("CARGO_MANIFEST_DIR");
    let here = here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&here).join("src/tests/fixtures/etcd-3.7.1.snapshot.db")
}

fn plan(file: PathBuf, data_dir: PathBuf) -> Restore {
    let peer_urls = vec!["http://127.0.0.1:2380".to_owned()];
    Restore {
        file,
        data_dir,
        name: "default".to_owned(),
        initial: vec![("default".to_owned(), peer_urls.clone())],
        peer_urls,
        token: "etcd-cluster".to_owned(),
        skip_hash_check: false,
        bump_revision: 0,
        mark_compacted: false,
    }
}

/// A cluster whose members were made from a snapshot.
pub(super) async fn restored(size: usize, change: impl Fn(&mut Restore)) -> Cluster {
    let mut cluster = Cluster::prepared(size, |_| {});
    for config in cluster.configs() {
        let mut plan = plan(fixture(), config.data_dir.clone());
        plan.name.clone_from(&config.name);
        plan.peer_urls.clone_from(&config.peer_urls);
        plan.initial.clone_from(&config.initial);
        change(&mut plan);
        restore(plan).await.unwrap();
    }
    for at in 0..size {
        cluster.start_member(at).await;
    }
    cluster
}

fn hash_at(handle: &Handle, revision: i64) -> (u32, i64) {
    let hash = hash::hash_kv(&handle.inner.state().load(), revision).unwrap();
    (hash.hash, hash.compacted)
}

pub(super) async fn pairs(handle: &Handle) -> Vec<(String, String, i64, i64)> {
    let (key, range_end) = ("\0".into(), "\0".into());
    let all = RangeRequest { key, range_end, ..RangeRequest::default() };
    let response = handle.range(all).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pair = |kv: proto::mvccpb::KeyValue| {
        (text(&kv.key), text(&kv.value), kv.create_revision, kv.mod_revision)
    };
    response.kvs.into_iter().map(pair).collect()
}

/// Saves a member's snapshot as a client does.
pub(super) async fn save(url: &str, file: &Path) {
    let channel = tonic::transport::Channel::from_shared(url.to_owned()).unwrap();
    let mut client = MaintenanceClient::new(channel.connect().await.unwrap());
    let mut stream = client.snapshot(SnapshotRequest {}).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        bytes.extend_from_slice(&message.blob);
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn an_etcd_snapshot_reads_as_etcdutl_reads_it() {
    let found = contents(&fixture()).unwrap();
    assert_eq!(found.hash, 4_174_974_808);
    assert_eq!((found.revision, found.total_key, found.total_size), (14, 6, 20_480));
    assert_eq!(found.version, "3.7.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_snapshot_becomes_a_cluster_with_the_same_history_leases_and_users() {
    let mut cluster = restored(3, |_| {}).await;
    let leader = cluster.leader().await;
    for at in 0..3 {
        cluster.handle(at).barrier().await.unwrap();
        let handle = cluster.handle(at);
        assert_eq!((handle.revision(), handle.compacted()), (14, 8));
        for (revision, expected) in [
            (0, 1_621_553_910),
            (9, 3_682_261_134),
            (10, 2_221_925_664),
            (11, 1_448_720_380),
            (12, 2_684_423_245),
            (13, 2_569_943_273),
        ] {
            assert_eq!(hash_at(handle, revision), (expected, 8), "revision {revision}");
        }
    }
    let expected = [
        ("after", "y", 12, 12),
        ("k1", "again", 2, 7),
        ("k5", "v5", 6, 6),
        ("leased", "x", 10, 10),
        ("t1", "back", 14, 14),
        ("t2", "two", 9, 9),
    ];
    let expected = expected
        .map(|(key, value, create, modified)| (key.to_owned(), value.to_owned(), create, modified));
    let handle = cluster.handle(leader);
    assert_eq!(pairs(handle).await, expected);
    let lease = 0x6037_a214_b47f_1c0b;
    assert_eq!(handle.lease_leases(), [lease]);
    let left = handle.lease_time_to_live(lease, true).await.unwrap();
    assert_eq!((left.granted_ttl, &left.keys[0][..]), (5000, &b"leased"[..]));
    let names = |kind| {
        let all = handle.inner.state().load().disk.all(kind).unwrap().into_iter();
        all.map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(KeyKind::User), ["alice", "bob", "root"]);
    assert_eq!(names(KeyKind::Role), ["reader"]);
    let is_enabled = handle.inner.state().load().disk.meta(AUTH_ENABLED).unwrap();
    assert_eq!(is_enabled.as_deref(), Some(&[1][..]));
    // It goes on, also after a restart, and for a member that was not there at the beginning.
    let put = PutRequest { key: "new".into(), ..PutRequest::default() };
    let header = handle.put(put).await.unwrap().header.unwrap();
    assert_eq!(header.revision, 15);
    for at in 0..3 {
        cluster.restart(at).await;
    }
    let joined = cluster.join().await;
    cluster.handle(joined).barrier().await.unwrap();
    assert_eq!(hash_at(cluster.handle(joined), 0), hash_at(cluster.handle(0), 0));
    assert_eq!(hash_at(cluster.handle(joined), 14), (1_621_553_910, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_revision_is_raised_as_etcdutl_raises_it() {
    let change = |plan: &mut Restore| (plan.bump_revision, plan.mark_compacted) = (1000, true);
    let cluster = restored(1, change).await;
    cluster.leader().await;
    let handle = cluster.handle(0);
    assert_eq!((handle.revision(), handle.compacted()), (1014, 1014));
    assert_eq!(hash_at(handle, 0), (404_340_652, 1014));
    let past = RangeRequest { key: "t1".into(), revision: 14, ..RangeRequest::default() };
    assert_eq!(handle.range(past).await, Err(Error::Compacted));
    assert_eq!(pairs(handle).await.len(), 6);
    let put = PutRequest { key: "x".into(), value: "y".into(), ..PutRequest::default() };
    assert_eq!(handle.put(put).await.unwrap().header.unwrap().revision, 1015);
    assert_eq!(hash_at(handle, 0), (3_968_573_762, 1014));
    let request = proto::etcdserverpb::CompactionRequest { revision: 1015, physical: true };
    handle.compact(request).await.unwrap();
    assert_eq!(hash_at(handle, 0), (3_968_573_762, 1015));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_restores_to_the_same_and_reads_the_same() {
    let cluster = restored(1, |_| {}).await;
    let first = cluster.leader().await;
    let before = hash_at(cluster.handle(first), 0);
    let file = Scratch::new("saved");
    let about = crate::export::About {
        status: cluster.handle(first).status(),
        members: cluster.handle(first).inner.members(),
    };
    crate::export::write(&cluster.handle(first).inner.state().load(), &about, &file.0).unwrap();
    let found = contents(&file.0).unwrap();
    assert_eq!((found.revision, found.total_key, &*found.version), (14, 6, "3.7.0"));
    let path = file.0.clone();
    let again = restored(1, move |plan| {
        (plan.file, plan.skip_hash_check) = (path.clone(), true);
    })
    .await;
    again.leader().await;
    assert_eq!(hash_at(again.handle(0), 0), before);
    assert_eq!(again.handle(0).lease_leases(), cluster.handle(first).lease_leases());
    let users = |handle: &Handle| handle.inner.state().load().disk.all(KeyKind::User).unwrap();
    assert_eq!(users(again.handle(0)), users(cluster.handle(first)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_makes_no_sense_is_refused_in_etcdutls_words() {
    let file = Scratch::new("file");
    let dir = Scratch::new("dir");
    let whole = fs::read(fixture()).unwrap();
    let refused = async |change: &dyn Fn(&mut Restore)| {
        let mut plan = plan(file.0.clone(), dir.0.clone());
        change(&mut plan);
        restore(plan).await.unwrap_err().to_string()
    };
    fs::write(&file.0, &whole[..whole.len() - 32]).unwrap();
    let text = "snapshot missing hash but --skip-hash-check=false";
    assert_eq!(refused(&|_| {}).await, text);
    let mut damaged = whole.clone();
    damaged[9000] ^= 1;
    fs::write(&file.0, &damaged).unwrap();
    assert!(refused(&|_| {}).await.starts_with("expected sha256 ["));
    fs::write(&file.0, &whole).unwrap();
    let text = "couldn't find local name \"x\" in the initial cluster configuration";
    assert_eq!(refused(&|plan| plan.name = "x".to_owned()).await, text);
    let text = "--initial-cluster has default=http://127.0.0.1:2380 but missing from \
                --initial-advertise-peer-urls=http://a:1";
    assert_eq!(refused(&|plan| plan.peer_urls = vec!["http://a:1".to_owned()]).await, text);
    let text = "--mark-compacted required if --revision-bump > 0";
    assert_eq!(refused(&|plan| plan.bump_revision = 1).await, text);
    assert!(!dir.0.exists(), "nothing is left of a refused restore");
    fs::create_dir_all(dir.0.join("x")).unwrap();
    let text = format!("data-dir \"{}\" not empty or could not be read", dir.0.display());
    assert_eq!(refused(&|_| {}).await, text);
    assert!(dir.0.join("x").exists(), "what was there stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_survivor_goes_on_alone_when_told_to() {
    let mut cluster = Cluster::start(3).await;
    let put = |key: &str| PutRequest { key: key.to_owned().into(), ..PutRequest::default() };
    for at in 0..20 {
        cluster.handle(at % 3).put(put(&format!("k{at}"))).await.unwrap();
    }
    let survivor = cluster.follower().await;
    cluster.handle(survivor).barrier().await.unwrap();
    let cluster_id = cluster.handle(survivor).header().cluster_id;
    for at in 0..3 {
        cluster.kill(at).await;
    }
    cluster.configure(survivor, |config| config.force_new_cluster = true);
    cluster.start_member(survivor).await;
    assert_eq!(cluster.leader().await, survivor);
    let handle = cluster.handle(survivor).clone();
    assert_eq!(handle.member_list(true).await.unwrap().len(), 1);
    assert_eq!(pairs(&handle).await.len(), 20);
    assert_eq!(handle.header().cluster_id, cluster_id);
    handle.put(put("alone")).await.unwrap();
    drop(handle);
    cluster.configure(survivor, |config| config.force_new_cluster = false);
    cluster.restart(survivor).await;
    let joined = cluster.join().await;
    let handle = cluster.handle(joined).clone();
    wait_until("the new member has all", || handle.revision() == 22).await;
}
