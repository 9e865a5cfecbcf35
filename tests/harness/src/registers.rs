//! A store's keys as registers: one request for each operation, and what its answer says.

use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request as Ask;
use proto::etcdserverpb::response_op::Response as Answer;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
};
use proto::mvccpb::KeyValue;
use std::time::Duration;
use tonic::transport::Channel;

use crate::history::{Action, Outcome, Seen};

/// A client of one member. It never repeats a request: whoever does makes two operations of it.
pub struct Registers {
    client: KvClient<Channel>,
    patience: Duration,
}

impl Registers {
    /// Operates through a connection; waits so long for each answer.
    pub fn new(channel: Channel, patience: Duration) -> Self {
        Self { client: KvClient::new(channel), patience }
    }

    /// Does something to a register. Every error is [`Outcome::Unknown`]: who knows how far the
    /// request came.
    pub async fn perform(&mut self, key: &str, action: Action) -> Outcome {
        let asked = tokio::time::timeout(self.patience, self.ask(key, action));
        asked.await.ok().flatten().unwrap_or(Outcome::Unknown)
    }

    async fn ask(&mut self, key: &str, action: Action) -> Option<Outcome> {
        match action {
            Action::Get => {
                let answer = self.client.range(range(key)).await.ok()?.into_inner();
                Some(Outcome::Read(first(&answer.kvs)?))
            }
            Action::Put(value) => {
                let answer = self.client.put(put(key, value)).await.ok()?.into_inner();
                Some(Outcome::Written(answer.header?.revision))
            }
            Action::Delete => {
                let request =
                    DeleteRangeRequest { key: bytes(key), prev_kv: true, ..Default::default() };
                let answer = self.client.delete_range(request).await.ok()?.into_inner();
                Some(match first(&answer.prev_kvs)? {
                    Some(old) => Outcome::Deleted { old, revision: answer.header?.revision },
                    None => Outcome::Nothing,
                })
            }
            Action::SwapValue { expected, new } => {
                let expected = TargetUnion::Value(expected.to_string().into());
                self.swap(key, CompareTarget::Value, expected, new).await
            }
            Action::SwapRevision { expected, new } => {
                let expected = TargetUnion::ModRevision(expected);
                self.swap(key, CompareTarget::Mod, expected, new).await
            }
        }
    }

    /// A transaction as clients write it: compare, then put, else read.
    async fn swap(
        &mut self,
        key: &str,
        target: CompareTarget,
        expected: TargetUnion,
        new: u64,
    ) -> Option<Outcome> {
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: target.into(),
            key: bytes(key),
            target_union: Some(expected),
            ..Default::default()
        };
        let operation = |request| vec![RequestOp { request: Some(request) }];
        let request = TxnRequest {
            compare: vec![compare],
            success: operation(Ask::RequestPut(put(key, new))),
            failure: operation(Ask::RequestRange(range(key))),
        };
        let answer = self.client.txn(request).await.ok()?.into_inner();
        let ResponseHeader { revision, .. } = answer.header?;
        let inner = answer.responses.into_iter().next()?.response?;
        match (answer.succeeded, inner) {
            (true, Answer::ResponsePut(_)) => Some(Outcome::Written(revision)),
            (false, Answer::ResponseRange(found)) => Some(Outcome::Refused(first(&found.kvs)?)),
            (_, other) => panic!("a transaction answered with {other:?}"),
        }
    }
}

fn bytes<B: From<Vec<u8>>>(text: &str) -> B {
    text.as_bytes().to_vec().into()
}

fn range(key: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), ..Default::default() }
}

fn put(key: &str, value: u64) -> PutRequest {
    PutRequest { key: bytes(key), value: value.to_string().into(), ..Default::default() }
}

/// The number that a key holds.
pub fn value_of(entry: &KeyValue) -> Option<u64> {
    std::str::from_utf8(&entry.value).ok()?.parse().ok()
}

/// What was found; nothing inside: absent.
fn first(found: &[KeyValue]) -> Option<Option<Seen>> {
    let Some(entry) = found.first() else { return Some(None) };
    let value = value_of(entry).expect("only numbers are written");
    Some(Some(Seen { value, revision: entry.mod_revision }))
}
