//! Service accounts: every namespace has one called `default`.

use crate::{
    apps::replicas::in_terminating_namespace,
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::sync::Arc;

/// The account that every namespace has.
const DEFAULT: &str = "default";

/// The controller. Its keys are namespaces.
pub(crate) const DEF: Controller = Controller {
    name: "serviceaccount-controller",
    component: "serviceaccount-controller",
    account: Some("service-account-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.own::<Namespace>();
    watch.changes::<ServiceAccount>(|_, old, new| match (old, new) {
        (Some(gone), None) => {
            let meta = &gone.metadata;
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            vec![Key::new("", namespace)]
        }
        _ => Vec::new(),
    });
}

/// Whether a namespace is one to put things into.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

/// The account to make, if any.
fn plan(namespace: &Namespace, there: bool) -> Option<ServiceAccount> {
    (is_active(namespace) && !there).then(|| ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT.into()),
            namespace: namespace.metadata.name.clone(),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    })
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(namespace) = ctx.cache::<Namespace>().get("", &key.name) else {
        return Ok(Action::Done);
    };
    let there = ctx.cache::<ServiceAccount>().get(&key.name, DEFAULT).is_some();
    if let Some(account) = plan(&namespace, there) {
        match ctx.create(&key, &account).await {
            Err(error) if error.is_already_exists() || error.is_not_found() => {}
            Err(error) if in_terminating_namespace(&error) => {
                tracing::debug!(namespace = key.name, "no account: the namespace goes away");
            }
            made => {
                made.doing("make the default service account")?;
            }
        }
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn only_living_namespaces_get_an_account() {
        let living = object(json!({"metadata": {"name": "n"}}));
        assert!(plan(&living, false).is_some());
        assert!(plan(&living, true).is_none());
        let leaving =
            object(json!({"metadata": {"name": "n"}, "status": {"phase": "Terminating"}}));
        assert!(plan(&leaving, false).is_none());
    }
}
