//! Members of one cluster in one process, over real sockets with TLS and logs on disk.

#![allow(clippy::print_stdout, reason = "figures are for whoever runs the tests")]

mod cluster;
mod durability;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::{Error, Handle, Initial, Member, Role, member_id};
use cluster::{Cluster, propose_until_done, wait_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_elect_a_leader_and_a_follower_takes_proposals() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.propose(follower, "one").await.unwrap();
    cluster.propose(leader, "two").await.unwrap();
    cluster.wait_values(&["one", "two"]).await;
    let status = cluster.handle(leader).status();
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.members.len(), 3);
    assert!(status.members.iter().all(|member| !member.learner));
    assert_eq!(cluster.handle(follower).status().role, Role::Follower);
    assert_eq!(cluster.handle(leader).cluster_id(), cluster.handle(follower).cluster_id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_on_a_follower_sees_what_was_acknowledged_before() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[1];
    for round in 0..20 {
        let value = format!("value {round}");
        cluster.propose(leader, &value).await.unwrap();
        let handle = cluster.handle(follower);
        let index = handle.read_index().await.unwrap();
        handle.wait_applied(index).await.unwrap();
        assert!(cluster.values(follower).contains(&value));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leaders_messages_are_its_word() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let [here, other] = cluster.others(leader)[..] else { panic!("three members") };
    let inner = &cluster.handle(here).inner;
    let is_heard = |at| inner.pace.silence(cluster.id(at), Instant::now()).is_some();
    wait_until("the leader is heard", || is_heard(leader)).await;
    // What one that led before has sent comes late, or its stream breaks.
    inner.hear(cluster.id(other));
    assert!(is_heard(leader) && !is_heard(other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_of_a_leader_whose_core_has_stopped_ends_at_once() {
    let cluster = Cluster::start(1).await;
    let handle = cluster.handle(cluster.leader().await);
    handle.read_index().await.unwrap();
    *handle.inner.ending.lock() = true;
    handle.inner.raft.shutdown().await.unwrap();
    assert!(matches!(handle.read_index().await, Err(Error::Stopped)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let mut acknowledged = BTreeSet::new();
    let mut outages = Vec::new();
    for round in 0..6 {
        let leader = cluster.leader().await;
        let survivor = cluster.others(leader)[round % 2];
        for write in 0..5 {
            let value = format!("{round}.{write}");
            cluster.propose(survivor, &value).await.unwrap();
            acknowledged.insert(value);
        }
        let mut deaths = cluster.handle(survivor).peer_down();
        let dead_id = cluster.id(leader);
        let began = Instant::now();
        cluster.kill(leader).await;
        let value = format!("{round}.after");
        cluster.propose_until_done(survivor, &value).await;
        acknowledged.insert(value);
        outages.push(began.elapsed());
        assert_eq!(deaths.recv().await.unwrap(), dead_id);
        cluster.restart(leader).await;
        cluster.wait_level().await;
    }
    outages.sort();
    let (median, worst) = (outages[outages.len() / 2], outages[outages.len() - 1]);
    println!("failover after the leader's death: median {median:?}, worst {worst:?}");
    for member in 0..3 {
        let values: Vec<String> = cluster.values(member);
        let unique: BTreeSet<String> = values.iter().cloned().collect();
        assert_eq!(unique.len(), values.len(), "no proposal took effect twice");
        assert!(acknowledged.is_subset(&unique), "every acknowledged proposal is there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_go_on_while_members_are_killed_under_load() {
    let mut cluster = Cluster::start(3).await;
    cluster.leader().await;
    let writers: Vec<_> = (0..3).map(|member| cluster.spawn_writer(member)).collect();
    for round in 0..3 {
        let leader = cluster.leader().await;
        cluster.kill(leader).await;
        let survivor = cluster.others(leader)[0];
        cluster.propose_until_done(survivor, &format!("after {round}")).await;
        cluster.restart(leader).await;
        cluster.wait_level().await;
    }
    cluster.stop_writers();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    cluster.wait_level().await;
    println!("{} proposals acknowledged under kills", acknowledged.len());
    assert!(!acknowledged.is_empty());
    let reference = cluster.values(0);
    for member in 0..3 {
        let values = cluster.values(member);
        assert_eq!(values, reference, "all members hold the same");
        let unique: BTreeSet<&String> = values.iter().collect();
        assert_eq!(unique.len(), values.len(), "no proposal took effect twice");
        let lost: Vec<_> = acknowledged.iter().filter(|value| !unique.contains(value)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_restart_with_everything() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for write in 0..50 {
        cluster.propose(leader, &format!("value {write}")).await.unwrap();
    }
    for member in 0..3 {
        cluster.kill(member).await;
    }
    for member in 0..3 {
        cluster.restart(member).await;
    }
    let began = Instant::now();
    let leader = cluster.leader().await;
    println!("leader {:?} after a restart of all members", began.elapsed());
    cluster.propose(leader, "last").await.unwrap();
    let mut expected: Vec<String> = (0..50).map(|write| format!("value {write}")).collect();
    expected.push("last".to_owned());
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    cluster.wait_values(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_catches_up_by_a_snapshot() {
    let mut cluster = Cluster::with_kept_entries(3, 20).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.propose(leader, "before").await.unwrap();
    cluster.kill(away).await;
    for write in 0..200 {
        cluster.propose(leader, &format!("value {write}")).await.unwrap();
    }
    for member in cluster.others(away) {
        cluster.handle(member).compact_log().await.unwrap();
    }
    cluster.restart(away).await;
    cluster.wait_level().await;
    assert!(cluster.machine(away).installs() > 0, "the log alone could not have helped");
    cluster.propose_until_done(away, "after").await;
    cluster.wait_level().await;
    assert_eq!(cluster.values(away), cluster.values(leader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_asked_for_while_one_runs_ends_too() {
    // Few enough writes that members compact nothing by themselves.
    let cluster = Cluster::with_kept_entries(3, 20).await;
    let leader = cluster.leader().await;
    cluster.machine(leader).slow_down(Duration::from_millis(200));
    for write in 0..20 {
        cluster.propose(leader, &format!("value {write}")).await.unwrap();
    }
    let handle = cluster.handle(leader);
    let later = async {
        sleep(Duration::from_millis(50)).await;
        cluster.propose(leader, "not in the first").await.unwrap();
        handle.compact_log().await
    };
    let (first, second) = tokio::join!(handle.compact_log(), later);
    first.and(second).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_of_the_leader_fails_no_proposal() {
    let mut cluster = Cluster::start(3).await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let survivor = cluster.others(leader)[0];
        let (handle, machine) =
            (cluster.handle(survivor).clone(), cluster.machine(survivor).clone());
        let writing = tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            for write in 0..100 {
                let began = Instant::now();
                // As the store does: the answer of a leader that hands over may be let go of for the next one's.
                let value = format!("{round}.{write}");
                propose_until_done(&handle, &machine, &value).await.unwrap();
                slowest = slowest.max(began.elapsed());
            }
            slowest
        });
        cluster.propose(survivor, &format!("{round}.started")).await.unwrap();
        cluster.stop(leader).await;
        println!("slowest proposal across an orderly stop: {:?}", writing.await.unwrap());
        cluster.restart(leader).await;
        cluster.wait_level().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_added_promoted_and_removed() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.propose(leader, "before").await.unwrap();
    let follower = cluster.others(leader)[0];

    let new = cluster.prepare_member();
    let added = Member { learner: true, ..cluster.member(new) };
    cluster.handle(follower).add_learner(added.clone()).await.unwrap();
    let again = cluster.handle(follower).add_learner(added).await.unwrap_err();
    assert!(matches!(again, Error::Membership(_)), "{again}");
    cluster.start_member(new, Initial::Existing).await;
    cluster.wait_level().await;
    assert_eq!(cluster.handle(new).status().role, Role::Learner);
    promote(cluster.handle(follower), cluster.id(new)).await;
    let handle = cluster.handle(new).clone();
    wait_until("the new member votes", || handle.status().role == Role::Follower).await;
    let unknown = cluster.handle(follower).promote(1).await.unwrap_err();
    assert!(matches!(unknown, Error::Membership(_)), "{unknown}");

    // A member that is not meant to stay a learner is promoted by itself.
    let fifth = cluster.prepare_member();
    cluster.handle(leader).add_learner(cluster.member(fifth)).await.unwrap();
    cluster.start_member(fifth, Initial::Existing).await;
    let handle = cluster.handle(fifth).clone();
    wait_until("the fifth member votes", || handle.status().role == Role::Follower).await;
    assert_eq!(handle.cluster_id(), cluster.handle(leader).cluster_id());

    cluster.handle(follower).remove(cluster.id(leader)).await.unwrap();
    cluster.kill(leader).await;
    let leader = cluster.leader().await;
    cluster.propose_until_done(leader, "after").await;
    assert_eq!(cluster.handle(leader).status().members.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_on_request() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let next = cluster.others(leader)[0];
    let refused = cluster.handle(next).transfer_leader(cluster.id(next)).await;
    assert!(refused.is_err());
    let stranger = member_id(&["http://nowhere:1".to_owned()], "x");
    assert!(cluster.handle(leader).transfer_leader(stranger).await.is_err());
    let mut moved = 0;
    for round in 0..10 {
        let leader = cluster.leader().await;
        let next = cluster.others(leader)[0];
        match cluster.handle(leader).transfer_leader(cluster.id(next)).await {
            Ok(()) => {
                assert_eq!(cluster.handle(leader).status().leader, Some(cluster.id(next)));
                moved += 1;
            }
            // Somebody else was elected meanwhile.
            Err(error) => assert!(matches!(error, Error::Timeout), "{error}"),
        }
        cluster.propose_until_done(leader, &format!("after {round}")).await;
    }
    assert!(moved > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_reaches_the_leader_from_anywhere() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for member in 0..3 {
        let answer = cluster.handle(member).call_leader(Bytes::from("who")).await.unwrap();
        assert_eq!(answer, format!("who: {:x}", cluster.id(leader)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_member_leads_and_keeps_its_log() {
    let mut cluster = Cluster::start(1).await;
    cluster.leader().await;
    cluster.propose(0, "one").await.unwrap();
    cluster.kill(0).await;
    cluster.restart(0).await;
    cluster.leader().await;
    cluster.propose(0, "two").await.unwrap();
    cluster.wait_values(&["one", "two"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_acknowledged() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for follower in cluster.others(leader) {
        cluster.kill(follower).await;
    }
    let handle = cluster.handle(leader).clone();
    let failed = handle.propose_within(Bytes::from("x"), Duration::from_millis(700)).await;
    assert!(failed.is_err());
}

/// Promotes a learner as soon as the leader has heard that it is in sync.
async fn promote(handle: &Handle, id: u64) {
    let end = Instant::now() + Duration::from_secs(30);
    while let Err(error) = handle.promote(id).await {
        assert!(error.to_string().contains("in sync"), "{error}");
        assert!(Instant::now() < end, "waited too long until the learner is in sync");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
