//! Random users, roles and tokens, and everything that they may stand in the way of.

use std::collections::BTreeMap;

use proto::{
    authpb::{Permission, UserAddOptions},
    etcdserverpb::{
        AlarmRequest, AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest,
        AuthRoleDeleteRequest, AuthRoleGetRequest, AuthRoleGrantPermissionRequest,
        AuthRoleListRequest, AuthRoleRevokePermissionRequest, AuthStatusRequest,
        AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserDeleteRequest,
        AuthUserGetRequest, AuthUserGrantRoleRequest, AuthUserListRequest,
        AuthUserRevokeRoleRequest, AuthenticateRequest, HashRequest, LeaseKeepAliveRequest,
        MemberListRequest, ResponseHeader, StatusRequest, WatchCreateRequest, WatchRequest,
        auth_client::AuthClient, cluster_client::ClusterClient, lease_client::LeaseClient,
        maintenance_client::MaintenanceClient, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
};
use tonic::{Request as Call, Status, service::Interceptor};

use crate::{
    others::{self, Others},
    random::Generator,
    servers::{Link, Token},
};

/// A request of auth, or one that auth may refuse beside those for keys.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Enable,
    Disable,
    Status,
    Login(AuthenticateRequest),
    UserAdd(AuthUserAddRequest),
    UserGet(String),
    UserList,
    UserDelete(String),
    Password(AuthUserChangePasswordRequest),
    Grant(AuthUserGrantRoleRequest),
    Revoke(AuthUserRevokeRoleRequest),
    RoleAdd(String),
    RoleGet(String),
    RoleList,
    RoleDelete(String),
    Permit(AuthRoleGrantPermissionRequest),
    Forbid(AuthRoleRevokePermissionRequest),
    Watch(WatchCreateRequest),
    KeepAlive(i64),
    Members,
    MemberStatus,
    Alarms,
    HashAll,
    Other(others::Request),
}

/// Who a request is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    /// With the token that this user got last.
    User(&'static str),
    /// With a token that was never given out.
    Liar,
}

const USERS: [&str; 3] = ["root", "ann", "bob"];
const ROLES: [&str; 3] = ["root", "r1", "r2"];

/// What makes auth begin, in the order of its need.
pub(crate) fn prelude() -> Vec<Request> {
    let mut all = Vec::new();
    for (name, role) in [("root", "root"), ("ann", "r1"), ("bob", "r2")] {
        let (user, role, password) = (name.to_owned(), role.to_owned(), "p".to_owned());
        let name = user.clone();
        all.push(Request::UserAdd(AuthUserAddRequest { name, password, ..Default::default() }));
        all.push(Request::RoleAdd(role.clone()));
        all.push(Request::Grant(AuthUserGrantRoleRequest { user, role }));
    }
    all.push(Request::Enable);
    all.extend(USERS.iter().flat_map(|name| logins(name)));
    all
}

/// Ways to a new token for a user.
pub(crate) fn logins(name: &str) -> [Request; 2] {
    ["q", "p"].map(|password| {
        let (name, password) = (name.to_owned(), password.to_owned());
        Request::Login(AuthenticateRequest { name, password })
    })
}

impl Generator {
    /// Who asks next.
    pub(crate) fn who(&mut self) -> Who {
        match self.below(20) {
            0 => Who::Nobody,
            1 => Who::Liar,
            2..=9 => Who::User("root"),
            10..=14 => Who::User("ann"),
            _ => Who::User("bob"),
        }
    }

    fn user(&mut self) -> String {
        let odd = self.chance(8);
        let name = USERS[self.below(3) as usize];
        if odd { ["", "eve"][self.below(2) as usize].to_owned() } else { name.to_owned() }
    }

    fn role(&mut self) -> String {
        let odd = self.chance(8);
        let name = ROLES[self.below(3) as usize];
        if odd { ["", "r3"][self.below(2) as usize].to_owned() } else { name.to_owned() }
    }

    fn password(&mut self) -> String {
        match self.below(40) {
            0 => String::new(),
            1 => "x".repeat(73),
            2..=4 => "q".to_owned(),
            _ => "p".to_owned(),
        }
    }

    fn range_of_keys(&mut self) -> (bytes::Bytes, bytes::Bytes) {
        let key = ["a", "b", "c", "p/", "p/b", "q", "\0", ""][self.below(8) as usize];
        let end = ["", "", "\0", "c", "d", "p0", "p/c", "a"][self.below(8) as usize];
        (key.into(), end.into())
    }

    fn user_add(&mut self) -> AuthUserAddRequest {
        let options = match self.below(4) {
            0 => Some(UserAddOptions { no_password: true }),
            1 => Some(UserAddOptions { no_password: false }),
            _ => None,
        };
        let (name, password) = (self.user(), self.password());
        AuthUserAddRequest { name, password, options, ..Default::default() }
    }

    /// The next request of auth.
    pub(crate) fn auth_request(&mut self) -> Request {
        if self.chance(20) {
            return Request::Other(self.other_request());
        }
        match self.below(100) {
            0..=2 => Request::Enable,
            3 => Request::Disable,
            4..=6 => Request::Status,
            7..=26 => {
                let (name, password) = (self.user(), self.password());
                Request::Login(AuthenticateRequest { name, password })
            }
            27..=31 => Request::UserAdd(self.user_add()),
            32..=34 => Request::UserGet(self.user()),
            35..=36 => Request::UserList,
            37..=38 => Request::UserDelete(self.user()),
            39..=41 => {
                let hashed = ["", "", "%", "aGFzaA=="][self.below(4) as usize].to_owned();
                Request::Password(AuthUserChangePasswordRequest {
                    name: self.user(),
                    password: self.password(),
                    hashed_password: hashed,
                })
            }
            42..=47 => {
                let (user, role) = (self.user(), self.role());
                Request::Grant(AuthUserGrantRoleRequest { user, role })
            }
            48..=50 => {
                let (name, role) = (self.user(), self.role());
                Request::Revoke(AuthUserRevokeRoleRequest { name, role })
            }
            51..=54 => Request::RoleAdd(self.role()),
            55..=57 => Request::RoleGet(self.role()),
            58..=59 => Request::RoleList,
            60 => Request::RoleDelete(self.role()),
            61..=76 => {
                let (key, range_end) = self.range_of_keys();
                let perm = Permission { perm_type: self.below(3) as i32, key, range_end };
                let perm = Some(perm).filter(|_| !self.chance(3));
                Request::Permit(AuthRoleGrantPermissionRequest { name: self.role(), perm })
            }
            77..=80 => {
                let (key, range_end) = self.range_of_keys();
                let role = self.role();
                Request::Forbid(AuthRoleRevokePermissionRequest { role, key, range_end })
            }
            81..=89 => {
                let (key, range_end) = self.range_of_keys();
                let is_inverted = range_end[..] <= key[..] && range_end[..] != [0];
                Request::Watch(WatchCreateRequest {
                    key,
                    range_end: if is_inverted { bytes::Bytes::new() } else { range_end },
                    start_revision: self.below(20) - 1,
                    ..WatchCreateRequest::default()
                })
            }
            90..=93 => Request::KeepAlive(1 + self.below(5)),
            94 => Request::Members,
            95..=96 => Request::MemberStatus,
            97..=98 => Request::Alarms,
            _ => Request::HashAll,
        }
    }
}

/// What clients of auth need of a server, and the tokens that it gave out.
pub(crate) struct Auth {
    auth: AuthClient<Link>,
    cluster: ClusterClient<Link>,
    lease: LeaseClient<Link>,
    maintenance: MaintenanceClient<Link>,
    watch: WatchClient<Link>,
    others: Others,
    token: Token,
    tokens: BTreeMap<String, String>,
}

impl Auth {
    pub(crate) fn new(link: &Link, token: Token) -> Self {
        Self {
            auth: AuthClient::new(link.clone()),
            cluster: ClusterClient::new(link.clone()),
            lease: LeaseClient::new(link.clone()),
            maintenance: MaintenanceClient::new(link.clone()),
            watch: WatchClient::new(link.clone()),
            others: Others::new(link),
            token,
            tokens: BTreeMap::new(),
        }
    }

    /// Makes the following requests those of somebody.
    pub(crate) fn become_user(&self, who: &Who) {
        self.token.set(match who {
            Who::Nobody => None,
            Who::User(name) => self.tokens.get(*name).cloned(),
            Who::Liar => Some("abcdefghijklmnop.1".to_owned()),
        });
    }

    /// The answer in words, without what must differ.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<String, Status> {
        Ok(match request.clone() {
            Request::Enable => {
                let mut answer = self.auth.auth_enable(AuthEnableRequest {}).await?.into_inner();
                clean(&mut answer.header);
                format!("{answer:?}")
            }
            Request::Disable => {
                let mut answer = self.auth.auth_disable(AuthDisableRequest {}).await?.into_inner();
                clean(&mut answer.header);
                format!("{answer:?}")
            }
            Request::Status => {
                let mut answer = self.auth.auth_status(AuthStatusRequest {}).await?.into_inner();
                clean(&mut answer.header);
                format!("{answer:?}")
            }
            Request::Login(request) => {
                let name = request.name.clone();
                let mut answer = self.auth.authenticate(request).await?.into_inner();
                clean(&mut answer.header);
                let token = std::mem::take(&mut answer.token);
                let shape = token.split('.').next().map_or(0, str::len);
                self.tokens.insert(name, token);
                format!("{answer:?}, {shape} letters")
            }
            Request::Watch(create) => self.watch(create).await?,
            Request::KeepAlive(id) => {
                let ids = futures::stream::iter([LeaseKeepAliveRequest { id }]);
                let mut answers = self.lease.lease_keep_alive(ids).await?.into_inner();
                let ttl = answers.message().await?.map(|answer| answer.ttl > 0);
                format!("{ttl:?}")
            }
            Request::Members => {
                let request = MemberListRequest { linearizable: true };
                let answer = self.cluster.member_list(request).await?.into_inner();
                format!("{} members", answer.members.len())
            }
            Request::MemberStatus => {
                let answer = self.maintenance.status(StatusRequest {}).await?.into_inner();
                format!("version {}", answer.version)
            }
            Request::Alarms => {
                let answer = self.maintenance.alarm(AlarmRequest::default()).await?.into_inner();
                format!("{:?}", answer.alarms)
            }
            Request::HashAll => {
                self.maintenance.hash(HashRequest {}).await?;
                "a hash".to_owned()
            }
            Request::Other(request) => self.others.ask(request).await?,
            request => self.manage(request).await?,
        })
    }

    async fn manage(&mut self, request: Request) -> Result<String, Status> {
        macro_rules! ask {
            ($method:ident, $request:expr) => {{
                let mut answer = self.auth.$method($request).await?.into_inner();
                clean(&mut answer.header);
                format!("{answer:?}")
            }};
        }
        Ok(match request {
            Request::UserAdd(request) => ask!(user_add, request),
            Request::UserGet(name) => ask!(user_get, AuthUserGetRequest { name }),
            Request::UserList => ask!(user_list, AuthUserListRequest {}),
            Request::UserDelete(name) => ask!(user_delete, AuthUserDeleteRequest { name }),
            Request::Password(request) => ask!(user_change_password, request),
            Request::Grant(request) => ask!(user_grant_role, request),
            Request::Revoke(request) => ask!(user_revoke_role, request),
            Request::RoleAdd(name) => ask!(role_add, AuthRoleAddRequest { name }),
            Request::RoleGet(role) => {
                let answer = self.auth.role_get(AuthRoleGetRequest { role }).await?;
                let mut answer = answer.into_inner();
                clean(&mut answer.header);
                // Go's sorting leaves ranges with the same beginning in an order of its own.
                let range = |perm: &Permission| (perm.key.clone(), perm.range_end.clone());
                answer.perm.sort_by_key(|perm| (range(perm), perm.perm_type));
                format!("{answer:?}")
            }
            Request::RoleList => ask!(role_list, AuthRoleListRequest {}),
            Request::RoleDelete(role) => ask!(role_delete, AuthRoleDeleteRequest { role }),
            Request::Permit(request) => ask!(role_grant_permission, request),
            Request::Forbid(request) => ask!(role_revoke_permission, request),
            other => format!("no such request: {other:?}"),
        })
    }

    /// Creates a watch, and says whether it may be.
    async fn watch(&mut self, create: WatchCreateRequest) -> Result<String, Status> {
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests =
            futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
        let mut answers = self.watch.watch(requests).await?.into_inner();
        let Some(answer) = answers.message().await? else { return Ok("no answer".to_owned()) };
        Ok(format!("{} {} {:?}", answer.created, answer.canceled, answer.cancel_reason))
    }

    /// Logs in as root, for what follows; whether there was a way.
    pub(crate) async fn become_root(&mut self) -> bool {
        self.become_user(&Who::Nobody);
        for password in ["p", "q"] {
            let (name, password) = ("root".to_owned(), password.to_owned());
            let login = Request::Login(AuthenticateRequest { name, password });
            match self.ask(&login).await {
                Ok(_) => self.become_user(&Who::User("root")),
                Err(status) if status.message().contains("not enabled") => {}
                Err(_) => continue,
            }
            return true;
        }
        false
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Call<()>) -> Result<Call<()>, Status> {
        if let Some(token) = self.get() {
            let token = token.parse().map_err(|_| Status::internal("an odd token"))?;
            request.metadata_mut().insert("token", token);
        }
        Ok(request)
    }
}

fn clean(header: &mut Option<ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}
