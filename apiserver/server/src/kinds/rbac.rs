//! Roles and bindings: nobody grants what they don't have.

use api::status::Status;
use futures::future::BoxFuture;

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

    fn effects<'a>(
        &'a self,
        ctx: &'a Ctx<'a>,
        change: Change<'a>,
    ) -> BoxFuture<'a, Result<(), Status>> {
        check(ctx, change)
    }
}
