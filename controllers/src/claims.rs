//! Which objects belong to a controller: those it owns and selects, those it adopts, those it lets
//! go.
//!
//! *Adopt*: an object that is selected and that nobody controls gets a reference to the controller.
//! *Release*: an object that is controlled but no longer selected loses it. An object that another
//! controls is left alone.

use crate::{
    ctx::{Ctx, Key, controller_of},
    error::{Doing, Error},
    owners,
    selector::Selector,
};
use client::{Kind, Patch};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use std::sync::Arc;

/// What to do about one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It belongs to the controller.
    Keep,
    /// It should belong to the controller.
    Adopt,
    /// It should no longer.
    Release,
    /// It does not concern the controller.
    Ignore,
}

/// Decides about one object for the controller with this uid.
pub(crate) fn decide(object: &ObjectMeta, uid: &str, deleted: bool, selector: &Selector) -> Claim {
    let selected = selector.matches(object.labels.as_ref());
    match owners::controller(object) {
        Some(owner) if owner.uid != uid => Claim::Ignore,
        Some(_) if selected => Claim::Keep,
        Some(_) if deleted => Claim::Ignore,
        Some(_) => Claim::Release,
        None if selected && !deleted && object.deletion_timestamp.is_none() => Claim::Adopt,
        None => Claim::Ignore,
    }
}

/// The objects of `all` that belong to `owner` after adopting and releasing. `accept` can refuse
/// objects that the selector would take.
pub(crate) async fn claim<O: Kind, K: Kind>(
    ctx: &Ctx,
    key: &Key,
    owner: &O,
    selector: &Selector,
    all: Vec<Arc<K>>,
) -> Result<Vec<Arc<K>>, Error> {
    let uid = owner.metadata().uid.clone().unwrap_or_default();
    let deleted = owner.metadata().deletion_timestamp.is_some();
    let mut mine = Vec::with_capacity(all.len());
    let mut may_adopt = None;
    for object in all {
        match decide(object.metadata(), &uid, deleted, selector) {
            Claim::Keep => mine.push(object),
            Claim::Ignore => {}
            Claim::Release => release(ctx, key, &uid, &*object).await?,
            Claim::Adopt => {
                let may = match may_adopt {
                    Some(may) => may,
                    None => *may_adopt.insert(still_there(ctx, owner).await?),
                };
                if may && let Some(object) = adopt(ctx, key, owner, &*object).await? {
                    mine.push(Arc::new(object));
                }
            }
        }
    }
    Ok(mine)
}

/// Asks the API server, not the cache, whether the controller exists: one that is being deleted
/// must not adopt.
async fn still_there<O: Kind>(ctx: &Ctx, owner: &O) -> Result<bool, Error> {
    let at = Key::of(owner);
    let fresh = ctx.client.get::<O>(&at.namespace, &at.name).await;
    let fresh = fresh.gone_is_done("look whether the adopter still exists")?;
    Ok(fresh.is_some_and(|fresh| {
        fresh.metadata().uid == owner.metadata().uid
            && fresh.metadata().deletion_timestamp.is_none()
    }))
}

async fn adopt<O: Kind, K: Kind>(
    ctx: &Ctx,
    key: &Key,
    owner: &O,
    object: &K,
) -> Result<Option<K>, Error> {
    let body = json!({"metadata": {
        "uid": object.metadata().uid, "ownerReferences": [controller_of(owner)]}});
    ctx.patch::<K>(key, &Key::of(object), Patch::Strategic(body)).await
}

async fn release<K: Kind>(ctx: &Ctx, key: &Key, uid: &str, object: &K) -> Result<(), Error> {
    let body = json!({"metadata": {
        "uid": object.metadata().uid,
        "ownerReferences": [{"$patch": "delete", "uid": uid}]}});
    ctx.patch::<K>(key, &Key::of(object), Patch::Strategic(body)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};
    use serde_json::json;

    #[test]
    fn adoption_and_release_follow_owner_and_labels() {
        let selector = object(json!({"matchLabels": {"a": "b"}}));
        let selector = Selector::compile(Some(&selector));
        let owner = |uid: &str| {
            json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid,
            "controller": true}])
        };
        let case = |labels, owners, deleted| {
            let pod = pod("p", json!({"metadata": {"labels": labels, "ownerReferences": owners}}));
            decide(&pod.metadata, "me", deleted, &selector)
        };
        let (mine, others) = (json!({"a": "b"}), json!({"a": "c"}));
        assert_eq!(case(mine.clone(), owner("me"), false), Claim::Keep);
        assert_eq!(case(mine.clone(), owner("you"), false), Claim::Ignore);
        assert_eq!(case(others.clone(), owner("me"), false), Claim::Release);
        assert_eq!(case(others.clone(), owner("me"), true), Claim::Ignore);
        assert_eq!(case(mine.clone(), json!([]), false), Claim::Adopt);
        assert_eq!(case(mine, json!([]), true), Claim::Ignore);
        assert_eq!(case(others, json!([]), false), Claim::Ignore);
    }
}
