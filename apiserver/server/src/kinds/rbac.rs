//! Roles and bindings: nobody grants what they don't have, and a binding keeps its role.

use api::status::{FieldError, Status};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::access::escalation::Grant;
use crate::fields;
use crate::strategy::{Change, Ctx, Rules, Strategy};

/// The strategy of roles.
pub struct Role;
/// The strategy of bindings.
pub struct Binding;

const RULES: Rules = Rules { create_on_update: true, ..Rules::DEFAULT };

fn check<'a>(ctx: &'a Ctx<'a>, change: Change<'a>) -> BoxFuture<'a, Result<(), Status>> {
    let Change { new, old, .. } = change;
    Box::pin(async move {
        let Some(new) = new else { return Ok(()) };
        let grant = Grant {
            user: ctx.user,
            resource: ctx.kind.resource.plural,
            namespace: fields::text(new, "/metadata/namespace"),
            new,
            old,
        };
        ctx.server.access.check_grant(&grant).await
    })
}

impl Strategy for Role {
    fn rules(&self) -> Rules {
        RULES
    }

    fn effects<'a>(
        &'a self,
        ctx: &'a Ctx<'a>,
        change: Change<'a>,
    ) -> BoxFuture<'a, Result<(), Status>> {
        check(ctx, change)
    }
}

impl Strategy for Binding {
    fn rules(&self) -> Rules {
        RULES
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let changed = old.is_some_and(|old| old.get("roleRef") != object.get("roleRef"));
        if !changed {
            return Vec::new();
        }
        let text = |path: &str| fields::text(object, path).to_owned();
        let shown = json!({"APIGroup": text("/roleRef/apiGroup"), "Kind": text("/roleRef/kind"),
            "Name": text("/roleRef/name")});
        vec![FieldError::invalid("roleRef", shown, "field is immutable")]
    }

    fn effects<'a>(
        &'a self,
        ctx: &'a Ctx<'a>,
        change: Change<'a>,
    ) -> BoxFuture<'a, Result<(), Status>> {
        check(ctx, change)
    }
}
