//! A client that writes two keys in one transaction, and reads both in one.

use std::time::Duration;

use proto::etcdserverpb::{
    PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request as Ask,
};
use rand::{Rng as _, rngs::StdRng};
use tokio::time::sleep;

use super::Client;
use crate::evidence::Pair;

/// The two keys.
const KEYS: [&str; 2] = ["t/one", "t/other"];

/// Works until told to stop.
pub(super) async fn work(mut client: Client, mut random: StdRng) {
    let mut value = 0u64;
    while !client.stop.is_triggered() {
        let called = client.recorder.moment();
        let is_known = if random.random_range(0..3) == 0 {
            value += 1;
            client.write(value, called).await
        } else {
            client.read(called).await
        };
        if !is_known || random.random_range(0..10) == 0 {
            client.turn();
        }
        sleep(Duration::from_millis(random.random_range(10..120))).await;
    }
}

impl Client {
    async fn write(&self, value: u64, called: u64) -> bool {
        let put = |key: &'static str| RequestOp {
            request: Some(Ask::RequestPut(PutRequest {
                key: key.into(),
                value: value.to_string().into(),
                ..Default::default()
            })),
        };
        let request = TxnRequest { success: KEYS.map(put).to_vec(), ..Default::default() };
        let written = self.doors.ask(self.member, |store| async move { store.txn(request).await });
        let Some(answer) = written.await else { return false };
        let revision = answer.header.map_or(0, |header| header.revision);
        self.saw(called, self.recorder.moment(), revision);
        true
    }

    async fn read(&self, called: u64) -> bool {
        let request =
            RangeRequest { key: "t/".into(), range_end: "t0".into(), ..Default::default() };
        let read = self.doors.ask(self.member, |store| async move { store.range(request).await });
        let Some(answer) = read.await else { return false };
        let value = |key: &str| {
            let found = answer.kvs.iter().find(|entry| entry.key == key.as_bytes())?;
            std::str::from_utf8(&found.value).ok()?.parse().ok()
        };
        let [one, other] = KEYS.map(value);
        let pair = Pair { member: self.member, one, other };
        self.recorder.with(|evidence| evidence.pairs.push(pair));
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        self.saw(called, self.recorder.moment(), revision);
        true
    }
}
