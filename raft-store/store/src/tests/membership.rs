//! Members that come and go while the cluster works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proto::etcdserverpb::PutRequest;

use super::cluster::{Cluster, free_port, wait_until};
use crate::{Error, Handle, hash};

fn put(key: String) -> PutRequest {
    PutRequest { key: key.into(), value: "v".into(), ..PutRequest::default() }
}

/// Writes until told to stop; how many writes were acknowledged.
fn spawn_writer(handle: Handle) -> (Arc<AtomicBool>, tokio::task::JoinHandle<usize>) {
    let goes_on = Arc::new(AtomicBool::new(true));
    let flag = goes_on.clone();
    let writer = tokio::spawn(async move {
        let mut acknowledged = 0;
        while flag.load(Ordering::Acquire) {
            match handle.put(put(format!("w{acknowledged}"))).await {
                Ok(_) => acknowledged += 1,
                Err(error) => assert!(error.retryable(), "{error}"),
            }
        }
        acknowledged
    });
    (goes_on, writer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_gets_its_vote_only_once_it_has_everything() {
    let mut cluster = Cluster::start(1).await;
    let handle = cluster.handle(cluster.leader().await).clone();
    for at in 0..1500 {
        handle.put(put(format!("k{at}"))).await.unwrap();
    }
    let at = cluster.prepare_join();
    let urls = cluster.configs()[at].peer_urls.clone();
    let learner = handle.member_add(urls.clone(), true).await.unwrap();
    assert!(learner.is_learner);
    assert_eq!(handle.member_promote(learner.id).await, Err(Error::LearnerNotReady));
    assert_eq!(handle.member_promote(handle.id()).await, Err(Error::MemberNotLearner));
    assert_eq!(handle.member_promote(1).await, Err(Error::MemberNotFound));
    let nonsense = vec!["nonsense".to_owned()];
    assert_eq!(handle.member_add(nonsense.clone(), true).await, Err(Error::MemberBadUrls));
    assert_eq!(handle.member_update(1, nonsense.clone()).await, Err(Error::MemberNotFound));
    assert_eq!(handle.member_update(learner.id, nonsense).await, Err(Error::MemberBadUrls));
    let other = vec!["http://127.0.0.1:1".to_owned()];
    assert_eq!(handle.member_add(other, true).await, Err(Error::TooManyLearners));
    assert_eq!(handle.member_add(urls, false).await.unwrap_err(), Error::PeerUrlExists);
    // It does not count: writes need nobody but the one voter.
    handle.put(put("alone".to_owned())).await.unwrap();
    cluster.start_member(at).await;
    let joined = cluster.handle(at).clone();
    wait_until("the learner has everything", || joined.revision() == handle.revision()).await;
    while let Err(error) = handle.member_promote(learner.id).await {
        assert_eq!(error, Error::LearnerNotReady);
        tokio::task::yield_now().await;
    }
    wait_until("it votes", || joined.status().role == crate::Role::Follower).await;
    joined.put(put("together".to_owned())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_replaced_while_writes_run() {
    let mut cluster = Cluster::with(3, |config| config.keep_entries = 20).await;
    let leader = cluster.leader().await;
    let handle = cluster.handle(leader).clone();
    let (goes_on, writer) = spawn_writer(handle.clone());
    wait_until("writes run", || handle.revision() > 50).await;
    let dead = cluster.follower().await;
    let id = cluster.handle(dead).id();
    cluster.kill(dead).await;
    handle.member_remove(id).await.unwrap();
    handle.consensus().compact_log().await.unwrap();
    let new = cluster.join().await;
    let joined = cluster.handle(new).clone();
    wait_until("the new member votes", || joined.status().role == crate::Role::Follower).await;
    goes_on.store(false, Ordering::Release);
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged > 50);
    joined.barrier().await.unwrap();
    let of = |handle: &Handle| hash::hash_kv(&handle.inner.state().load(), 0).unwrap();
    assert_eq!(of(&joined), of(&handle));
    assert_eq!(handle.member_list(true).await.unwrap().len(), 3);
    // The one that was replaced stays out when it comes back.
    cluster.start_member(dead).await;
    let ended = cluster.handle(dead).closed().await.unwrap_err();
    let text = "the member has been permanently removed from the cluster";
    assert_eq!(ended.to_string(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_a_majority_of_started_members() {
    let mut cluster = Cluster::with(1, |config| config.strict_reconfig_check = true).await;
    let handle = cluster.handle(cluster.leader().await).clone();
    wait_until("it has a name", || handle.inner.members()[0].name == "m0").await;
    assert_eq!(handle.member_remove(handle.id()).await, Err(Error::NotEnoughStarted));
    let second = cluster.join().await;
    wait_until("both have names", || {
        let members = handle.inner.members();
        members.iter().filter(|m| !m.name.is_empty() && !m.is_learner).count() == 2
    })
    .await;
    let id = cluster.handle(second).id();
    // They must have been connected for a while.
    while let Err(error) = handle.member_remove(id).await {
        assert_eq!(error, Error::Unhealthy);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(handle.member_list(true).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_member_away_only_that_one_may_go() {
    let mut cluster = Cluster::with(3, |config| config.strict_reconfig_check = true).await;
    let handle = cluster.handle(cluster.leader().await).clone();
    let (dead, id) = loop {
        let at = cluster.follower().await;
        let id = cluster.handle(at).id();
        if id != handle.id() {
            break (at, id);
        }
    };
    let named = || handle.inner.members().iter().all(|member| !member.name.is_empty());
    wait_until("all have names", named).await;
    let reached =
        |other: &u64| *other == handle.id() || handle.consensus().connected_for(*other).is_some();
    let ids: Vec<u64> = handle.inner.members().iter().map(|member| member.id).collect();
    wait_until("all are connected", || ids.iter().all(reached)).await;
    cluster.kill(dead).await;
    wait_until("its end is noticed", || handle.consensus().connected_for(id).is_none()).await;
    let left = ids.iter().find(|other| **other != id && **other != handle.id());
    assert_eq!(handle.member_remove(*left.unwrap()).await, Err(Error::Unhealthy));
    let urls = vec!["http://127.0.0.1:9".to_owned()];
    assert_eq!(handle.member_add(urls, false).await.unwrap_err(), Error::Unhealthy);
    handle.member_remove(id).await.unwrap();
    assert_eq!(handle.member_list(true).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_joins_without_knowing_the_token() {
    let mut cluster = Cluster::with(1, |config| config.token = "ours".to_owned()).await;
    let handle = cluster.handle(cluster.leader().await).clone();
    let at = cluster.prepare_join();
    assert_ne!(cluster.configs()[at].token, "ours");
    let urls = cluster.configs()[at].peer_urls.clone();
    let added = handle.member_add(urls, false).await.unwrap();
    assert_ne!(added.id, cluster.configs()[at].id());
    cluster.start_member(at).await;
    let joined = cluster.handle(at).clone();
    assert_eq!(joined.id(), added.id);
    wait_until("it votes", || joined.status().role == crate::Role::Follower).await;
    joined.put(put("together".to_owned())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_stays_who_it_is_when_it_moves() {
    let mut cluster = Cluster::with(3, |_| ()).await;
    let stays = cluster.leader().await;
    let moves = cluster.follower().await;
    let (handle, id) = (cluster.handle(stays).clone(), cluster.handle(moves).id());
    let (old, port) = (cluster.configs()[moves].peer_urls.clone(), free_port());
    let new = vec![format!("http://127.0.0.1:{port}")];
    handle.member_update(id, new.clone()).await.unwrap();
    cluster.kill(moves).await;
    cluster.configure(moves, |config| {
        config.listen_peer = std::net::SocketAddr::from(([127, 0, 0, 1], port)).into();
        config.peer_urls.clone_from(&new);
        config
            .initial
            .iter_mut()
            .filter(|(_, urls)| *urls == old)
            .for_each(|one| one.1 = new.clone());
    });
    cluster.start_member(moves).await;
    assert_eq!(cluster.handle(moves).id(), id);
    cluster.handle(moves).put(put("from there".to_owned())).await.unwrap();
    // With the settings of another member it does not start.
    cluster.kill(moves).await;
    let others = cluster.configs()[stays].clone();
    cluster.configure(moves, |config| {
        config.peer_urls.clone_from(&others.peer_urls);
        config.name.clone_from(&others.name);
        config.initial.clone_from(&others.initial);
    });
    let refused = cluster.try_start(moves).await.unwrap_err().to_string();
    assert!(refused.contains("holds the data of member"), "{refused}");
}
