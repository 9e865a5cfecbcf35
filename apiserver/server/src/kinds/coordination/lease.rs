//! Leases: whenever the holder or the number of transitions changes, the fence key changes with it in the same
//! transaction, so that a write fenced by an older term can't be committed any more.

use api::status::Status;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::fence;
use crate::fields;
use crate::sessions;
use crate::storage::{Txn, keys};
use crate::strategy::{Change, Ctx, Rules, Strategy};

/// Node heartbeats: many, and never a fence.
const HEARTBEATS: &str = "kube-node-lease";

/// The strategy.
pub struct Lease;

impl Strategy for Lease {
    fn rules(&self) -> Rules {
        Rules { create_on_update: true, unconditional_update: false, ..Rules::DEFAULT }
    }

    fn effects<'a>(
        &'a self,
        ctx: &'a Ctx<'a>,
        change: Change<'a>,
    ) -> BoxFuture<'a, Result<(), Status>> {
        let Change { new, old, txn } = change;
        let new = new.as_deref();
        let Some(object) = new.or(old) else { return Box::pin(std::future::ready(Ok(()))) };
        let namespace = fields::text(object, "/metadata/namespace");
        if namespace != HEARTBEATS {
            let name = fields::text(object, "/metadata/name");
            session(ctx, namespace, name, new, txn);
            let key = keys::fence(namespace, name);
            match new.map(term) {
                None => txn.deletes.push(key),
                Some(term) if old.map(self::term) != Some(term.clone()) => {
                    txn.puts.push((key, term.into(), 0));
                }
                Some(_) => {}
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Binds the Lease to the session of its holder's process, if the holder asks for it; a Lease that is given up
/// loses its bond. Without a session the Lease works by time alone until the next renewal.
fn session(ctx: &Ctx<'_>, namespace: &str, name: &str, new: Option<&Value>, txn: &mut Txn) {
    if ctx.headers.get(sessions::HEADER).is_none_or(|value| value != "true") {
        return;
    }
    let sessions = &ctx.server.sessions;
    match new.filter(|lease| !fields::text(lease, "/spec/holderIdentity").is_empty()) {
        Some(lease) => {
            if let Err(error) = sessions.bind(namespace, name, &term(lease), txn) {
                tracing::debug!(%error, name, "lease not bound to a session");
            }
        }
        None => sessions.unbind(namespace, name, txn),
    }
}

/// What the fence key holds for a Lease.
fn term(lease: &Value) -> String {
    let transitions = fields::integer(lease, "/spec/leaseTransitions").unwrap_or(0);
    fence::term(fields::text(lease, "/spec/holderIdentity"), transitions)
}
