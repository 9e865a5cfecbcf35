//! What must hold while members die and come back.

use std::time::Duration;

use proto::etcdserverpb::{CompactionRequest, PutRequest, RangeRequest};

use super::cluster::{Cluster, wait_until};
use crate::{Error, Handle, WatchBatch, WatchSpec, Watcher};

async fn put(handle: &Handle, key: String, value: &'static str) -> Result<i64, Error> {
    put_with_lease(handle, key, value, 0).await
}

async fn put_with_lease(
    handle: &Handle,
    key: String,
    value: &'static str,
    lease: i64,
) -> Result<i64, Error> {
    let request =
        PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() };
    handle.put(request).await.map(|response| response.header.unwrap().revision)
}

async fn keys(handle: &Handle) -> Vec<String> {
    let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
    let response = handle.range(all).await.unwrap();
    let text = |key: &bytes::Bytes| String::from_utf8(key.to_vec()).unwrap();
    response.kvs.iter().map(|kv| text(&kv.key)).collect()
}

fn watch_all(handle: &Handle, start_revision: i64) -> Watcher {
    let (key, range_end) = ("\0".into(), "\0".into());
    handle.watch(WatchSpec { key, range_end, start_revision, ..WatchSpec::default() })
}

/// Collects events until a revision has been delivered.
async fn collect(watcher: &mut Watcher, until: i64) -> Vec<i64> {
    let mut revisions = Vec::new();
    while revisions.last().is_none_or(|last| *last < until) {
        let next = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await;
        match next.expect("events come in time") {
            Some(WatchBatch::Events { events, .. }) => {
                revisions.extend(events.iter().map(|event| event.kv.mod_revision));
            }
            other => panic!("{other:?} after {revisions:?}"),
        }
    }
    revisions
}

#[tokio::test(flavor = "multi_thread")]
async fn any_member_takes_writes_and_reads_what_others_wrote() {
    let cluster = Cluster::start(3).await;
    for at in 0..3 {
        put(cluster.handle(at), format!("k{at}"), "v").await.unwrap();
        for reader in 0..3 {
            assert_eq!(keys(cluster.handle(reader)).await.len(), at + 1);
        }
    }
    assert_eq!(cluster.handle(0).barrier().await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_the_death_of_all_members() {
    let mut cluster = Cluster::start(3).await;
    let writes = (0..50).map(|at| put(cluster.handle(at % 3), format!("k{at:02}"), "v"));
    for result in futures::future::join_all(writes).await {
        result.unwrap();
    }
    for at in 0..3 {
        cluster.kill(at).await;
    }
    for at in 0..3 {
        cluster.start_member(at).await;
    }
    for at in 0..3 {
        assert_eq!(keys(cluster.handle(at)).await.len(), 50);
        assert_eq!(cluster.handle(at).revision(), 51);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_when_the_leader_dies_and_none_happens_twice() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let handle = cluster.handle(follower).clone();
    let mut watcher = watch_all(&handle, 0);
    let writer = tokio::spawn(async move {
        let mut acknowledged = 0;
        for at in 0..200 {
            // A timeout tells nothing; everything else but success has had no effect.
            match put(&handle, format!("k{at:03}"), "v").await {
                Ok(_) => acknowledged += 1,
                Err(error) => assert!(error.retryable(), "{error}"),
            }
        }
        acknowledged
    });
    let first = cluster.handle(follower).clone();
    wait_until("some writes are through", || first.revision() > 50).await;
    cluster.kill(leader).await;
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged >= 190, "{acknowledged} of 200");
    let last = cluster.handle(follower).barrier().await.unwrap();
    let seen = collect(&mut watcher, last).await;
    assert_eq!(seen, (2..=last).collect::<Vec<_>>());
    assert!(keys(cluster.handle(follower)).await.len() >= acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_on_another_member_and_after_a_restart() {
    let mut cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let mut last = 0;
    for at in 0..20 {
        last = put(cluster.handle(follower), format!("k{at}"), "v").await.unwrap();
    }
    cluster.restart(follower).await;
    for at in 0..3 {
        cluster.handle(at).barrier().await.unwrap();
        let mut watcher = watch_all(cluster.handle(at), 10);
        assert_eq!(collect(&mut watcher, last).await, (10..=last).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_unless_renewed_and_its_keys_vanish_for_watchers() {
    let cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let handle = cluster.handle(follower);
    let lease = handle.lease_grant(1, 0).await.unwrap();
    assert_eq!(lease.ttl, 2);
    put_with_lease(handle, "session".to_owned(), "v", lease.id).await.unwrap();
    let mut watcher = watch_all(handle, 0);
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(handle.lease_keep_alive(lease.id).await.unwrap(), 2);
    }
    let left = handle.lease_time_to_live(lease.id, true).await.unwrap();
    assert_eq!((left.granted_ttl, left.keys.len()), (2, 1));
    let started = std::time::Instant::now();
    let Some(WatchBatch::Events { events, .. }) = watcher.next().await else { panic!() };
    assert!(events[0].deleted);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(handle.lease_keep_alive(lease.id).await, Err(Error::LeaseNotFound));
    assert_eq!(handle.lease_time_to_live(lease.id, false).await.unwrap().ttl, -1);
    assert!(handle.lease_leases().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_survive_the_leader_and_get_their_time_again() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let lease = cluster.handle(follower).lease_grant(2, 42).await.unwrap();
    put_with_lease(cluster.handle(follower), "session".to_owned(), "v", lease.id).await.unwrap();
    cluster.kill(leader).await;
    assert_eq!(cluster.handle(follower).lease_keep_alive(42).await.unwrap(), 2);
    assert_eq!(keys(cluster.handle(follower)).await, ["session"]);
    let handle = cluster.handle(follower).clone();
    wait_until("the lease has ended", || handle.lease_leases().is_empty()).await;
    assert_eq!(keys(cluster.handle(follower)).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_too_long_gets_a_copy_and_its_watchers_go_on() {
    let mut cluster = Cluster::with(3, |config| config.keep_entries = 20).await;
    let follower = cluster.follower().await;
    let leader = cluster.leader().await;
    put(cluster.handle(leader), "first".to_owned(), "v").await.unwrap();
    cluster.kill(follower).await;
    let mut last = 0;
    for at in 0..100 {
        last = put(cluster.handle(leader), format!("k{at:03}"), "v").await.unwrap();
    }
    for at in cluster.running() {
        cluster.handle(at).consensus().compact_log().await.unwrap();
    }
    cluster.start_member(follower).await;
    assert_eq!(cluster.handle(follower).barrier().await.unwrap(), last);
    assert_eq!(keys(cluster.handle(follower)).await.len(), 101);
    let mut watcher = watch_all(cluster.handle(follower), 2);
    assert_eq!(collect(&mut watcher, last).await, (2..=last).collect::<Vec<_>>());
    put(cluster.handle(follower), "after".to_owned(), "v").await.unwrap();
    assert_eq!(collect(&mut watcher, last + 1).await, [last + 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_reaches_every_disk() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for _ in 0..10 {
        put(cluster.handle(leader), "k".to_owned(), "v").await.unwrap();
    }
    let request = CompactionRequest { revision: 8, physical: true };
    cluster.handle(leader).compact(request).await.unwrap();
    let past = RangeRequest { key: "k".into(), revision: 7, ..RangeRequest::default() };
    for at in 0..3 {
        cluster.handle(at).barrier().await.unwrap();
        assert_eq!(cluster.handle(at).range(past.clone()).await, Err(Error::Compacted));
        let handle = cluster.handle(at).clone();
        wait_until("the disk is swept", || handle.inner.state().load().swept() == 8).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_refuses_writes_until_the_alarm_is_lowered() {
    let cluster = Cluster::with(1, |config| config.quota_bytes = 1).await;
    let handle = cluster.handle(cluster.leader().await);
    assert_eq!(put(handle, "k".to_owned(), "v").await, Err(Error::NoSpace));
    let alarms = handle.inner.state().load().alarms.read().list(Default::default());
    assert_eq!((alarms.len(), alarms[0].member_id), (1, handle.id()));
    assert_eq!(handle.lease_grant(10, 0).await.unwrap_err(), Error::NoSpace);
    assert_eq!(keys(handle).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_get_everything_and_leave() {
    let mut cluster = Cluster::start(1).await;
    put(cluster.handle(0), "k".to_owned(), "v").await.unwrap();
    let second = cluster.join().await;
    let third = cluster.join().await;
    let first = cluster.handle(0).clone();
    for at in [second, third] {
        let is_voter = || cluster.handle(at).status().role == crate::Role::Follower;
        wait_until("it votes", is_voter).await;
    }
    assert_eq!(keys(cluster.handle(third)).await, ["k"]);
    wait_until("all have names", || first.inner.members().iter().all(|m| !m.name.is_empty())).await;
    let id = cluster.handle(second).id();
    first.member_remove(id).await.unwrap();
    assert_eq!(first.member_list(true).await.unwrap().len(), 2);
    assert_eq!(first.member_remove(id).await, Err(Error::MemberNotFound));
    put(cluster.handle(third), "l".to_owned(), "v").await.unwrap();
}
