//! Three store processes under concurrent clients while leaders die and members stand still:
//! everything that clients were told must fit one order of events.
//!
//! `TRIREME_SEED` repeats a run's choices (not its timing); each run prints its own.

use anyhow::{Context, Result};
use futures::StreamExt as _;
use harness::history::{Action, Operation, Outcome, Seen, disorder, settled};
use harness::linearizable::{Verdict, check};
use harness::registers::{Registers, value_of};
use harness::store::{MEMBERS, Members};
use harness::{until, until_some};
use parking_lot::Mutex;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stdx::Shutdown;
use tokio::time::sleep;
use tonic::transport::Channel;

/// Clients at once.
const CLIENTS: usize = 8;
/// Registers that they share.
const KEYS: usize = 4;
/// How long they work.
const LOAD: Duration = Duration::from_secs(12);
/// How long a client waits for an answer.
const ANSWER: Duration = Duration::from_millis(600);
/// How long the search for an order may take.
const SEARCH: Duration = Duration::from_secs(15);
/// Revisions that clients make: the first is above the empty store's.
const FIRST: i64 = 2;

/// A history that grows.
#[derive(Clone)]
struct Recorder {
    started: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
}

impl Recorder {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One client: it turns to the next member whenever it gets no answer.
async fn work(
    client: usize,
    channels: Vec<Channel>,
    seed: u64,
    recorder: Recorder,
    stop: Shutdown,
) {
    let mut random = StdRng::seed_from_u64(seed ^ (client as u64 + 1));
    let mut members: Vec<Registers> =
        channels.into_iter().map(|channel| Registers::new(channel, ANSWER)).collect();
    let mut member = client % MEMBERS;
    let mut last: [Option<Seen>; KEYS] = [None; KEYS];
    let mut next = 1_000_000 * (client as u64 + 1);
    while !stop.is_triggered() {
        let key = random.random_range(0..KEYS);
        next += 1;
        let action = match (random.random_range(0..20), last[key]) {
            (0..8, _) => Action::Get,
            (8..13, _) => Action::Put(next),
            (13, _) => Action::Delete,
            (14..17, Some(seen)) => Action::SwapValue { expected: seen.value, new: next },
            (_, seen) => {
                let expected = seen.map_or(0, |seen| seen.revision);
                Action::SwapRevision { expected, new: next }
            }
        };
        let called = recorder.now();
        let outcome = members[member].perform(&format!("k{key}"), action).await;
        let returned = recorder.now();
        match outcome {
            Outcome::Read(seen) | Outcome::Refused(seen) => last[key] = seen,
            Outcome::Written(revision) => {
                last[key] = action.writes().map(|value| Seen { value, revision });
            }
            Outcome::Deleted { .. } | Outcome::Nothing => last[key] = None,
            Outcome::Unknown => {
                member = (member + 1) % MEMBERS;
                // A refused connection is no reason to ask as fast as the processor can.
                sleep(Duration::from_millis(20)).await;
            }
        }
        let operation = Operation { client, key, action, outcome, called, returned };
        recorder.operations.lock().push(operation);
        sleep(Duration::from_millis(random.random_range(0..4))).await;
    }
}

/// What the nemesis did.
#[derive(Debug, Default)]
struct Harm {
    kills: usize,
    freezes: usize,
    frozen_leaders: usize,
}

/// Kills leaders and freezes members until the time is over; in the end all run.
async fn harm(members: &mut Members, seed: u64, end: Instant) -> Result<Harm> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut done = Harm::default();
    let mut millis = move |from: u64, to: u64| Duration::from_millis(random.random_range(from..to));
    let mut random = StdRng::seed_from_u64(!seed);
    for turn in random.random_range(0..2u32).. {
        sleep(millis(300, 1200)).await;
        if Instant::now() >= end {
            break;
        }
        let leader = until_some("somebody leads", || members.leader()).await;
        // Turns, so that each run has some of both; a frozen leader that wakes up lies better.
        if turn % 2 == 0 {
            members.kill(leader).await?;
            done.kills += 1;
            sleep(millis(100, 1500)).await;
            members.boot(leader)?;
        } else {
            let follower = (leader + random.random_range(1..MEMBERS)) % MEMBERS;
            let target = if random.random_bool(0.7) { leader } else { follower };
            members.freeze(target)?;
            done.freezes += 1;
            done.frozen_leaders += usize::from(target == leader);
            sleep(millis(1000, 2000)).await;
            members.thaw(target)?;
        }
    }
    Ok(done)
}

/// One change as a member remembers it: its key, and its value unless it is a deletion.
type Change = (String, Option<u64>);

/// All changes up to a revision as one member tells them.
async fn changes(channel: Channel, last: i64) -> Result<BTreeMap<i64, Change>> {
    let create = WatchCreateRequest {
        key: "k".into(),
        range_end: "l".into(),
        start_revision: 1,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = futures::stream::iter([request]).chain(futures::stream::pending());
    let mut stream = WatchClient::new(channel).watch(requests).await?.into_inner();
    let mut all = BTreeMap::new();
    while all.last_key_value().is_none_or(|(revision, _)| *revision < last) {
        let message = tokio::time::timeout(harness::patience(), stream.message());
        let message = message.await.context("no events")??.context("the watch ended")?;
        assert!(!message.canceled, "the watch was cancelled: {}", message.cancel_reason);
        for event in message.events {
            let entry = event.kv.context("an event has a key")?;
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            let value = if event.r#type == 0 { value_of(&entry) } else { None };
            let twice = all.insert(entry.mod_revision, (key, value));
            assert_eq!(twice, None, "one change at revision {}", entry.mod_revision);
        }
    }
    Ok(all)
}

/// Everything that was acknowledged is there where it was said to be, and nothing happened twice.
fn acknowledged(operations: &[Operation], changes: &BTreeMap<i64, Change>) -> Vec<String> {
    let mut wrong = Vec::new();
    for one in operations {
        let Some(revision) = one.outcome.revision() else { continue };
        let wanted = (format!("k{}", one.key), one.action.writes());
        let there = changes.get(&revision);
        if there != Some(&wanted) {
            wrong.push(format!("lost: {one:?}; at its revision is {there:?}"));
        }
    }
    let mut values = BTreeMap::new();
    for (revision, (key, value)) in changes {
        if let Some(before) = value.and_then(|value| values.insert(value, revision)) {
            wrong.push(format!("twice: {value:?} in {key} at {before} and {revision}"));
        }
    }
    wrong
}

/// All members remember the same up to the last revision; gives what.
async fn agreed(members: &mut Members) -> Result<BTreeMap<i64, Change>> {
    let mut tries = 0;
    let written = until_some("a last write is done", || {
        tries += 1;
        let channel = members.channel(tries % MEMBERS);
        async move {
            let mut registers = Registers::new(channel, ANSWER);
            registers.perform("k", Action::Put(tries as u64)).await.revision()
        }
    });
    let last = written.await;
    let mut hashes = Vec::new();
    for at in 0..MEMBERS {
        let hash = until_some("a member has all revisions", || members.hash(at, last)).await;
        hashes.push((hash.hash, hash.compact_revision, hash.hash_revision));
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "hashes at {last}: {hashes:?}");
    let first = changes(members.channel(0), last).await?;
    for at in 1..MEMBERS {
        assert_eq!(changes(members.channel(at), last).await?, first, "member {at} and member 0");
    }
    assert_eq!(members.ended(), Vec::<usize>::new(), "no member ended by itself");
    Ok(first)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_are_told_fits_one_order_while_members_die_and_freeze() -> Result<()> {
    let seed = match std::env::var("TRIREME_SEED") {
        Ok(seed) => seed.parse().context("TRIREME_SEED is a number")?,
        Err(_) => rand::random::<u32>().into(),
    };
    let _ = writeln!(std::io::stderr(), "TRIREME_SEED={seed}");
    let mut members = Members::start().await?;
    let recorder = Recorder { started: Instant::now(), operations: Arc::default() };
    let stop = Shutdown::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let channels = (0..MEMBERS).map(|at| members.channel(at)).collect();
            tokio::spawn(work(client, channels, seed, recorder.clone(), stop.clone()))
        })
        .collect();
    let done = harm(&mut members, seed, recorder.started + LOAD).await?;
    let answered = recorder.now();
    until("clients are answered again", || {
        let operations = recorder.operations.lock();
        let enough = (0..CLIENTS).all(|client| {
            let mut own = operations.iter().filter(|one| one.client == client);
            own.any(|one| one.called > answered && one.outcome != Outcome::Unknown)
        });
        async move { enough }
    })
    .await;
    stop.trigger();
    for client in clients {
        client.await?;
    }
    let changes = agreed(&mut members).await?;
    let operations = recorder.operations.lock().clone();
    let unknown = operations.iter().filter(|one| one.outcome == Outcome::Unknown).count();
    let open = settled(&operations);
    let _ = writeln!(
        std::io::stderr(),
        "seed {seed}: {} operations ({unknown} without an answer), {} changes, {done:?}",
        operations.len(),
        changes.len()
    );
    assert!(done.kills > 0 && done.freezes > 0, "both kinds of harm: {done:?}");
    let changed = operations.iter().filter(|one| one.outcome.revision().is_some()).count();
    assert!(changed > CLIENTS, "clients got something done");
    assert!(*changes.keys().next().context("changes")? >= FIRST);
    let lost = acknowledged(&operations, &changes);
    assert_eq!(lost, Vec::<String>::new(), "seed {seed}: acknowledged changes are there, once");
    assert_eq!(disorder(&operations), vec![], "seed {seed}: revisions grow along real time");
    let verdict = tokio::task::spawn_blocking(move || check(&open, SEARCH)).await?;
    assert_eq!(verdict, Verdict::Linearizable, "seed {seed}");
    Ok(())
}
