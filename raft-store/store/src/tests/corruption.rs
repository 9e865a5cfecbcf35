//! Members whose data is not what the others have, and disks that are full.

use std::time::Duration;

use prost::Message as _;
use proto::{
    etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, PutRequest,
        RangeRequest, alarm_request::AlarmAction,
    },
    mvccpb::KeyValue,
};

use super::cluster::{Cluster, wait_until};
use crate::{Error, Handle, hash, state::Rev};

async fn put(handle: &Handle, key: &str, size: usize) -> Result<(), Error> {
    let (key, value) = (key.to_owned().into(), vec![b'v'; size].into());
    handle.put(PutRequest { key, value, ..PutRequest::default() }).await.map(|_| ())
}

async fn read(handle: &Handle) -> Result<i64, Error> {
    let (key, range_end, serializable) = ("\0".into(), "\0".into(), true);
    let request = RangeRequest { key, range_end, serializable, ..RangeRequest::default() };
    handle.range(request).await.map(|response| response.count)
}

fn alarms(handle: &Handle) -> Vec<AlarmMember> {
    handle.inner.state().load().alarms.read().list(AlarmType::None)
}

/// Changes a version behind the state's back, as a bad disk would.
fn tamper(handle: &Handle) {
    let state = handle.inner.state().load();
    let value = KeyValue { key: "k0".into(), value: "other".into(), ..KeyValue::default() };
    let mut batch = state.disk.batch();
    state.disk.put_version(&mut batch, Rev { main: 2, sub: 0 }, false, &value.encode_to_vec());
    state.disk.write(batch).unwrap();
    state.disk.flush().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_no_copy_of_the_others_fences_itself_and_they_go_on() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let odd = cluster.follower().await;
    let handle = cluster.handle(leader).clone();
    put(&handle, "before", 1).await.unwrap();
    cluster.handle(odd).barrier().await.unwrap();
    cluster.handle(odd).inner.state().load().skip_a_revision();
    put(&handle, "after", 1).await.unwrap();
    let machine = cluster.handle(odd).inner.machine.clone();
    wait_until("the member is fenced", || machine.is_fenced()).await;
    assert_eq!(read(cluster.handle(odd)).await, Err(Error::Corrupt));
    assert_eq!(put(cluster.handle(odd), "x", 1).await, Err(Error::Corrupt));
    put(&handle, "later", 1).await.unwrap();
    assert_eq!(read(&handle).await, Ok(3));
    assert_eq!(alarms(&handle), []);
    assert!(!handle.inner.machine.is_fenced());
    drop(machine);
    // A restart does not make the data better.
    cluster.restart(odd).await;
    assert_eq!(read(cluster.handle(odd)).await, Err(Error::Corrupt));
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_are_equal_on_members_that_were_away_or_got_a_copy() {
    let mut cluster = Cluster::with(3, |config| config.keep_entries = 20).await;
    let away = cluster.follower().await;
    let leader = cluster.leader().await;
    for at in 0..30 {
        put(cluster.handle(leader), &format!("k{at}"), 10).await.unwrap();
    }
    cluster.kill(away).await;
    for at in 0..60 {
        put(cluster.handle(leader), &format!("l{at}"), 10).await.unwrap();
    }
    for at in cluster.running() {
        cluster.handle(at).consensus().compact_log().await.unwrap();
    }
    cluster.start_member(away).await;
    let last = cluster.handle(leader).revision();
    let handle = cluster.handle(away).clone();
    wait_until("the copy has arrived", || handle.revision() == last).await;
    for at in 0..3 {
        put(cluster.handle(at), "end", 1).await.unwrap();
    }
    let digest = |at: usize| {
        let state = cluster.handle(at).inner.state().load();
        let digest = state.digest.lock();
        digest.newest().unwrap()
    };
    wait_until("digests are equal", || digest(0) == digest(1) && digest(1) == digest(2)).await;
    assert!((0..3).all(|at| !cluster.handle(at).inner.machine.is_fenced()));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_changed_on_a_disk_is_found_and_nobody_serves_any_more() {
    let every = Some(Duration::from_millis(100));
    let cluster = Cluster::with(3, |config| config.corrupt_check_time = every).await;
    let leader = cluster.leader().await;
    for at in 0..5 {
        put(cluster.handle(leader), &format!("k{at}"), 10).await.unwrap();
    }
    let bad = cluster.follower().await;
    cluster.handle(bad).barrier().await.unwrap();
    tamper(cluster.handle(bad));
    let handle = cluster.handle(leader).clone();
    wait_until("the alarm is up", || !alarms(&handle).is_empty()).await;
    let (member_id, alarm) = (cluster.handle(bad).id(), AlarmType::Corrupt.into());
    assert_eq!(alarms(&handle), [AlarmMember { member_id, alarm }]);
    assert_eq!(put(&handle, "x", 1).await, Err(Error::Corrupt));
    assert_eq!(read(&handle).await, Err(Error::Corrupt));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_other_data_than_the_others_does_not_start_where_that_is_checked() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for at in 0..5 {
        put(cluster.handle(leader), &format!("k{at}"), 10).await.unwrap();
    }
    let bad = cluster.follower().await;
    cluster.handle(bad).barrier().await.unwrap();
    let good = hash::hash_kv(&cluster.handle(bad).inner.state().load(), 0).unwrap();
    cluster.configure(bad, |config| config.initial_corrupt_check = true);
    cluster.restart(bad).await;
    cluster.handle(bad).barrier().await.unwrap();
    tamper(cluster.handle(bad));
    let tampered = hash::hash_kv(&cluster.handle(bad).inner.state().load(), 0).unwrap();
    assert_ne!(good.hash, tampered.hash);
    let id = cluster.handle(bad).id();
    cluster.kill(bad).await;
    let refused = cluster.try_start(bad).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("{id:x} found data inconsistency with peers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_takes_deletions_and_goes_on_once_the_alarm_is_lowered() {
    let cluster = Cluster::with(1, |config| config.quota_bytes = 512 << 10).await;
    let handle = cluster.handle(cluster.leader().await).clone();
    let mut at = 0;
    while put(&handle, &format!("k{at}"), 4096).await != Err(Error::NoSpace) {
        at += 1;
        assert!(at < 5000, "the quota does not hold");
    }
    assert_eq!(read(&handle).await, Ok(at));
    let (key, range_end) = ("k".into(), "l".into());
    let request = DeleteRangeRequest { key, range_end, prev_kv: false };
    assert_eq!(handle.delete_range(request).await.unwrap().deleted, at);
    let request = CompactionRequest { revision: handle.revision(), physical: true };
    handle.compact(request).await.unwrap();
    assert_eq!(put(&handle, "k", 1).await, Err(Error::NoSpace), "until the alarm is lowered");
    let state = handle.inner.state().load();
    state.disk.flush().unwrap();
    state.disk.compact();
    let size = || handle.inner.size.total.load(std::sync::atomic::Ordering::Relaxed);
    wait_until("the database is small again", || size() < 100 << 10).await;
    let action = AlarmAction::Deactivate.into();
    let alarm = AlarmType::Nospace.into();
    handle.alarm(AlarmRequest { action, member_id: handle.id(), alarm }).await.unwrap();
    put(&handle, "k", 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_raises_the_alarm_and_reads_go_on() {
    let cluster = Cluster::with(1, |config| config.min_free_bytes = Some(u64::MAX)).await;
    let short = cluster.handle(cluster.leader().await).clone();
    let is_short = || short.inner.size.is_short.load(std::sync::atomic::Ordering::Relaxed);
    wait_until("the disk is known to be short", is_short).await;
    assert_eq!(put(&short, "k", 1).await, Err(Error::NoSpace));
    let alarm = AlarmType::Nospace.into();
    let up = [AlarmMember { member_id: short.id(), alarm }];
    wait_until("the alarm is up", || alarms(&short) == up).await;
    assert_eq!(read(&short).await, Ok(0));
    let (key, range_end) = ("k".into(), "l".into());
    short.delete_range(DeleteRangeRequest { key, range_end, prev_kv: false }).await.unwrap();
    // Lowered in vain: it is raised again without anybody asking for anything.
    let lower =
        AlarmRequest { action: AlarmAction::Deactivate.into(), member_id: short.id(), alarm };
    short.alarm(lower).await.unwrap();
    wait_until("the alarm is up again", || alarms(&short) == up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_log_finds_no_room_refuses_writes_at_once_and_reads_on() {
    let cluster = Cluster::start(3).await;
    let full = cluster.handle(cluster.leader().await).clone();
    let other = (0..3).map(|at| cluster.handle(at)).find(|handle| handle.id() != full.id());
    let other = other.unwrap().clone();
    put(&full, "k", 1).await.unwrap();
    full.inner.config.faults.fill_disk(true);
    // Something for the log to write.
    put(&other, "l", 1).await.unwrap();
    let reserve = &full.inner.config.reserve;
    wait_until("the log waits for room", || reserve.is_waiting()).await;
    assert_eq!(put(&full, "k", 2).await, Err(Error::NoSpace));
    let alarm = AlarmType::Nospace.into();
    let up = [AlarmMember { member_id: full.id(), alarm }];
    wait_until("the alarm is up for all", || alarms(&other) == up).await;
    assert_eq!(put(&other, "k", 2).await, Err(Error::NoSpace));
    for member in [&full, &other] {
        member.barrier().await.unwrap();
        assert_eq!(read(member).await, Ok(2));
    }
    assert!(full.leader().borrow().is_some_and(|leader| leader == full.id()), "it leads on");
    full.inner.config.faults.fill_disk(false);
    wait_until("the log goes on", || !reserve.is_waiting()).await;
    let lower =
        AlarmRequest { action: AlarmAction::Deactivate.into(), member_id: full.id(), alarm };
    other.alarm(lower).await.unwrap();
    let mut outcome = put(&full, "k", 3).await;
    while outcome == Err(Error::NoSpace) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        outcome = put(&full, "k", 3).await;
    }
    assert_eq!(outcome, Ok(()));
}
