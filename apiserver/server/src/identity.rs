//! Who a request comes from, after authentication and impersonation.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Group of everybody who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of those who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of those who did not.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group that may do anything.
pub const MASTERS: &str = "system:masters";
/// Group of all node agents.
pub const NODES: &str = "system:nodes";
/// What a node agent's name begins with.
pub const NODE_PREFIX: &str = "system:node:";
/// What a ServiceAccount's name begins with.
pub const ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// Name.
    pub name: String,
    /// Unique id; may be empty.
    pub uid: String,
    /// Groups, in the order in which they were given.
    pub groups: Vec<String>,
    /// What else is known.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user of this name in these groups.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Self { name: name.to_owned(), groups, ..Self::default() }
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, &[UNAUTHENTICATED])
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The user with the group of those who proved who they are.
    pub fn authenticated(mut self) -> Self {
        if !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// The node that this user is the agent of.
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_PREFIX)?;
        (self.is_in(NODES) && !name.is_empty()).then_some(name)
    }

    /// Namespace and name of the ServiceAccount that this user is.
    pub fn account(&self) -> Option<(&str, &str)> {
        split_account(&self.name)
    }

    /// As review objects show it.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        if !self.name.is_empty() {
            map.insert("username".into(), self.name.as_str().into());
        }
        if !self.uid.is_empty() {
            map.insert("uid".into(), self.uid.as_str().into());
        }
        if !self.groups.is_empty() {
            map.insert("groups".into(), json!(self.groups));
        }
        if !self.extra.is_empty() {
            map.insert("extra".into(), json!(self.extra));
        }
        Value::Object(map)
    }
}

/// Namespace and name of a ServiceAccount's user name, if both are valid.
pub fn split_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(ACCOUNT_PREFIX)?.split_once(':')?;
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    (plain(namespace) && plain(name) && !namespace.contains('.')).then_some((namespace, name))
}

/// Groups that every ServiceAccount of a namespace is in.
pub fn account_groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_names_are_accounts() {
        assert_eq!(split_account("system:serviceaccount:a:b"), Some(("a", "b")));
        assert_eq!(split_account("system:serviceaccount:a:Bad_Name"), None);
        assert_eq!(split_account("system:serviceaccount:broken"), None);
        assert_eq!(split_account("alice"), None);
    }

    #[test]
    fn a_node_needs_its_group() {
        assert_eq!(UserInfo::new("system:node:n", &[NODES]).node(), Some("n"));
        assert_eq!(UserInfo::new("system:node:n", &[]).node(), None);
    }
}
