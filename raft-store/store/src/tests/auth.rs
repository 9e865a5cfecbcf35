//! Users, roles and tokens over the network, on whole members.

mod certificates;
mod locks;

use std::time::Duration;

use proto::{
    authpb::{Permission, UserAddOptions, permission::Type},
    etcdserverpb::{
        AlarmRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleGetRequest,
        AuthRoleGrantPermissionRequest, AuthRoleListRequest, AuthStatusRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserGetRequest, AuthUserGrantRoleRequest,
        AuthUserListRequest, AuthenticateRequest, CompactionRequest, DefragmentRequest,
        HashKvRequest, HashRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest,
        LeaseRevokeRequest, LeaseTimeToLiveRequest, MemberAddRequest, MemberListRequest,
        MoveLeaderRequest, PutRequest, RangeRequest, SnapshotRequest, StatusRequest,
        WatchCreateRequest, WatchRequest, auth_client::AuthClient, cluster_client::ClusterClient,
        kv_client::KvClient, lease_client::LeaseClient, maintenance_client::MaintenanceClient,
        watch_client::WatchClient, watch_request::RequestUnion,
    },
};
use stdx::Shutdown;
use tonic::{Code, Request, Status, transport::Channel};

use super::cluster::{Cluster, wait_until};
use crate::{AuthError, Config};

/// The shortest hashing that bcrypt knows.
fn quick(config: &mut Config) {
    config.bcrypt_cost = 4;
}

/// A client with what it shows.
#[derive(Clone)]
struct Client {
    channel: Channel,
    token: Option<String>,
}

impl Client {
    async fn connect(cluster: &Cluster, at: usize) -> Self {
        let url = cluster.serve(at).await;
        let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
        Self { channel, token: None }
    }

    fn with(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.parse().unwrap());
        }
        request
    }

    fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    /// The same client, as a user.
    async fn login(&self, name: &str) -> Result<Self, Status> {
        let request = AuthenticateRequest { name: name.into(), password: password(name) };
        let token = self.auth().authenticate(request).await?.into_inner().token;
        Ok(self.with(&token))
    }

    async fn put(&self, key: &'static str) -> Result<(), Status> {
        let put = PutRequest { key: key.into(), value: "v".into(), ..PutRequest::default() };
        KvClient::new(self.channel.clone()).put(self.ask(put)).await.map(|_| ())
    }

    async fn get(&self, key: &'static str) -> Result<i64, Status> {
        let range = RangeRequest { key: key.into(), ..RangeRequest::default() };
        let mut client = KvClient::new(self.channel.clone());
        Ok(client.range(self.ask(range)).await?.into_inner().count)
    }

    /// Adds a user with a role of the same name.
    async fn add(&self, name: &str, options: Option<UserAddOptions>) -> Result<(), Status> {
        let mut auth = self.auth();
        let (name, password) = (name.to_owned(), password(name));
        let (user, role) = (name.clone(), name.clone());
        let add =
            AuthUserAddRequest { name: user.clone(), password, options, ..Default::default() };
        auth.user_add(self.ask(add)).await?;
        auth.role_add(self.ask(AuthRoleAddRequest { name })).await?;
        auth.user_grant_role(self.ask(AuthUserGrantRoleRequest { user, role })).await?;
        Ok(())
    }

    async fn allow(&self, role: &str, kind: Type, key: &'static str) -> Result<(), Status> {
        let perm = Permission { perm_type: kind.into(), key: key.into(), range_end: "".into() };
        let grant = AuthRoleGrantPermissionRequest { name: role.into(), perm: Some(perm) };
        self.auth().role_grant_permission(self.ask(grant)).await.map(|_| ())
    }

    /// root and ann, who may read `r` and write `w`; and they count from here on.
    async fn set_up(&self) {
        self.add("root", None).await.unwrap();
        self.add("ann", None).await.unwrap();
        self.allow("ann", Type::Read, "r").await.unwrap();
        self.allow("ann", Type::Write, "w").await.unwrap();
        self.auth().auth_enable(AuthEnableRequest {}).await.unwrap();
    }
}

fn password(name: &str) -> String {
    format!("{name}'s secret")
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, error: AuthError) {
    let status = result.unwrap_err();
    assert_eq!((status.code(), status.message()), (error.code(), error.to_string().as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_do_what_its_roles_say() {
    let cluster = Cluster::with(1, quick).await;
    let nobody = Client::connect(&cluster, cluster.leader().await).await;
    assert_refused(nobody.login("root").await.map(|_| ()), AuthError::NotEnabled);
    nobody.set_up().await;
    let (root, ann) = (nobody.login("root").await.unwrap(), nobody.login("ann").await.unwrap());
    root.put("r").await.unwrap();
    ann.put("w").await.unwrap();
    assert_eq!((ann.get("r").await.unwrap(), root.get("w").await.unwrap()), (1, 1));
    assert_refused(ann.put("r").await, AuthError::PermissionDenied);
    assert_refused(ann.get("w").await, AuthError::PermissionDenied);
    assert_refused(nobody.get("r").await, AuthError::UserEmpty);
    assert_refused(nobody.put("w").await, AuthError::UserEmpty);
    assert_refused(nobody.with("abc").put("w").await, AuthError::InvalidToken);
    assert_refused(nobody.with("abcdefghijklmnop.1").get("r").await, AuthError::InvalidToken);
    let wrong = AuthenticateRequest { name: "ann".into(), password: "guess".into() };
    assert_refused(nobody.auth().authenticate(wrong).await, AuthError::AuthFailed);
    // A token that counts with permission just taken away.
    root.allow("ann", Type::Write, "r").await.unwrap();
    assert_refused(ann.get("r").await, AuthError::PermissionDenied);
    ann.put("r").await.unwrap();
    // The member's own process is nobody's client.
    let range = RangeRequest { key: "r".into(), ..RangeRequest::default() };
    assert_eq!(cluster.handle(0).range(range).await.unwrap().count, 1);
    let put = PutRequest { key: "own".into(), ..PutRequest::default() };
    cluster.handle(0).put(put).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_is_one_too() {
    let cluster = Cluster::with(1, quick).await;
    let nobody = Client::connect(&cluster, cluster.leader().await).await;
    nobody.set_up().await;
    let token = nobody.login("ann").await.unwrap().token.unwrap();
    let put = PutRequest { key: "w".into(), ..PutRequest::default() };
    for value in [format!("Bearer {token}"), token] {
        let mut request = Request::new(put.clone());
        request.metadata_mut().insert("authorization", value.parse().unwrap());
        KvClient::new(nobody.channel.clone()).put(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_run_the_cluster() {
    let cluster = Cluster::with(1, quick).await;
    let nobody = Client::connect(&cluster, cluster.leader().await).await;
    nobody.set_up().await;
    let root = nobody.login("root").await.unwrap();
    let ann = nobody.login("ann").await.unwrap();
    let compact = CompactionRequest { revision: 1, physical: false };
    let add = MemberAddRequest { peer_urls: vec!["http://h:1".into()], is_learner: true };
    let raise = AlarmRequest { action: 1, member_id: 1, alarm: 1 };
    for (client, error) in [(&ann, AuthError::PermissionDenied), (&nobody, AuthError::UserEmpty)] {
        let mut maintenance = client.maintenance();
        let mut members = ClusterClient::new(client.channel.clone());
        let mut kv = KvClient::new(client.channel.clone());
        let mut auth = client.auth();
        assert_refused(maintenance.defragment(client.ask(DefragmentRequest {})).await, error);
        assert_refused(maintenance.hash(client.ask(HashRequest {})).await, error);
        assert_refused(maintenance.hash_kv(client.ask(HashKvRequest::default())).await, error);
        assert_refused(maintenance.snapshot(client.ask(SnapshotRequest {})).await, error);
        let leader = MoveLeaderRequest::default();
        assert_refused(maintenance.move_leader(client.ask(leader)).await, error);
        assert_refused(maintenance.alarm(client.ask(raise)).await, error);
        assert_refused(members.member_add(client.ask(add.clone())).await, error);
        assert_refused(kv.compact(client.ask(compact)).await, error);
        assert_refused(auth.user_list(client.ask(AuthUserListRequest {})).await, error);
        assert_refused(auth.role_list(client.ask(AuthRoleListRequest {})).await, error);
        assert_refused(client.add("eve", None).await, error);
    }
    let mut maintenance = ann.maintenance();
    maintenance.status(ann.ask(StatusRequest {})).await.unwrap();
    maintenance.alarm(ann.ask(AlarmRequest::default())).await.unwrap();
    let mut members = ClusterClient::new(ann.channel.clone());
    members.member_list(ann.ask(MemberListRequest::default())).await.unwrap();
    assert_refused(maintenance.status(StatusRequest {}).await, AuthError::UserEmpty);
    assert_refused(maintenance.alarm(AlarmRequest::default()).await, AuthError::UserEmpty);
    let list = members.member_list(MemberListRequest::default()).await;
    assert_refused(list, AuthError::UserEmpty);
    maintenance.hash(root.ask(HashRequest {})).await.unwrap();
    maintenance.defragment(root.ask(DefragmentRequest {})).await.unwrap();
    root.add("eve", None).await.unwrap();
    // Everybody may ask whether there is auth.
    let status = nobody.auth().auth_status(AuthStatusRequest {}).await.unwrap().into_inner();
    assert!(status.enabled && status.auth_revision > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_itself_and_its_roles_only() {
    let cluster = Cluster::with(1, quick).await;
    let nobody = Client::connect(&cluster, cluster.leader().await).await;
    nobody.set_up().await;
    let ann = nobody.login("ann").await.unwrap();
    let get = |name: &str| ann.ask(AuthUserGetRequest { name: name.to_owned() });
    let role = |name: &str| ann.ask(AuthRoleGetRequest { role: name.to_owned() });
    let mut auth = ann.auth();
    assert_eq!(auth.user_get(get("ann")).await.unwrap().into_inner().roles, ["ann"]);
    assert_refused(auth.user_get(get("root")).await, AuthError::PermissionDenied);
    let perm = auth.role_get(role("ann")).await.unwrap().into_inner().perm;
    assert_eq!((perm.len(), perm[0].key.clone()), (2, "r".into()));
    assert_refused(auth.role_get(role("root")).await, AuthError::PermissionDenied);
    let root = nobody.login("root").await.unwrap();
    let everything = auth.role_get(root.ask(AuthRoleGetRequest { role: "root".into() })).await;
    let perm = everything.unwrap().into_inner().perm.remove(0);
    assert_eq!((perm.perm_type(), &perm.range_end[..]), (Type::Readwrite, &[0][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_told_and_renewed_by_those_who_may() {
    let cluster = Cluster::with(1, quick).await;
    let nobody = Client::connect(&cluster, cluster.leader().await).await;
    nobody.set_up().await;
    let (root, ann) = (nobody.login("root").await.unwrap(), nobody.login("ann").await.unwrap());
    let mut lease = ann.lease();
    let grant = LeaseGrantRequest { id: 7, ttl: 100 };
    assert_refused(lease.lease_grant(grant).await, AuthError::UserEmpty);
    lease.lease_grant(ann.ask(grant)).await.unwrap();
    let keep = |client: &Client| {
        let (client, mut lease) = (client.clone(), client.lease());
        async move {
            let ids = futures::stream::iter([LeaseKeepAliveRequest { id: 7 }]);
            let mut answers = lease.lease_keep_alive(client.ask(ids)).await?.into_inner();
            answers.message().await.map(|answer| answer.unwrap().ttl)
        }
    };
    let left = |keys| LeaseTimeToLiveRequest { id: 7, keys };
    assert_eq!(keep(&ann).await.unwrap(), 100);
    assert_refused(keep(&nobody).await, AuthError::UserEmpty);
    lease.lease_time_to_live(ann.ask(left(true))).await.unwrap();
    lease.lease_leases(ann.ask(LeaseLeasesRequest {})).await.unwrap();
    let put = PutRequest { key: "own".into(), lease: 7, ..PutRequest::default() };
    KvClient::new(root.channel.clone()).put(root.ask(put)).await.unwrap();
    assert_refused(keep(&ann).await, AuthError::PermissionDenied);
    let denied = AuthError::PermissionDenied;
    assert_refused(lease.lease_time_to_live(ann.ask(left(true))).await, denied);
    lease.lease_time_to_live(ann.ask(left(false))).await.unwrap();
    assert_refused(lease.lease_time_to_live(left(false)).await, AuthError::UserEmpty);
    assert_refused(lease.lease_leases(ann.ask(LeaseLeasesRequest {})).await, denied);
    assert_refused(lease.lease_leases(LeaseLeasesRequest {}).await, AuthError::UserEmpty);
    let revoke = LeaseRevokeRequest { id: 7 };
    assert_refused(lease.lease_revoke(ann.ask(revoke)).await, denied);
    assert_eq!(keep(&root).await.unwrap(), 100);
    lease.lease_revoke(root.ask(revoke)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_end_by_themselves_under_auth() {
    let cluster = Cluster::with(1, |config| {
        quick(config);
        config.election = Duration::from_millis(300);
    })
    .await;
    let nobody = Client::connect(&cluster, cluster.leader().await).await;
    nobody.set_up().await;
    let root = nobody.login("root").await.unwrap();
    root.lease().lease_grant(root.ask(LeaseGrantRequest { id: 7, ttl: 1 })).await.unwrap();
    let put = PutRequest { key: "own".into(), lease: 7, ..PutRequest::default() };
    KvClient::new(root.channel.clone()).put(root.ask(put)).await.unwrap();
    let handle = cluster.handle(0).clone();
    wait_until("the lease has ended", || handle.lease_leases().is_empty()).await;
    assert_eq!(root.get("own").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_what_may_not_be_read_is_no_watch() {
    let cluster = Cluster::with(1, quick).await;
    let nobody = Client::connect(&cluster, cluster.leader().await).await;
    nobody.set_up().await;
    let ann = nobody.login("ann").await.unwrap();
    let reason = |client: &Client, key: &'static str, end: &'static str| {
        let create = WatchCreateRequest {
            key: key.into(),
            range_end: end.into(),
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests =
            futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
        let (client, mut watch) = (client.clone(), WatchClient::new(client.channel.clone()));
        async move {
            let mut answers = watch.watch(client.ask(requests)).await.unwrap().into_inner();
            let answer = answers.message().await.unwrap().unwrap();
            assert!(answer.created && answer.canceled == (answer.watch_id == -1));
            answer.cancel_reason
        }
    };
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    assert_eq!(reason(&ann, "r", "").await, "");
    assert_eq!(reason(&ann, "w", "").await, denied);
    assert_eq!(reason(&ann, "r", "s").await, denied);
    assert_eq!(reason(&ann, "", "\0").await, denied);
    let empty = "rpc error: code = InvalidArgument desc = etcdserver: user name is empty";
    assert_eq!(reason(&nobody, "r", "").await, empty);
    let invalid = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    assert_eq!(reason(&nobody.with("x.1"), "r", "").await, invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_changed_and_absent() {
    let cluster = Cluster::with(1, quick).await;
    let nobody = Client::connect(&cluster, cluster.leader().await).await;
    nobody.set_up().await;
    let root = nobody.login("root").await.unwrap();
    let ann = nobody.login("ann").await.unwrap();
    let change = AuthUserChangePasswordRequest {
        name: "ann".into(),
        password: "other".into(),
        ..Default::default()
    };
    root.auth().user_change_password(root.ask(change)).await.unwrap();
    assert_refused(ann.put("w").await, AuthError::InvalidToken);
    assert_refused(nobody.login("ann").await.map(|_| ()), AuthError::AuthFailed);
    let right = AuthenticateRequest { name: "ann".into(), password: "other".into() };
    nobody.auth().authenticate(right).await.unwrap();
    root.add("cert", Some(UserAddOptions { no_password: true })).await.unwrap();
    assert_refused(nobody.login("cert").await.map(|_| ()), AuthError::NoPasswordUser);
    let long =
        AuthUserAddRequest { name: "l".into(), password: "x".repeat(73), ..Default::default() };
    assert_refused(root.auth().user_add(root.ask(long)).await, AuthError::PasswordTooLong);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_agree_on_users_and_know_each_others_tokens() {
    let mut cluster = Cluster::with(3, quick).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    let mut clients = Vec::new();
    for at in [leader, (leader + 2) % 3] {
        clients.push(Client::connect(&cluster, at).await);
    }
    clients[0].set_up().await;
    for client in &clients {
        let ann = client.login("ann").await.unwrap();
        for other in &clients {
            // Without a wait: a member that is behind catches up first.
            other.with(ann.token.as_ref().unwrap()).put("w").await.unwrap();
        }
    }
    cluster.kill(away).await;
    let root = clients[1].login("root").await.unwrap();
    root.add("eve", None).await.unwrap();
    cluster.start_member(away).await;
    let back = Client::connect(&cluster, away).await;
    assert_refused(back.get("r").await, AuthError::UserEmpty);
    // It was away when the token was made.
    back.with(root.token.as_ref().unwrap()).put("r").await.unwrap();
    clients.push(back);
    let mut lists = Vec::new();
    for client in &clients {
        let root = client.login("root").await.unwrap();
        let users = root.auth().user_list(root.ask(AuthUserListRequest {})).await.unwrap();
        let status = root.auth().auth_status(root.ask(AuthStatusRequest {})).await.unwrap();
        lists.push((users.into_inner().users, status.into_inner().auth_revision));
    }
    assert_eq!(lists[0].0, ["ann", "eve", "root"]);
    assert!(lists.iter().all(|list| *list == lists[0]), "{lists:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_gets_users_with_its_snapshot() {
    let mut cluster = Cluster::with(1, |config| {
        quick(config);
        config.keep_entries = 1;
    })
    .await;
    let nobody = Client::connect(&cluster, cluster.leader().await).await;
    nobody.set_up().await;
    let root = nobody.login("root").await.unwrap();
    cluster.handle(0).consensus().compact_log().await.unwrap();
    let at = cluster.join().await;
    let handle = cluster.handle(at).clone();
    wait_until("the new member has a vote", || {
        handle.consensus().role() == consensus::Role::Follower
            && handle.inner.state().load().auth.read().is_enabled()
    })
    .await;
    let there = Client::connect(&cluster, at).await;
    assert_refused(there.put("w").await, AuthError::UserEmpty);
    // The entry that made this token did not come along.
    let old = there.with(root.token.as_ref().unwrap());
    assert_refused(old.put("w").await, AuthError::InvalidToken);
    there.login("ann").await.unwrap().put("w").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_token_is_believed_until_users_change() {
    let secret = std::env::temp_dir().join(format!("trireme-secret-{}", std::process::id()));
    std::fs::write(&secret, "any bytes").unwrap();
    let setting = format!("jwt,sign-method=HS256,priv-key={},ttl=1h", secret.display());
    let cluster = Cluster::with(3, |config| {
        quick(config);
        config.auth_token.clone_from(&setting);
    })
    .await;
    std::fs::remove_file(&secret).unwrap();
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let nobody = Client::connect(&cluster, leader).await;
    nobody.set_up().await;
    let ann = nobody.login("ann").await.unwrap();
    assert_eq!(ann.token.as_ref().unwrap().split('.').count(), 3);
    ann.put("w").await.unwrap();
    let there = Client::connect(&cluster, follower).await.with(ann.token.as_ref().unwrap());
    there.put("w").await.unwrap();
    nobody.login("root").await.unwrap().add("eve", None).await.unwrap();
    assert_refused(ann.put("w").await, AuthError::OldRevision);
    assert_refused(there.get("r").await, AuthError::OldRevision);
    nobody.login("ann").await.unwrap().put("w").await.unwrap();
    let forged = nobody.with("eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6OTl9.");
    assert_refused(forged.put("w").await, AuthError::InvalidToken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_an_impossible_setting_does_not_start() {
    let dir = std::env::temp_dir().join(format!("trireme-auth-start-{}", std::process::id()));
    let mut config = Config::new("m", dir, std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    config.auth_token = "jwt,sign-method=RS256".to_owned();
    let error = crate::start(config, Shutdown::new()).await.err().unwrap();
    assert_eq!(error.to_string(), "auth: invalid auth options: missing key data");
    assert_eq!(error.code(), Code::Unknown);
}
