//! Nobody may hand out rights that they don't have: checked when roles and bindings are written.

use api::status::Status;
use serde_json::Value;

use super::rbac::GROUP;
use super::rules::Rule;
use super::{Access, Attributes};
use crate::fields;
use crate::identity::UserInfo;

/// A role or binding about to be written.
pub struct Grant<'a> {
    /// Who writes.
    pub user: &'a UserInfo,
    /// `roles`, `clusterroles`, `rolebindings`, `clusterrolebindings`.
    pub resource: &'a str,
    /// Its namespace; empty is the cluster.
    pub namespace: &'a str,
    /// As it will be.
    pub new: &'a Value,
    /// As it was.
    pub old: Option<&'a Value>,
}

impl Access {
    /// Refuses a grant of rights that the writer lacks.
    pub async fn check_grant(&self, grant: &Grant<'_>) -> Result<(), Status> {
        match grant.resource {
            "roles" | "clusterroles" => self.check_role(grant).await,
            "rolebindings" | "clusterrolebindings" => self.check_binding(grant).await,
            _ => Ok(()),
        }
    }

    async fn check_role(&self, grant: &Grant<'_>) -> Result<(), Status> {
        let Grant { user, resource, namespace, new, old } = *grant;
        let part = |path: &str| (new.pointer(path), old.and_then(|old| old.pointer(path)));
        let (rules, old_rules) = part("/rules");
        let (aggregation, old_aggregation) = part("/aggregationRule");
        if old.is_some() && rules == old_rules && aggregation == old_aggregation {
            return Ok(());
        }
        let name = fields::text(new, "/metadata/name");
        if self.may(user, "escalate", resource, namespace, name).await {
            return Ok(());
        }
        let aggregates = aggregation.is_some_and(|rule| !rule.is_null());
        if aggregates && !self.is_all_powerful(user).await {
            let text = "must have cluster-admin privileges to use the aggregationRule";
            return Err(Status::forbidden(GROUP, resource, name, text));
        }
        self.check_rules(grant, &Rule::all(new))
    }

    async fn check_binding(&self, grant: &Grant<'_>) -> Result<(), Status> {
        let Grant { user, resource, namespace, new, old } = *grant;
        if old.is_some_and(|old| {
            old.get("roleRef") == new.get("roleRef") && old.get("subjects") == new.get("subjects")
        }) {
            return Ok(());
        }
        let (kind, role) = (fields::text(new, "/roleRef/kind"), fields::text(new, "/roleRef/name"));
        let roles = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
        if self.may(user, "bind", roles, namespace, role).await {
            return Ok(());
        }
        match self.rbac.role(kind, namespace, role) {
            Some(rules) => self.check_rules(grant, &rules),
            None if user.is_in(crate::identity::MASTERS) => Ok(()),
            None => Err(Status::not_found(GROUP, resource, role)),
        }
    }

    /// Refuses rules that the writer does not hold.
    fn check_rules(&self, grant: &Grant<'_>, wanted: &[Rule]) -> Result<(), Status> {
        let Grant { user, resource, namespace, new, .. } = *grant;
        let (held, errors) = self.rbac.rules(user, namespace);
        let mut missing: Vec<String> = wanted
            .iter()
            .flat_map(Rule::pieces)
            .filter_map(|piece| Rule::missing(&piece, &held))
            .map(|rule| rule.compact())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort();
        missing.dedup();
        let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
        let mut text = format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            groups.join(" "),
            missing.join("\n")
        );
        if !errors.is_empty() {
            text = format!("{text}; resolution errors: [{}]", errors.join(", "));
        }
        Err(Status::forbidden(GROUP, resource, fields::text(new, "/metadata/name"), &text))
    }

    async fn may(&self, user: &UserInfo, verb: &str, resource: &str, ns: &str, name: &str) -> bool {
        let wanted = Attributes {
            verb,
            is_resource: true,
            group: GROUP,
            resource,
            namespace: ns,
            name,
            ..Attributes::default()
        };
        self.decide(user, &wanted).await.allowed
    }

    /// Whether a user may do everything with everything.
    async fn is_all_powerful(&self, user: &UserInfo) -> bool {
        let resources = Attributes {
            verb: "*",
            is_resource: true,
            group: "*",
            resource: "*",
            ..Attributes::default()
        };
        let paths = Attributes { verb: "*", path: "*", ..Attributes::default() };
        self.decide(user, &resources).await.allowed && self.decide(user, &paths).await.allowed
    }
}
