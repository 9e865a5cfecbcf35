//! What users and roles allow and forbid, straight through the applier.

use proto::{
    authpb::{Permission, UserAddOptions, permission::Type},
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest,
        AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGrantRoleRequest,
        AuthUserRevokeRoleRequest, Compare, DeleteRangeRequest, InternalAuthenticateRequest,
        InternalRaftRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
        RequestOp, TxnRequest, request_op::Request,
    },
};
use tonic::Code;

use super::{Auth, AuthError, Identity};
use crate::{
    Error,
    propose::Applied,
    state::{State, tests::Fixture},
};

macro_rules! entry {
    ($field:ident: $request:expr) => {
        InternalRaftRequest { $field: Some($request), ..InternalRaftRequest::default() }
    };
}

/// A state with auth: root, and ann, who may read `r…` and write `w…`, and both `x…`.
struct World {
    fixture: Fixture,
}

impl World {
    fn empty() -> Self {
        Self { fixture: Fixture::new() }
    }

    fn new() -> Self {
        let world = Self::empty();
        world.prepare();
        world.done(entry!(auth_enable: AuthEnableRequest {}));
        world
    }

    fn prepare(&self) {
        for name in ["root", "ann"] {
            self.done(entry!(auth_user_add: user(name)));
            self.done(entry!(auth_role_add: AuthRoleAddRequest { name: name.into() }));
            self.done(entry!(auth_user_grant_role: grant(name, name)));
        }
        for (kind, key, end) in
            [(Type::Read, "r", "s"), (Type::Write, "w", "x"), (Type::Readwrite, "x", "y")]
        {
            self.done(entry!(auth_role_grant_permission: permission("ann", kind, key, end)));
        }
    }

    fn revision(&self) -> u64 {
        self.fixture.state.auth.read().revision()
    }

    /// Has an entry of a user applied; an empty name is nobody's.
    fn by(&self, name: &str, mut request: InternalRaftRequest) -> Result<Applied, Error> {
        let who = match name {
            "" => Identity::Nobody,
            name => Identity::User { name: name.into(), revision: self.revision() },
        };
        request.header = Some(who.header(1));
        self.fixture.one(request)
    }

    /// Has an entry of the process applied, which succeeds.
    fn done(&self, mut request: InternalRaftRequest) -> Applied {
        request.header = Some(Identity::Process.header(1));
        self.fixture.one(request).unwrap()
    }

    fn refused(&self, name: &str, request: InternalRaftRequest) -> AuthError {
        match self.by(name, request) {
            Err(Error::Auth(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

fn user(name: &str) -> AuthUserAddRequest {
    AuthUserAddRequest { name: name.into(), ..AuthUserAddRequest::default() }
}

fn grant(user: &str, role: &str) -> AuthUserGrantRoleRequest {
    AuthUserGrantRoleRequest { user: user.into(), role: role.into() }
}

fn permission(role: &str, kind: Type, key: &str, end: &str) -> AuthRoleGrantPermissionRequest {
    let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
    let perm = Some(Permission { perm_type: kind.into(), key, range_end });
    AuthRoleGrantPermissionRequest { name: role.into(), perm }
}

fn put(key: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: "v".into(), ..PutRequest::default() }
}

fn delete(key: &'static str, end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: false }
}

fn txn(success: Vec<Request>, failure: Vec<Request>) -> TxnRequest {
    let all = |requests: Vec<Request>| {
        requests.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
    };
    TxnRequest { success: all(success), failure: all(failure), ..TxnRequest::default() }
}

#[test]
fn every_refusal_has_etcds_code() {
    for error in AuthError::ALL {
        let is_ours = error.to_string().starts_with("etcdserver: ");
        assert_eq!(is_ours, error.code() != Code::Unknown, "{error}");
        assert_eq!(Error::from(error).code(), error.code());
    }
}

#[test]
fn auth_begins_with_root_in_its_role_only() {
    let world = World::empty();
    let enable = || entry!(auth_enable: AuthEnableRequest {});
    assert_eq!(world.refused("", enable()), AuthError::RootUserNotFound);
    world.done(entry!(auth_user_add: user("root")));
    assert_eq!(world.refused("", enable()), AuthError::RootRoleNotFound);
    // The role itself need not be there.
    world.done(entry!(auth_user_grant_role: grant("root", "root")));
    let before = world.revision();
    assert!(world.by("", enable()).is_ok());
    assert_eq!(world.revision(), before);
    assert_eq!(world.refused("", enable()), AuthError::UserEmpty);
    assert!(world.by("root", enable()).is_ok());
}

#[test]
fn keys_are_read_and_written_as_roles_say() {
    let world = World::new();
    let may = |name, request| world.by(name, request).is_ok();
    assert!(may("ann", entry!(put: put("w1"))) && may("root", entry!(put: put("r1"))));
    assert_eq!(world.refused("ann", entry!(put: put("r1"))), AuthError::PermissionDenied);
    assert_eq!(world.refused("eve", entry!(put: put("w1"))), AuthError::PermissionDenied);
    assert_eq!(world.refused("", entry!(put: put("w1"))), AuthError::UserEmpty);
    let prev = PutRequest { prev_kv: true, ..put("w1") };
    assert_eq!(world.refused("ann", entry!(put: prev)), AuthError::PermissionDenied);
    let prev = PutRequest { prev_kv: true, ..put("x1") };
    assert!(may("ann", entry!(put: prev)));
    assert!(may("ann", entry!(delete_range: delete("w", "y"))));
    let prev = DeleteRangeRequest { prev_kv: true, ..delete("w", "y") };
    assert_eq!(world.refused("ann", entry!(delete_range: prev)), AuthError::PermissionDenied);
    let wide = entry!(delete_range: delete("w", "\0"));
    assert_eq!(world.refused("ann", wide), AuthError::PermissionDenied);
}

#[test]
fn a_transaction_needs_permission_for_all_its_branches() {
    let world = World::new();
    let range = |key: &'static str| {
        Request::RequestRange(RangeRequest { key: key.into(), ..RangeRequest::default() })
    };
    let writes = || Request::RequestPut(put("w1"));
    let nested = |inner| Request::RequestTxn(txn(vec![], vec![Request::RequestTxn(inner)]));
    let fine = txn(vec![writes(), range("r1")], vec![nested(txn(vec![writes()], vec![]))]);
    assert!(world.by("ann", entry!(txn: fine.clone())).is_ok());
    let prev = PutRequest { prev_kv: true, ..put("w1") };
    let gone = DeleteRangeRequest { prev_kv: true, ..delete("w1", "") };
    let bad = [
        txn(vec![], vec![Request::RequestPut(put("r1"))]),
        txn(vec![writes()], vec![nested(txn(vec![], vec![Request::RequestPut(put("r1"))]))]),
        txn(vec![writes()], vec![nested(txn(vec![range("w1")], vec![]))]),
        txn(vec![Request::RequestPut(prev)], vec![]),
        txn(vec![Request::RequestDeleteRange(gone)], vec![]),
        txn(vec![Request::RequestDeleteRange(delete("w", "z"))], vec![]),
        TxnRequest {
            compare: vec![Compare { key: "w1".into(), ..Compare::default() }],
            ..fine.clone()
        },
    ];
    let before = world.fixture.state.revision();
    for request in bad {
        let refused = world.refused("ann", entry!(txn: request.clone()));
        assert_eq!(refused, AuthError::PermissionDenied, "{request:?}");
        assert!(world.by("root", entry!(txn: request)).is_ok());
    }
    assert!(world.fixture.state.revision() > before);
    assert_eq!(world.refused("", entry!(txn: fine)), AuthError::UserEmpty);
}

#[test]
fn a_lease_with_foreign_keys_is_neither_ended_nor_used() {
    let world = World::new();
    let lease = LeaseGrantRequest { id: 1, ttl: 100 };
    assert!(world.by("ann", entry!(lease_grant: lease)).is_ok());
    let on_lease = |key| entry!(put: PutRequest { lease: 1, ..put(key) });
    assert!(world.by("ann", on_lease("w1")).is_ok());
    world.done(on_lease("r1"));
    assert_eq!(world.refused("ann", on_lease("w2")), AuthError::PermissionDenied);
    let revoke = || entry!(lease_revoke: LeaseRevokeRequest { id: 1 });
    assert_eq!(world.refused("ann", revoke()), AuthError::PermissionDenied);
    assert_eq!(world.refused("", revoke()), AuthError::UserEmpty);
    let nested = txn(
        vec![Request::RequestTxn(txn(
            vec![],
            vec![Request::RequestPut(PutRequest { lease: 1, ..put("w3") })],
        ))],
        vec![],
    );
    assert_eq!(world.refused("ann", entry!(txn: nested)), AuthError::PermissionDenied);
    // The leader's own revocations have no header.
    assert!(world.fixture.one(revoke()).is_ok());
}

#[test]
fn what_was_proven_before_a_change_counts_no_longer() {
    let world = World::new();
    let revision = world.revision();
    let with = |revision, request: InternalRaftRequest| {
        let header = Identity::User { name: "ann".into(), revision }.header(1);
        world.fixture.one(InternalRaftRequest { header: Some(header), ..request })
    };
    assert!(with(revision, entry!(put: put("w1"))).is_ok());
    world.done(entry!(auth_role_add: AuthRoleAddRequest { name: "new".into() }));
    let refused = with(revision, entry!(put: put("w1")));
    assert_eq!(refused.unwrap_err(), AuthError::OldRevision.into());
    assert!(with(revision + 1, entry!(put: put("w1"))).is_ok());
    assert_eq!(with(0, entry!(put: put("w1"))).unwrap_err(), AuthError::UserEmpty.into());
}

#[test]
fn only_administrators_change_users_and_roles() {
    let world = World::new();
    let changes = || {
        [
            entry!(auth_enable: AuthEnableRequest {}),
            entry!(auth_disable: AuthDisableRequest {}),
            entry!(auth_user_add: user("x")),
            entry!(auth_user_delete: AuthUserDeleteRequest { name: "ann".into() }),
            entry!(auth_user_change_password: AuthUserChangePasswordRequest::default()),
            entry!(auth_user_grant_role: grant("ann", "root")),
            entry!(auth_user_revoke_role: AuthUserRevokeRoleRequest::default()),
            entry!(auth_role_add: AuthRoleAddRequest { name: "x".into() }),
            entry!(auth_role_delete: AuthRoleDeleteRequest { role: "ann".into() }),
            entry!(auth_role_grant_permission: permission("ann", Type::Read, "a", "")),
            entry!(auth_role_revoke_permission: AuthRoleRevokePermissionRequest::default()),
        ]
    };
    let before = world.revision();
    for change in changes() {
        assert_eq!(world.refused("ann", change.clone()), AuthError::PermissionDenied);
        assert_eq!(world.refused("eve", change.clone()), AuthError::UserNotFound);
        assert_eq!(world.refused("", change), AuthError::UserEmpty);
    }
    assert_eq!(world.revision(), before);
}

#[test]
fn nobody_takes_the_last_key_from_root() {
    let world = World::new();
    let root = |name: &str| name.to_owned();
    let delete = entry!(auth_user_delete: AuthUserDeleteRequest { name: root("root") });
    assert_eq!(world.refused("root", delete), AuthError::InvalidManagement);
    let revoke = AuthUserRevokeRoleRequest { name: root("root"), role: root("root") };
    let revoke = entry!(auth_user_revoke_role: revoke);
    assert_eq!(world.refused("root", revoke.clone()), AuthError::InvalidManagement);
    let delete = entry!(auth_role_delete: AuthRoleDeleteRequest { role: root("root") });
    assert_eq!(world.refused("root", delete), AuthError::InvalidManagement);
    let before = world.revision();
    assert!(world.by("root", entry!(auth_disable: AuthDisableRequest {})).is_ok());
    assert_eq!(world.revision(), before + 1);
    assert!(world.by("", revoke).is_ok());
}

#[test]
fn users_and_roles_are_managed_as_etcd_does() {
    let world = World::new();
    let is = |request, error| assert_eq!(world.refused("root", request), error);
    is(entry!(auth_user_add: user("")), AuthError::UserEmpty);
    is(entry!(auth_user_add: user("ann")), AuthError::UserExists);
    is(entry!(auth_user_grant_role: grant("eve", "ann")), AuthError::UserNotFound);
    is(entry!(auth_user_grant_role: grant("ann", "no")), AuthError::RoleNotFound);
    is(entry!(auth_role_add: AuthRoleAddRequest { name: String::new() }), AuthError::RoleEmpty);
    is(entry!(auth_role_add: AuthRoleAddRequest { name: "ann".into() }), AuthError::RoleExists);
    let none = AuthRoleGrantPermissionRequest { name: "ann".into(), perm: None };
    is(entry!(auth_role_grant_permission: none), AuthError::PermissionNotGiven);
    let inverted = permission("ann", Type::Read, "b", "a");
    is(entry!(auth_role_grant_permission: inverted), AuthError::InvalidManagement);
    let other = permission("no", Type::Read, "a", "b");
    is(entry!(auth_role_grant_permission: other), AuthError::RoleNotFound);
    let revoke = |key: &'static str, end: &'static str| {
        let (key, range_end) = (key.into(), end.into());
        let request = AuthRoleRevokePermissionRequest { role: "ann".into(), key, range_end };
        entry!(auth_role_revoke_permission: request)
    };
    is(revoke("r", ""), AuthError::PermissionNotGranted);
    let role = AuthUserRevokeRoleRequest { name: "ann".into(), role: "no".into() };
    is(entry!(auth_user_revoke_role: role), AuthError::RoleNotGranted);
    // The same role once more is no change, and neither is it an error.
    let before = world.revision();
    assert!(world.by("root", entry!(auth_user_grant_role: grant("ann", "ann"))).is_ok());
    assert_eq!(world.revision(), before);
    // The same range once more changes what it allows.
    let again = permission("ann", Type::Readwrite, "r", "s");
    assert!(world.by("root", entry!(auth_role_grant_permission: again)).is_ok());
    assert!(world.by("ann", entry!(put: put("r1"))).is_ok());
    assert!(world.by("root", revoke("r", "s")).is_ok());
    assert!(world.by("ann", entry!(put: put("r1"))).is_err());
    let delete = entry!(auth_role_delete: AuthRoleDeleteRequest { role: "ann".into() });
    assert!(world.by("root", delete).is_ok());
    assert!(world.fixture.state.auth.read().user("ann").unwrap().roles.is_empty());
    assert!(world.by("ann", entry!(put: put("w1"))).is_err());
}

#[test]
fn passwords_are_for_users_that_have_them() {
    let world = World::new();
    let options = Some(UserAddOptions { no_password: true });
    let bare = AuthUserAddRequest { options, hashed_password: "%".into(), ..user("cert") };
    assert!(world.by("root", entry!(auth_user_add: bare)).is_ok());
    let bad = AuthUserAddRequest { hashed_password: "%".into(), ..user("bad") };
    let refused = world.refused("root", entry!(auth_user_add: bad));
    assert_eq!(refused, AuthError::NoPasswordUser);
    let change = |name: &str, hashed: &str| {
        let (name, hashed_password) = (name.to_owned(), hashed.to_owned());
        entry!(auth_user_change_password: AuthUserChangePasswordRequest {
            name, hashed_password, password: String::new(),
        })
    };
    assert!(world.by("root", change("cert", "aGFzaA==")).is_ok());
    assert!(world.by("root", change("ann", "aGFzaA==")).is_ok());
    assert_eq!(world.refused("root", change("eve", "")), AuthError::UserNotFound);
    let auth = world.fixture.state.auth.read();
    assert_eq!(auth.user("ann").unwrap().password, "hash");
    assert!(auth.user("cert").unwrap().password.is_empty());
    drop(auth);
    let authenticate = |name: &str| {
        let name = name.to_owned();
        entry!(authenticate: InternalAuthenticateRequest { name, ..Default::default() })
    };
    assert!(world.by("", authenticate("ann")).is_ok());
    assert_eq!(world.refused("", authenticate("cert")), AuthError::AuthFailed);
    assert_eq!(world.refused("", authenticate("eve")), AuthError::AuthFailed);
    world.done(entry!(auth_disable: AuthDisableRequest {}));
    assert_eq!(world.refused("", authenticate("ann")), AuthError::NotEnabled);
}

#[test]
fn users_and_roles_are_on_disk_in_etcds_bytes() {
    let world = World::new();
    let state = &world.fixture.state;
    let (loaded, auth) = (Auth::load(&state.disk).unwrap(), state.auth.read());
    assert_eq!(format!("{loaded:?}"), format!("{auth:?}"));
    assert!(loaded.is_enabled() && loaded.permitted("ann").is_some());
    let users = state.disk.all(crate::state::key_kind::KeyKind::User).unwrap();
    // Name, no password, a role, and options that say nothing but are there.
    assert_eq!(users[0], (b"ann".to_vec(), b"\x0a\x03ann\x1a\x03ann\x22\x00".to_vec()));
    drop(auth);
    let empty =
        State::open(&world.fixture.dir.join("other"), 1 << 20, &consensus::Reserve::default())
            .unwrap();
    assert_eq!((empty.auth.read().is_enabled(), empty.auth.read().revision()), (false, 1));
}
