//! The one store transaction of a write: the object, what its kind adds, and the fence of the writer.

use api::status::Status;
use bytes::Bytes;
use serde_json::Value;

use super::Call;
use crate::document;
use crate::fence;
use crate::storage::{Compare, Outcome, Txn};
use crate::strategy::{Change, Ctx};

/// What became of a write.
pub enum Committed {
    /// Stored, at this revision.
    Stored {
        /// The bytes as stored.
        value: Bytes,
        /// The revision.
        revision: i64,
    },
    /// Somebody was faster on the object itself.
    Moved,
    /// Somebody was faster on something that the kind added, such as an address.
    Busy,
}

/// What to write.
pub struct Write<'a> {
    /// The object's key.
    pub key: Bytes,
    /// The object as it will be; `None` is a deletion.
    pub new: Option<&'a mut Value>,
    /// The object as it was.
    pub old: Option<&'a Value>,
    /// The revision it was read at; 0 is "not there".
    pub revision: i64,
    /// The store lease it had.
    pub lease: i64,
    /// What else belongs into the transaction.
    pub with: Option<Txn>,
}

/// Writes an object, or removes it.
pub async fn commit(call: &Call, ctx: &Ctx<'_>, write: Write<'_>) -> Result<Committed, Status> {
    let Write { key, mut new, old, revision, lease, with } = write;
    let mut txn = Txn::default();
    txn.compares.push(Compare::Revision(key.clone(), revision));
    let fenced = fence::compare(&call.headers)?;
    let fences = usize::from(fenced.is_some());
    txn.compares.extend(fenced);
    if let Some(with) = with {
        txn.compares.extend(with.compares);
        txn.puts.extend(with.puts);
        txn.deletes.extend(with.deletes);
    }
    let change = Change { new: new.as_deref_mut(), old, txn: &mut txn };
    ctx.kind.strategy.effects(ctx, change).await?;
    let value = new.as_deref().map(document::encode);
    match &value {
        Some(value) => {
            let lease = store_lease(call, ctx, old, lease).await?;
            txn.puts.push((key, value.clone(), lease));
        }
        None => txn.deletes.push(key),
    }
    if ctx.dry_run {
        return Ok(Committed::Stored { value: value.unwrap_or_default(), revision });
    }
    let outcome = call.server.storage.txn(txn.clone()).await?;
    match outcome {
        Outcome::Committed(revision) => {
            Ok(Committed::Stored { value: value.unwrap_or_default(), revision })
        }
        Outcome::Failed(current) => {
            let holds = |at: usize| match &txn.compares[at] {
                Compare::Revision(_, wanted) => {
                    current[at].as_ref().map_or(0, |item| item.revision) == *wanted
                }
                Compare::Value(_, wanted) => {
                    current[at].as_ref().is_some_and(|item| item.value == *wanted)
                }
            };
            if fences == 1 && !holds(1) {
                return Err(fence::broken(&call.headers));
            }
            Ok(if holds(0) { Committed::Busy } else { Committed::Moved })
        }
    }
}

/// The store lease of an object: kinds that end by themselves get one when they are made, and keep it.
async fn store_lease(
    call: &Call,
    ctx: &Ctx<'_>,
    old: Option<&Value>,
    lease: i64,
) -> Result<i64, Status> {
    match ctx.kind.strategy.rules().ttl {
        Some(seconds) if old.is_none() && !ctx.dry_run => {
            Ok(call.server.storage.lease(seconds).await?)
        }
        _ => Ok(lease),
    }
}
