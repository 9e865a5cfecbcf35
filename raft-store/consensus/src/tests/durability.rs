//! Disks that fail or slow down, members that are removed, copies whose connections break.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::cluster::{Cluster, wait_until};
use crate::{Error, Initial, Member};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_disk_fails_ends_with_the_reason_and_the_others_go_on() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let survivor = cluster.others(leader)[0];
    cluster.propose(survivor, "before").await.unwrap();
    cluster.faults(leader).fail_writes();
    let handle = cluster.handle(leader).clone();
    cluster.propose_until_done(survivor, "after").await;
    let reason = handle.closed().await.unwrap_err();
    assert!(matches!(&reason, Error::Fatal(text) if text.contains("fault")), "{reason}");
    cluster.kill(leader).await;
    cluster.propose_until_done(survivor, "later").await;
}

/// What a leader has sent may be missing on its own disk when it comes back. In a new term only
/// those with all of it are elected; in the old one it would put other entries in their places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_leads_on_in_the_term_of_an_earlier_life() {
    let mut cluster = Cluster::start(3).await;
    cluster.propose(cluster.leader().await, "before").await.unwrap();
    for round in 0..3 {
        let leader = cluster.leader().await;
        let term = cluster.handle(leader).status().term;
        // The leader first, so that it is there again before anybody else.
        let order = [vec![leader], cluster.others(leader)].concat();
        for at in &order {
            cluster.kill(*at).await;
        }
        for at in order {
            cluster.restart(at).await;
        }
        let next = cluster.leader().await;
        assert!(cluster.handle(next).status().term > term, "round {round}");
        cluster.propose_until_done(next, "after").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_leaves_a_disk_that_is_far_slower_than_the_others() {
    let cluster = Cluster::start(3).await;
    let slow = cluster.leader().await;
    let other = cluster.others(slow)[0];
    // Disks are compared, so they must have something to do.
    let writers: Vec<_> = (0..3).map(|member| cluster.spawn_writer(member)).collect();
    let handle = cluster.handle(other).clone();
    wait_until("the others' disks are known", || handle.fsync_p99().is_some()).await;
    cluster.faults(slow).delay_writes(Duration::from_millis(400));
    let id = cluster.id(slow);
    wait_until("another leads", || handle.status().leader.is_some_and(|leader| leader != id)).await;
    cluster.faults(slow).delay_writes(Duration::ZERO);
    cluster.stop_writers();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_stops_even_when_it_was_away() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    let id = cluster.id(away);
    cluster.kill(away).await;
    cluster.handle(leader).remove(id).await.unwrap();
    cluster.restart(away).await;
    let ended = cluster.handle(away).closed().await;
    assert!(matches!(ended, Err(Error::Removed)), "{ended:?}");
    cluster.kill(away).await;
    // One that runs is told as well.
    let running = *cluster.others(leader).iter().find(|at| **at != away).unwrap();
    cluster.handle(leader).remove(cluster.id(running)).await.unwrap();
    let ended = cluster.handle(running).closed().await;
    assert!(matches!(ended, Err(Error::Removed)), "{ended:?}");
    cluster.kill(running).await;
    cluster.propose_until_done(leader, "alone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_does_not_count_for_a_majority() {
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let new = cluster.prepare_member();
    let added = Member { learner: true, ..cluster.member(new) };
    cluster.handle(leader).add_learner(added).await.unwrap();
    // It never started: neither writes nor reads wait for it, nor does it get a vote.
    cluster.propose(leader, "value").await.unwrap();
    cluster.handle(leader).read_index().await.unwrap();
    let refused = cluster.handle(leader).promote(cluster.id(new)).await.unwrap_err();
    let text = "can only promote a learner member which is in sync with leader";
    assert_eq!(refused.to_string(), text);
}

/// Forwards connections, and breaks each after so many bytes towards the target, as long as it is
/// told to.
async fn breaking_proxy(target: u16, after: u64) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicUsize::new(3));
    let breaks = left.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let breaks = breaks.clone();
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else {
                    return;
                };
                forward(client, server, after, &breaks).await;
            });
        }
    });
    (port, left)
}

async fn forward(client: TcpStream, server: TcpStream, after: u64, breaks: &AtomicUsize) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move {
        tokio::io::copy(&mut from_server, &mut to_client).await.ok();
    });
    let mut buffer = vec![0; 64 << 10];
    let mut sent = 0;
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        sent += read as u64;
        let one_less = |left: usize| left.checked_sub(1);
        if sent > after
            && breaks.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
        {
            break;
        }
        if to_server.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    back.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_for_a_new_member_goes_on_where_its_connection_broke() {
    let mut cluster = Cluster::with_kept_entries(3, 20).await;
    let leader = cluster.leader().await;
    let large = "x".repeat(1 << 20);
    for at in 0..24 {
        cluster.propose(leader, &format!("{at} {large}")).await.unwrap();
    }
    for member in 0..3 {
        cluster.handle(member).compact_log().await.unwrap();
    }
    let writers: Vec<_> = (0..2).map(|member| cluster.spawn_writer(member)).collect();
    let new = cluster.prepare_member();
    let (port, breaks) = breaking_proxy(cluster.port(new), 8 << 20).await;
    cluster.set_peer_port(new, port);
    cluster.handle(leader).add_learner(cluster.member(new)).await.unwrap();
    cluster.start_member(new, Initial::Existing).await;
    let machine_has_it = || cluster.machine(new).installs() > 0;
    wait_until("the copy has arrived", machine_has_it).await;
    assert_eq!(breaks.load(Ordering::Acquire), 0, "its connections were broken");
    assert_eq!(cluster.machine(new).installs(), 1);
    cluster.stop_writers();
    for writer in writers {
        writer.await.unwrap();
    }
    cluster.wait_level().await;
    assert_eq!(cluster.values(new), cluster.values(leader));
}
