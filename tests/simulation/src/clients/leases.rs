//! Clients that hang a key on a lease, renew it for a while, and let it go.

use std::time::Duration;

use proto::etcdserverpb::PutRequest;
use rand::{Rng as _, rngs::StdRng};
use tokio::time::sleep;

use super::Client;
use crate::evidence::Lease;

/// Seconds that leases live.
const TTL: i64 = 2;

/// Works until told to stop.
pub(super) async fn work(mut client: Client, mut random: StdRng) {
    let mut number = 0;
    while !client.stop.is_triggered() {
        number += 1;
        let key = format!("l/{}/{number}", client.number);
        if !client.begin(key, &mut random).await {
            client.turn();
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Client {
    /// One lease from its beginning to its last renewal.
    async fn begin(&mut self, key: String, random: &mut StdRng) -> bool {
        let asked = self.recorder.with(|evidence| evidence.now);
        let granted =
            self.doors.ask(self.member, |store| async move { store.lease_grant(TTL, 0).await });
        let Some(granted) = granted.await else { return false };
        let lease = Lease {
            id: granted.id,
            key: key.clone(),
            ttl: u64::try_from(granted.ttl).unwrap_or(0) * 1000,
            confirmed: vec![asked],
            gone: None,
        };
        let place = self.recorder.with(|evidence| {
            evidence.leases.push(lease);
            evidence.leases.len() - 1
        });
        let request = PutRequest {
            key: key.into(),
            value: "alive".into(),
            lease: granted.id,
            ..Default::default()
        };
        let put = self.doors.ask(self.member, |store| async move { store.put(request).await });
        if put.await.is_none() {
            return false;
        }
        for _ in 0..random.random_range(0..5) {
            sleep(Duration::from_millis(random.random_range(200..1900))).await;
            if self.stop.is_triggered() {
                break;
            }
            let asked = self.recorder.with(|evidence| evidence.now);
            let id = granted.id;
            let renewed = self
                .doors
                .ask(self.member, move |store| async move { store.lease_keep_alive(id).await });
            match renewed.await {
                Some(_) => self.recorder.with(|evidence| {
                    evidence.leases[place].confirmed.push(asked);
                }),
                None => self.turn(),
            }
        }
        true
    }
}
