//! The same promises on a real etcd and on three members of our own store.

mod backend;
mod whole;

use bytes::Bytes;
use std::time::Duration;

use self::backend::{Backend, Mode};
use super::compactor::{self, Round};
use super::{Config, Etcd};
use crate::storage::{
    Batch, Compare, Error, Event, Item, Outcome, Range, Storage, Txn, Watch, keys,
};

fn put(key: &str, value: &str, at: i64) -> Txn {
    Txn {
        compares: vec![Compare::Revision(key.to_owned().into(), at)],
        puts: vec![(key.to_owned().into(), value.to_owned().into(), 0)],
        deletes: Vec::new(),
    }
}

async fn write(storage: &Etcd, txn: Txn) -> i64 {
    match storage.txn(txn).await.expect("a transaction") {
        Outcome::Committed(revision) => revision,
        Outcome::Failed(current) => panic!("a compare failed: {current:?}"),
    }
}

async fn refused(storage: &Etcd, txn: Txn) -> Vec<Option<Item>> {
    match storage.txn(txn).await.expect("a transaction") {
        Outcome::Failed(current) => current,
        Outcome::Committed(revision) => panic!("it happened at {revision}"),
    }
}

async fn watch(storage: &Etcd, folder: &str, from: i64) -> Box<dyn Watch> {
    let start = Bytes::from(folder.to_owned());
    let end = keys::prefix_end(&start);
    storage.watch(start, end, from).await.expect("a watch")
}

/// Changes up to the one that the test waits for.
async fn until(watch: &mut Box<dyn Watch>, last: i64) -> Vec<Event> {
    let mut all = Vec::new();
    let collect = async {
        while all.last().is_none_or(|event: &Event| event.revision < last) {
            match watch.next().await {
                Some(Batch::Events { events, .. }) => all.extend(events),
                other => panic!("no events: {other:?}"),
            }
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), collect).await;
    assert!(done.is_ok(), "the watch did not get to {last}");
    all
}

async fn keeps_the_contract(backend: Backend) {
    let storage = backend.direct().await;
    let first = write(&storage, put("/registry/x/a", "1", 0)).await;
    let current = refused(&storage, put("/registry/x/a", "2", 0)).await;
    assert_eq!(current[0].as_ref().map(|item| item.revision), Some(first));
    let second = write(&storage, put("/registry/x/a", "2", first)).await;
    assert!(second > first && storage.revision() >= second);
    for name in ["b", "c", "d", "e"] {
        write(&storage, put(&format!("/registry/x/{name}"), name, 0)).await;
    }
    // Pages of one list show one revision, whatever happens in between.
    let range = Range {
        start: "/registry/x/".into(),
        end: "/registry/x0".into(),
        limit: 2,
        ..Range::default()
    };
    let page = storage.range(range.clone()).await.expect("a page");
    assert_eq!((page.items.len(), page.more, page.count), (2, true, 5));
    let gone = Txn {
        compares: vec![Compare::Revision("/registry/x/a".into(), second)],
        deletes: vec!["/registry/x/a".into(), "/registry/x/c".into()],
        ..Txn::default()
    };
    let gone = write(&storage, gone).await;
    let next =
        Range { start: "/registry/x/b\0".into(), limit: 0, revision: page.revision, ..range };
    let rest = storage.range(next).await.expect("the rest");
    let names: Vec<&[u8]> = rest.items.iter().map(|item| &item.value[..]).collect();
    assert_eq!((names, rest.more), (vec![&b"c"[..], b"d", b"e"], false));
    assert!(storage.get(&"/registry/x/a".into()).await.expect("a read").item.is_none());
    // All of a transaction or nothing, as a Service and its address.
    let mut both = put("/registry/services/a", "10.0.0.1", 0);
    both.compares.push(Compare::Revision("/trireme/ips/10.0.0.1".into(), 0));
    both.puts.push(("/trireme/ips/10.0.0.1".into(), "a".into(), 0));
    write(&storage, both.clone()).await;
    both.compares[0] = Compare::Revision("/registry/services/b".into(), 0);
    both.puts[0].0 = "/registry/services/b".into();
    let current = refused(&storage, both).await;
    assert!(current[0].is_none() && current[1].as_ref().is_some_and(|ip| &ip.value[..] == b"a"));
    assert!(storage.get(&"/registry/services/b".into()).await.expect("a read").item.is_none());
    let fenced = Txn {
        compares: vec![Compare::Value("/registry/x/b".into(), "other".into())],
        ..put("/registry/x/b", "never", 0)
    };
    refused(&storage, fenced).await;
    // History, with what was before.
    let mut history = watch(&storage, "/registry/x/", first).await;
    let events = until(&mut history, gone).await;
    assert_eq!(events.len(), 8);
    assert_eq!(events[1].previous, Some(("1".into(), first)));
    assert!(events[6].value.is_none() && events[6].previous == Some(("2".into(), second)));
    tells_progress_and_ends_leases(&storage).await;
}

async fn tells_progress_and_ends_leases(storage: &Etcd) {
    // A quiet watch hears how far the store is.
    let present = storage.barrier().await.expect("a barrier");
    let bounds = ("/registry/q/".into(), "/registry/q0".into());
    let every = Duration::from_millis(20);
    let mut quiet = super::watch::Cursor::open(storage.0.clone(), bounds, 0, every).await.unwrap();
    let later = write(storage, put("/registry/x/f", "f", 0)).await;
    while quiet.progress() < Some(later) {
        assert!(
            matches!(quiet.next().await, Some(Batch::Events { events, .. }) if events.is_empty())
        );
    }
    assert!(later > present);
    // Leases take their keys with them, once.
    let lease = storage.lease(60).await.expect("a lease");
    let mut txn = put("/registry/x/leased", "l", 0);
    txn.puts[0].2 = lease;
    write(storage, txn).await;
    storage.lease_keep_alive(lease).await.expect("it lives");
    storage.lease_revoke(lease).await.expect("it ends");
    storage.lease_revoke(lease).await.expect("it has ended");
    storage.lease_keep_alive(lease).await.expect_err("it has ended");
    assert!(storage.get(&"/registry/x/leased".into()).await.expect("a read").item.is_none());
    let (one, two) = (storage.lease(3600).await, storage.lease(3600).await);
    assert_eq!(one.expect("a lease"), two.expect("the same lease"));
}

async fn forgets_the_past(backend: Backend) {
    let storage = backend.direct().await;
    let other = backend.direct().await;
    let first = write(&storage, put("/registry/x/a", "1", 0)).await;
    let (mut ours, mut theirs) = (Round::default(), Round::default());
    let turn = async |storage: &Etcd, round: &mut Round| {
        compactor::once(&storage.0, round).await.expect("a round");
        *storage.leading().borrow()
    };
    assert!(turn(&storage, &mut ours).await, "the first wins");
    assert!(!turn(&other, &mut theirs).await, "the second sees that it was late");
    let second = write(&storage, put("/registry/x/a", "2", first)).await;
    assert!(turn(&storage, &mut ours).await, "it still may");
    assert!(!turn(&other, &mut theirs).await);
    write(&storage, put("/registry/x/a", "3", second)).await;
    let past = Range {
        start: "/registry/x/".into(),
        end: "/registry/x0".into(),
        revision: first - 1,
        ..Range::default()
    };
    assert!(matches!(storage.range(past.clone()).await, Err(Error::Compacted)));
    let future = Range { revision: second + 1000, ..past };
    assert!(matches!(storage.range(future).await, Err(Error::Future)));
    let old = storage.watch("/registry/x/".into(), "/registry/x0".into(), 1).await;
    let old = match old {
        Ok(mut watch) => matches!(watch.next().await, Some(Batch::Compacted)),
        Err(error) => matches!(error, Error::Compacted),
    };
    assert!(old, "a watch of forgotten history says so");
    let key = storage.0.range(proto::etcdserverpb::RangeRequest {
        key: "compact_rev_key".into(),
        ..Default::default()
    });
    let kvs = key.await.expect("the shared key").kvs;
    assert_eq!(kvs[0].version, 2);
}

async fn watches_outlive_endpoints(backend: Backend) {
    let (one, two) = (backend.gate(0).await, backend.gate(1).await);
    let writer = backend.direct().await;
    let storage = backend.storage(&[one.address, two.address]).await;
    let mut watch = watch(&storage, "/registry/x/", writer.revision() + 1).await;
    let mut last = 0;
    let mut wanted = Vec::new();
    let mut seen = Vec::new();
    for round in 0..6 {
        let (closed, open) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        for at in 0..20 {
            if at == 10 {
                open.set(Mode::Open);
                closed.set(Mode::Cut);
            }
            let key = format!("/registry/x/{round}-{at}");
            last = write(&writer, put(&key, "x", 0)).await;
            wanted.push((Bytes::from(key), last));
        }
        seen.extend(until(&mut watch, last).await);
    }
    let seen: Vec<_> = seen.into_iter().map(|event| (event.key, event.revision)).collect();
    assert_eq!(seen, wanted, "each change once, in order");
    assert!(storage.barrier().await.expect("it still answers") >= last);
}

async fn lost_answers_are_looked_for(backend: Backend) {
    let direct = backend.direct().await;
    let first = write(&direct, put("/registry/x/kept", "1", 0)).await;
    let delete = Txn {
        compares: vec![Compare::Revision("/registry/x/kept".into(), first + 2)],
        deletes: vec!["/registry/x/kept".into()],
        ..Txn::default()
    };
    let create = put("/registry/x/new", "1", 0);
    for (at, txn) in [create, put("/registry/x/kept", "2", first), delete].into_iter().enumerate() {
        let (one, two) = (backend.gate(0).await, backend.gate(1).await);
        let storage = backend.storage(&[one.address, two.address]).await;
        storage.barrier().await.expect("it answers");
        let before = direct.barrier().await.expect("it answers");
        assert_eq!(before, first + i64::try_from(at).unwrap());
        one.set(Mode::Mute);
        let answer = tokio::spawn(async move { storage.txn(txn).await });
        while direct.barrier().await.expect("it answers") == before {}
        one.set(Mode::Cut);
        let outcome = answer.await.expect("no panic").expect("the outcome is found");
        assert!(matches!(outcome, Outcome::Committed(at) if at == before + 1), "{outcome:?}");
        assert_eq!(direct.barrier().await.expect("it answers"), before + 1, "it happened once");
    }
    // Nothing proves whether a write without a compare happened, and it is not sent twice.
    let (one, two) = (backend.gate(0).await, backend.gate(1).await);
    let storage = backend.storage(&[one.address, two.address]).await;
    one.set(Mode::Mute);
    let blind = Txn { compares: Vec::new(), ..put("/registry/x/blind", "1", 0) };
    let before = direct.barrier().await.expect("it answers");
    let answer = tokio::spawn(async move { storage.txn(blind).await });
    while direct.barrier().await.expect("it answers") == before {}
    one.set(Mode::Cut);
    assert!(matches!(answer.await.expect("no panic"), Err(Error::Timeout(_))));
    assert_eq!(direct.barrier().await.expect("it answers"), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_etcd_keeps_the_contract() {
    if let Some(backend) = Backend::etcd().await {
        Box::pin(keeps_the_contract(backend)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_store_keeps_the_contract() {
    Box::pin(keeps_the_contract(Backend::ours().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_servers_compacts_a_real_etcd() {
    if let Some(backend) = Backend::etcd().await {
        Box::pin(forgets_the_past(backend)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_servers_compacts_our_store() {
    Box::pin(forgets_the_past(Backend::ours().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_real_etcd_outlives_its_endpoint() {
    if let Some(backend) = Backend::etcd().await {
        Box::pin(watches_outlive_endpoints(backend)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_our_store_outlives_its_endpoint() {
    Box::pin(watches_outlive_endpoints(Backend::ours().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_real_etcd_lost_is_found() {
    if let Some(backend) = Backend::etcd().await {
        Box::pin(lost_answers_are_looked_for(backend)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_our_store_lost_is_found() {
    Box::pin(lost_answers_are_looked_for(Backend::ours().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_writes_and_watches_go_on_when_a_member_dies() {
    let backend = Backend::ours().await;
    let storage = backend.direct().await;
    let mut events = watch(&storage, "/registry/x/", storage.revision() + 1).await;
    let mut last = write(&storage, put("/registry/x/k", "0", 0)).await;
    let mut wanted = vec![last];
    for at in 1..30 {
        if at == 10 {
            backend.members[storage.0.endpoints.current()].1.trigger();
        }
        last = write(&storage, put("/registry/x/k", &at.to_string(), last)).await;
        wanted.push(last);
    }
    let seen = until(&mut events, last).await;
    assert_eq!(seen.iter().map(|event| event.revision).collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn without_an_endpoint_or_an_authority_the_reason_is_said() {
    let start = async |config: Config| match Etcd::connect(&config, &stdx::Shutdown::new()).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    };
    assert!(start(Config::new(Vec::new())).await.contains("--etcd-servers"));
    let secure = Config::new(vec!["https://127.0.0.1:1".to_owned()]);
    assert!(start(secure).await.contains("--etcd-cafile"));
    let odd = Config::new(vec!["ftp://127.0.0.1:1".to_owned()]);
    assert!(start(odd).await.contains("neither http nor https"));
}
