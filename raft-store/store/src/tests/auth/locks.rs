//! Locks under auth: a lease is renewed as whoever brought it, not as the process.

use proto::{
    authpb::{Permission, permission::Type},
    etcdserverpb::{
        AuthRoleGrantPermissionRequest, LeaseGrantRequest, PutRequest, kv_client::KvClient,
    },
    v3lockpb::{LockRequest, lock_client::LockClient},
};
use tonic::{Code, Status};

use super::{
    super::cluster::{Cluster, wait_until},
    Client, quick,
};

impl Client {
    async fn grant(&self, id: i64) {
        self.lease().lease_grant(self.ask(LeaseGrantRequest { ttl: 600, id })).await.unwrap();
    }

    async fn lock(&self, lease: i64) -> Result<(), Status> {
        let request = self.ask(LockRequest { name: "l".into(), lease });
        LockClient::new(self.channel.clone()).lock(request).await.map(|_| ())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_renews_the_callers_lease_and_nobody_elses() {
    let cluster = Cluster::with(1, quick).await;
    let at = cluster.leader().await;
    let client = Client::connect(&cluster, at).await;
    client.set_up().await;
    let (root, ann) = (client.login("root").await.unwrap(), client.login("ann").await.unwrap());
    let perm =
        Permission { perm_type: Type::Readwrite.into(), key: "l/".into(), range_end: "l0".into() };
    let grant = AuthRoleGrantPermissionRequest { name: "ann".into(), perm: Some(perm) };
    root.auth().role_grant_permission(root.ask(grant)).await.unwrap();
    let (root, ann) = (root.login("root").await.unwrap(), ann.login("ann").await.unwrap());
    // One that holds a key which ann may not write, and two of her own.
    root.grant(7).await;
    let put = PutRequest { key: "x".into(), lease: 7, ..PutRequest::default() };
    KvClient::new(root.channel.clone()).put(root.ask(put)).await.unwrap();
    ann.grant(8).await;
    ann.grant(9).await;
    let renewals = || cluster.handle(at).inner.machine.lessor.counts.renewals();
    let status = ann.lock(7).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unknown, "etcdserver: permission denied"));
    assert_eq!(renewals(), 0);
    ann.lock(8).await.unwrap();
    let before = renewals();
    let waiting = tokio::spawn(async move { ann.lock(9).await });
    wait_until("the lease of the lock that waits is renewed", || renewals() > before).await;
    waiting.abort();
}
