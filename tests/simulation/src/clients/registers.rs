//! Clients that use keys as registers.

use std::time::Duration;

use bytes::Bytes;
use harness::history::{Action, Operation, Outcome, Seen};
use proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request as Ask,
        response_op::Response as Answer,
    },
    mvccpb::KeyValue,
};
use rand::{Rng as _, rngs::StdRng};
use tokio::time::sleep;

use super::Client;

/// Registers that all share.
const KEYS: usize = 3;
/// Milliseconds of thought between two requests.
const THOUGHT: std::ops::Range<u64> = 5..60;

/// Works until told to stop.
pub(super) async fn work(mut client: Client, mut random: StdRng) {
    let mut last: [Option<Seen>; KEYS] = [None; KEYS];
    let mut next = 1_000_000 * (client.number as u64 + 1);
    while !client.stop.is_triggered() {
        let key = random.random_range(0..KEYS);
        next += 1;
        let action = action(&mut random, last[key], next);
        let called = client.recorder.moment();
        let (outcome, revision) = client.perform(key, action).await;
        let returned = client.recorder.moment();
        if let Some(revision) = revision {
            client.saw(called, returned, revision);
        }
        match outcome {
            Outcome::Read(seen) | Outcome::Refused(seen) => last[key] = seen,
            Outcome::Written(revision) => {
                last[key] = action.writes().map(|value| Seen { value, revision });
            }
            Outcome::Deleted { .. } | Outcome::Nothing => last[key] = None,
            Outcome::Unknown => {
                client.turn();
                sleep(Duration::from_millis(20)).await;
            }
        }
        let number = client.number;
        let operation = Operation { client: number, key, action, outcome, called, returned };
        client.recorder.with(|evidence| evidence.operations.push(operation));
        if random.random_range(0..20) == 0 {
            client.turn();
        }
        sleep(Duration::from_millis(random.random_range(THOUGHT))).await;
    }
}

fn action(random: &mut StdRng, last: Option<Seen>, next: u64) -> Action {
    match (random.random_range(0..20), last) {
        (0..8, _) => Action::Get,
        (8..13, _) => Action::Put(next),
        (13, _) => Action::Delete,
        (14..17, Some(seen)) => Action::SwapValue { expected: seen.value, new: next },
        (_, seen) => {
            let expected = seen.map_or(0, |seen| seen.revision);
            Action::SwapRevision { expected, new: next }
        }
    }
}

impl Client {
    /// Does something to a register; what it was told, and the revision in the answer.
    async fn perform(&self, key: usize, action: Action) -> (Outcome, Option<i64>) {
        let key = Bytes::from(format!("k{key}"));
        let told = self.doors.ask(self.member, move |store| tell(store, key, action)).await;
        match told {
            Some((outcome, revision)) => (outcome, Some(revision)),
            None => (Outcome::Unknown, None),
        }
    }
}

async fn tell(
    store: store::Handle,
    key: Bytes,
    action: Action,
) -> Result<(Outcome, i64), store::Error> {
    let revision =
        |header: Option<proto::etcdserverpb::ResponseHeader>| header.map_or(0, |h| h.revision);
    match action {
        Action::Get => {
            let answer = store.range(RangeRequest { key, ..Default::default() }).await?;
            Ok((Outcome::Read(first(&answer.kvs)), revision(answer.header)))
        }
        Action::Put(value) => {
            let revision = revision(store.put(put(key, value)).await?.header);
            Ok((Outcome::Written(revision), revision))
        }
        Action::Delete => {
            let request = DeleteRangeRequest { key, prev_kv: true, ..Default::default() };
            let answer = store.delete_range(request).await?;
            let revision = revision(answer.header);
            let outcome = match first(&answer.prev_kvs) {
                Some(old) => Outcome::Deleted { old, revision },
                None => Outcome::Nothing,
            };
            Ok((outcome, revision))
        }
        Action::SwapValue { expected, new } => {
            let expected = TargetUnion::Value(expected.to_string().into());
            swap(store, key, (CompareTarget::Value, expected), new).await
        }
        Action::SwapRevision { expected, new } => {
            let expected = TargetUnion::ModRevision(expected);
            swap(store, key, (CompareTarget::Mod, expected), new).await
        }
    }
}

/// A transaction as clients write it: compare, then put, else read.
async fn swap(
    store: store::Handle,
    key: Bytes,
    (target, expected): (CompareTarget, TargetUnion),
    new: u64,
) -> Result<(Outcome, i64), store::Error> {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.clone(),
        target_union: Some(expected),
        ..Default::default()
    };
    let operation = |request| vec![RequestOp { request: Some(request) }];
    let request = TxnRequest {
        compare: vec![compare],
        success: operation(Ask::RequestPut(put(key.clone(), new))),
        failure: operation(Ask::RequestRange(RangeRequest { key, ..Default::default() })),
    };
    let answer = store.txn(request).await?;
    let revision = answer.header.map_or(0, |header| header.revision);
    let inner = answer.responses.into_iter().next().and_then(|one| one.response);
    let outcome = match (answer.succeeded, inner) {
        (true, _) => Outcome::Written(revision),
        (false, Some(Answer::ResponseRange(found))) => Outcome::Refused(first(&found.kvs)),
        (false, other) => panic!("a transaction answered with {other:?}"),
    };
    Ok((outcome, revision))
}

fn put(key: Bytes, value: u64) -> PutRequest {
    PutRequest { key, value: value.to_string().into(), ..Default::default() }
}

/// What was found.
fn first(found: &[KeyValue]) -> Option<Seen> {
    let entry = found.first()?;
    let text = std::str::from_utf8(&entry.value).expect("only numbers are written");
    let value = text.parse().expect("only numbers are written");
    Some(Seen { value, revision: entry.mod_revision })
}
