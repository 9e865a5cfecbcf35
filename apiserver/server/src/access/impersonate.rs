//! Requests on behalf of somebody else, by `Impersonate-*` headers.
//!
//! Two ways lead there: the old right (`impersonate` on users, groups, uids and extras), and the constrained one
//! (`impersonate:<mode>` on the user and `impersonate-on:<mode>:<verb>` on what is done).

use api::status::Status;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Access, Attributes, forbidden};
use crate::identity::{
    ACCOUNT_PREFIX, ANONYMOUS, AUTHENTICATED, NODE_PREFIX, UNAUTHENTICATED, UserInfo,
    account_groups,
};
use crate::request_info::RequestInfo;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
/// Group of the reviews of identity.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// One thing that impersonating somebody needs.
struct Need {
    group: &'static str,
    resource: &'static str,
    subresource: String,
    namespace: String,
    name: String,
}

impl Need {
    fn new(group: &'static str, resource: &'static str, name: &str) -> Self {
        let (subresource, namespace) = (String::new(), String::new());
        Self { group, resource, subresource, namespace, name: name.to_owned() }
    }

    fn attributes<'a>(&'a self, verb: &'a str) -> Attributes<'a> {
        Attributes {
            verb,
            is_resource: true,
            group: self.group,
            resource: self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            ..Attributes::default()
        }
    }
}

impl Access {
    /// The user that a request wants to be, if the one who asks may; else the one who asks.
    pub async fn impersonate(
        &self,
        user: UserInfo,
        headers: &HeaderMap,
        info: &RequestInfo,
    ) -> Result<UserInfo, Status> {
        let wanted = wanted(headers);
        if wanted.name.is_empty() {
            if wanted == UserInfo::default() {
                return Ok(user);
            }
            let text =
                format!("requested {} without impersonating a user name", go_syntax(&wanted));
            return Err(Status::bad_request(&text));
        }
        let needs = needs(&wanted);
        let mut refusal = None;
        for need in &needs {
            let attributes = need.attributes("impersonate");
            let verdict = self.decide(&user, &attributes).await;
            if !verdict.allowed {
                refusal = Some(forbidden(&user, &attributes, &verdict.reason));
                break;
            }
        }
        if let Some(refusal) = refusal {
            let legacy = wanted.name.starts_with(NODE_PREFIX) || self.holds_impersonate(&user);
            if legacy {
                return Err(refusal);
            }
            self.constrained(&user, &wanted, &needs, info).await?;
        }
        Ok(complete(wanted))
    }

    /// Whether a user has any right of the old kind.
    fn holds_impersonate(&self, user: &UserInfo) -> bool {
        let (rules, _) = self.rbac.rules(user, "");
        rules.iter().any(|rule| rule.verbs.iter().any(|verb| verb == "impersonate"))
    }

    /// The constrained way.
    async fn constrained(
        &self,
        user: &UserInfo,
        wanted: &UserInfo,
        needs: &[Need],
        info: &RequestInfo,
    ) -> Result<(), Status> {
        let account = wanted.account().is_some();
        let mode = if account { "serviceaccount" } else { "user-info" };
        let verb = format!("impersonate-on:{mode}:{}", info.verb);
        let on = Attributes { verb: &verb, ..Attributes::of(info) };
        self.check(user, &on).await?;
        let verb = format!("impersonate:{mode}");
        for need in needs {
            let group = if need.resource == "serviceaccounts" { "" } else { AUTHENTICATION };
            let attributes = Attributes { group, ..need.attributes(&verb) };
            self.check(user, &attributes).await?;
        }
        Ok(())
    }
}

/// The user that the headers name, as they name it.
fn wanted(headers: &HeaderMap) -> UserInfo {
    let text = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let groups = headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok());
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
        let value = value.to_str().unwrap_or_default().to_owned();
        extra.entry(key).or_default().push(value);
    }
    UserInfo {
        name: text(USER),
        uid: text(UID),
        groups: groups.map(str::to_owned).collect(),
        extra,
    }
}

/// What impersonating a user needs, in the order in which it is asked.
fn needs(wanted: &UserInfo) -> Vec<Need> {
    let mut needs = Vec::new();
    match wanted.account() {
        Some((namespace, name)) => {
            let mut need = Need::new("", "serviceaccounts", name);
            need.namespace = namespace.to_owned();
            needs.push(need);
        }
        None => needs.push(Need::new("", "users", &wanted.name)),
    }
    needs.extend(wanted.groups.iter().map(|group| Need::new("", "groups", group)));
    for (key, values) in &wanted.extra {
        for value in values {
            let mut need = Need::new(AUTHENTICATION, "userextras", value);
            need.subresource.clone_from(key);
            needs.push(need);
        }
    }
    if !wanted.uid.is_empty() {
        needs.push(Need::new(AUTHENTICATION, "uids", &wanted.uid));
    }
    needs
}

/// Adds the groups that come with a name.
fn complete(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty() && user.name.starts_with(ACCOUNT_PREFIX) {
        user.groups =
            user.account().map(|(namespace, _)| account_groups(namespace)).unwrap_or_default();
    }
    if user.name == ANONYMOUS {
        if !user.is_in(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// The user as the original's message shows it.
fn go_syntax(user: &UserInfo) -> String {
    let list = |values: &[String]| {
        let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        format!("[]string{{{}}}", values.join(", "))
    };
    let groups =
        if user.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&user.groups) };
    let extra = if user.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let mut text = String::from("map[string][]string{");
        for (at, (key, values)) in user.extra.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(text, "{comma}{key:?}:{}", list(values)).expect("writing to a String");
        }
        text + "}"
    };
    let UserInfo { name, uid, .. } = user;
    format!("&user.DefaultInfo{{Name:{name:?}, UID:{uid:?}, Groups:{groups}, Extra:{extra}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_brings_its_groups_unless_groups_are_given() {
        let account = UserInfo::new("system:serviceaccount:a:b", &[]);
        let groups = complete(account).groups;
        assert_eq!(groups, ["system:serviceaccounts", "system:serviceaccounts:a", AUTHENTICATED]);
        let given = complete(UserInfo::new("system:serviceaccount:a:b", &["only"])).groups;
        assert_eq!(given, ["only", AUTHENTICATED]);
    }

    #[test]
    fn a_request_without_a_name_is_shown_as_it_was_meant() {
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-extra-K", "v".parse().expect("a header"));
        let text = go_syntax(&wanted(&headers));
        let extra = "map[string][]string{\"k\":[]string{\"v\"}}";
        let head = "&user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string(nil)";
        assert_eq!(text, format!("{head}, Extra:{extra}}}"));
    }
}
