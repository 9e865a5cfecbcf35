//! Who may do what: authentication, impersonation, authorization.
//!
//! Authenticators are asked in order, the first that knows the credentials decides. Authorizers are asked in
//! order too ([`AUTHORIZERS`]); one that allows ends the question, and if none does, all their reasons are told.

pub mod authenticate;
pub mod escalation;
pub mod impersonate;
pub mod node;
pub mod rbac;
pub mod rules;
pub mod static_tokens;
pub mod tokens;

use api::status::Status;
use std::sync::Arc;

use self::node::Nodes;
use self::rbac::Rbac;
use self::static_tokens::StaticTokens;
use self::tokens::Tokens;
use crate::config::Config;
use crate::error::Error;
use crate::identity::{MASTERS, UserInfo};
use crate::request_info::RequestInfo;
use crate::storage;

/// Everything that decides about access.
pub struct Access {
    /// Tokens of ServiceAccounts.
    pub tokens: Tokens,
    /// Tokens from a file.
    pub static_tokens: StaticTokens,
    /// Roles and bindings.
    pub rbac: Arc<Rbac>,
    /// Which objects a node's Pods need.
    pub nodes: Arc<Nodes>,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Default)]
pub struct Attributes<'a> {
    /// Verb of a resource, or lower-case method of a path.
    pub verb: &'a str,
    /// Whether it is about a resource.
    pub is_resource: bool,
    /// Group.
    pub group: &'a str,
    /// Resource.
    pub resource: &'a str,
    /// Subresource; empty is none.
    pub subresource: &'a str,
    /// Namespace; empty is none or all.
    pub namespace: &'a str,
    /// Object; empty is none or all.
    pub name: &'a str,
    /// Path that is no resource.
    pub path: &'a str,
    /// The field selector of a list or watch.
    pub field_selector: &'a str,
}

impl<'a> Attributes<'a> {
    /// What a request wants.
    pub fn of(info: &'a RequestInfo) -> Self {
        Self {
            verb: &info.verb,
            is_resource: info.is_resource,
            group: &info.group,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            path: &info.path,
            field_selector: info.query.text("fieldSelector"),
        }
    }

    /// `resource/subresource`, or the resource alone.
    pub fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// What an authorizer thinks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Opinion {
    /// It may be done, because.
    Allow(String),
    /// Nothing speaks for it; perhaps a reason why.
    #[default]
    None,
    /// Nothing speaks for it, and this is why or what stood in the way.
    Because(String),
}

/// The answer of all authorizers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why, or why not; may be empty.
    pub reason: String,
    /// What went wrong on the way; may be empty.
    pub error: String,
}

impl Access {
    /// Access as the configuration says.
    pub fn new(config: &Config, storage: storage::Shared) -> Result<Self, Error> {
        Ok(Self {
            tokens: Tokens::new(config, storage.clone())?,
            static_tokens: StaticTokens::load(config.token_auth_file.as_deref())?,
            rbac: Arc::default(),
            nodes: Arc::new(Nodes::new(storage)),
        })
    }

    /// Whether a user may do something.
    pub async fn decide(&self, user: &UserInfo, wanted: &Attributes<'_>) -> Verdict {
        if user.is_in(MASTERS) {
            return Verdict { allowed: true, ..Verdict::default() };
        }
        let mut verdict = Verdict::default();
        match self.nodes.decide(user, wanted).await {
            Opinion::Allow(reason) => {
                return Verdict { allowed: true, reason, ..Verdict::default() };
            }
            Opinion::Because(reason) => verdict.reason = format!("node: {reason}"),
            Opinion::None => {}
        }
        match self.rbac.decide(user, wanted) {
            Opinion::Allow(reason) => {
                return Verdict { allowed: true, reason, ..Verdict::default() };
            }
            Opinion::Because(error) => {
                let text = format!("rbac: {error}");
                verdict.reason = match verdict.reason.is_empty() {
                    true => text,
                    false => format!("{}, {text}", verdict.reason),
                };
                verdict.error = error;
            }
            Opinion::None => {}
        }
        verdict
    }

    /// Lets a request through, or 403.
    pub async fn authorize(&self, user: &UserInfo, info: &RequestInfo) -> Result<(), Status> {
        self.check(user, &Attributes::of(info)).await
    }

    /// Lets something through, or 403.
    pub async fn check(&self, user: &UserInfo, wanted: &Attributes<'_>) -> Result<(), Status> {
        let verdict = self.decide(user, wanted).await;
        if verdict.allowed {
            return Ok(());
        }
        Err(forbidden(user, wanted, &verdict.reason))
    }
}

/// 403 in the words of the original.
pub fn forbidden(user: &UserInfo, wanted: &Attributes<'_>, reason: &str) -> Status {
    let who = &user.name;
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let verb = wanted.verb;
    if !wanted.is_resource {
        let text = format!("User {who:?} cannot {verb} path {:?}{why}", wanted.path);
        return Status::forbidden("", "", "", &text);
    }
    let place = match wanted.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let text = format!(
        "User {who:?} cannot {verb} resource {:?} in API group {:?} {place}{why}",
        wanted.full_resource(),
        wanted.group
    );
    Status::forbidden(wanted.group, wanted.resource, wanted.name, &text)
}
