//! Cluster roles whose rules are the union of those that their selectors choose.

use crate::{
    ctx::{Action, Ctx, Key},
    error::Error,
    manager::{Controller, Kind},
    selector::Selector,
    watch::Watch,
};
use client::Patch;
use k8s_openapi::{
    Resource,
    api::rbac::v1::{ClusterRole, PolicyRule},
};
use serde_json::json;
use std::sync::Arc;

/// Who owns the rules.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "clusterrole-aggregation-controller",
    component: "clusterrole-aggregation-controller",
    account: Some("clusterrole-aggregation-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    // Any role may be part of any that aggregates.
    watch.maps::<ClusterRole>(|ctx, role| {
        let all = ctx.cache::<ClusterRole>().list();
        let others = all.iter().filter(|one| one.aggregation_rule.is_some());
        let mut keys: Vec<Key> = others.map(|one| Key::of(&**one)).collect();
        if role.aggregation_rule.is_some() {
            keys.push(Key::of(role));
        }
        keys
    });
}

/// The rules that a role should have, without doubles, in the order of the names of the roles they
/// are from.
fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?;
    let mut order: Vec<&Arc<ClusterRole>> = all.iter().collect();
    order.sort_by(|one, two| one.metadata.name.cmp(&two.metadata.name));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let selector = Selector::compile(Some(selector));
        let chosen = order.iter().filter(|one| {
            one.metadata.name != role.metadata.name
                && selector.matches(one.metadata.labels.as_ref())
        });
        for rule in chosen.flat_map(|one| one.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    (role.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let roles = ctx.cache::<ClusterRole>();
    let Some(role) = roles.get("", &key.name) else { return Ok(Action::Done) };
    if let Some(rules) = plan(&role, &roles.list()) {
        // Applied, not written: as long as no role is chosen, the rules are whoever wrote them.
        let mut object = json!({"apiVersion": ClusterRole::API_VERSION, "kind": ClusterRole::KIND,
            "metadata": {"name": key.name}});
        if !rules.is_empty() {
            object["rules"] = json!(rules);
        }
        let patch = Patch::Apply { manager: MANAGER.into(), force: true, object };
        ctx.patch::<ClusterRole>(&key, &key, patch).await?;
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;

    #[test]
    fn rules_are_united_without_doubles() {
        let part = |name: &str, verb: &str| -> Arc<ClusterRole> {
            Arc::new(object(json!({"metadata": {"name": name, "labels": {"to": "x"}},
                "rules": [{"verbs": ["get"]}, {"verbs": [verb]}]})))
        };
        let whole: ClusterRole = object(json!({"metadata": {"name": "x"},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "x"}}]}}));
        let all = [part("b", "list"), part("a", "watch")];
        let rules = plan(&whole, &all).expect("changed");
        let verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "watch", "list"]);
    }
}
