//! ServiceAccounts: of the secrets that they name, only the names count.

use serde_json::{Value, json};

use crate::fields;
use crate::strategy::{Ctx, Rules, Strategy};

/// The annotation that limits which secrets Pods may mount.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// The strategy.
pub struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn rules(&self) -> Rules {
        Rules { returns_deleted: true, ..Rules::DEFAULT }
    }

    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        names_only(object);
    }

    fn prepare_update(&self, _ctx: &Ctx<'_>, object: &mut Value, _old: &Value) {
        names_only(object);
    }

    fn warnings(&self, _ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        let has = |object: &Value| {
            let annotations = object.pointer("/metadata/annotations");
            annotations.is_some_and(|all| all.get(ENFORCE).is_some())
        };
        if !has(object) || old.is_some_and(has) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate \
             access to mounted secrets"
        )]
    }
}

fn names_only(object: &mut Value) {
    for secret in fields::list_mut(object, "/secrets") {
        let name = fields::text(secret, "/name").to_owned();
        *secret = if name.is_empty() { json!({}) } else { json!({"name": name}) };
    }
}
