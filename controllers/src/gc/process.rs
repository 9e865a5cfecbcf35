//! What becomes of one object: decided from the state of its owners, done with preconditions.

use super::graph::{Graph, Item, Owner};
use crate::{
    ctx::Ctx,
    error::{Doing, Error},
};
use client::{DeleteOptions, Partial, Patch, Propagation, events};
use http::Method;
use k8s_openapi::{
    api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use serde_json::json;

/// Finalizer of an owner whose dependents stay.
pub(super) const ORPHAN: &str = "orphan";
/// Finalizer of an owner whose dependents go first.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// What follows.
pub(super) enum Next {
    /// Nothing.
    Done,
    /// These are to be looked at.
    Also(Vec<Item>),
    /// An owner is of a kind that nobody serves: perhaps later.
    Unknown,
}

/// How an owner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It exists.
    Solid,
    /// It does not.
    Absent,
    /// It exists and waits for its dependents to go.
    Waiting,
}

/// What to do with an object.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// Nothing.
    Keep,
    /// Take away the references to these uids.
    Release(Vec<String>),
    /// Delete it.
    Delete(Propagation),
}

fn has_finalizer(object: &Partial, name: &str) -> bool {
    object.metadata.finalizers.iter().flatten().any(|one| one == name)
}

fn is_leaving(object: &Partial) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

/// Waits for its dependents to go.
pub(super) fn waits_for_dependents(object: &Partial) -> bool {
    is_leaving(object) && has_finalizer(object, FOREGROUND)
}

/// Whether there can be anything to do about an object by itself.
pub(super) fn is_of_interest(object: &Partial) -> bool {
    let owned = object.metadata.owner_references.as_ref().is_some_and(|all| !all.is_empty());
    owned && !is_leaving(object)
        || is_leaving(object)
            && (has_finalizer(object, FOREGROUND) || has_finalizer(object, ORPHAN))
}

/// Decides about an object that is not being deleted.
fn judge(owners: &[(String, State)], object: &Partial, has_dependents: bool) -> Verdict {
    let of = |state: State| {
        owners.iter().filter(move |(_, is)| *is == state).map(|(uid, _)| uid.clone())
    };
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if of(State::Solid).next().is_some() {
        let gone: Vec<String> = of(State::Absent).chain(of(State::Waiting)).collect();
        return if gone.is_empty() { Verdict::Keep } else { Verdict::Release(gone) };
    }
    if has_dependents && of(State::Waiting).next().is_some() {
        return Verdict::Delete(Propagation::Foreground);
    }
    Verdict::Delete(if has_finalizer(object, ORPHAN) {
        Propagation::Orphan
    } else if has_finalizer(object, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    })
}

/// Brings one object forward.
pub(super) async fn process(ctx: &Ctx, graph: &Graph, item: &Item) -> Result<Next, Error> {
    if is_safe(graph, item) {
        return Ok(Next::Done);
    }
    let live = ctx.client.request_as::<Partial>(Method::GET, &item.path(), None).await;
    let Some(object) = live.gone_is_done("look at the object")? else {
        return Ok(Next::Also(left_behind(graph, item)));
    };
    if object.metadata.uid.as_deref() != Some(&item.uid) {
        return Ok(Next::Also(left_behind(graph, item)));
    }
    if is_leaving(&object) {
        if has_finalizer(&object, ORPHAN) {
            return orphan(ctx, graph, item, &object).await;
        }
        if has_finalizer(&object, FOREGROUND) {
            return foreground(ctx, graph, item, &object).await;
        }
        return Ok(Next::Done);
    }
    let mut owners = Vec::new();
    for owner in object.metadata.owner_references.iter().flatten() {
        match state(ctx, graph, item, owner).await? {
            Some(state) => owners.push((owner.uid.clone(), state)),
            None => return Ok(Next::Unknown),
        }
    }
    let dependents = graph.dependents_of(&item.uid);
    match judge(&owners, &object, !dependents.is_empty()) {
        Verdict::Keep => Ok(Next::Done),
        Verdict::Release(gone) => {
            let keep = |owner: &&OwnerReference| !gone.contains(&owner.uid);
            let all = object.metadata.owner_references.iter().flatten();
            let left: Vec<OwnerReference> = all.filter(keep).cloned().collect();
            write_owners(ctx, item, &object, &left).await?;
            Ok(Next::Done)
        }
        Verdict::Delete(policy) => {
            // In a circle of owners everybody would wait for everybody: this one blocks nobody.
            let circle = dependents.iter().any(|(_, one)| waits_for_dependents(one));
            let mut object = object;
            if policy == Propagation::Foreground && circle {
                object = unblock(ctx, item, object).await?;
            }
            delete(ctx, item, &object, policy).await?;
            Ok(Next::Done)
        }
    }
}

/// Whether the caches show the object and all its owners alive: the usual case, which costs no
/// request. An owner that goes later brings its dependents back here.
fn is_safe(graph: &Graph, item: &Item) -> bool {
    let Some(object) = graph.cached(&item.resource, &item.namespace, &item.name) else {
        return false;
    };
    let lives = |owner: &OwnerReference| {
        let Owner::At(resource, namespace) = graph.resolve(&item.namespace, owner) else {
            return false;
        };
        graph.cached(&resource, &namespace, &owner.name).is_some_and(|one| {
            one.metadata.uid.as_deref() == Some(owner.uid.as_str()) && !is_leaving(&one)
        })
    };
    object.metadata.uid.as_deref() == Some(&item.uid)
        && !is_leaving(&object)
        && object.metadata.owner_references.iter().flatten().all(lives)
}

/// Dependents that the cache still shows of an object that is gone: they may be new.
fn left_behind(graph: &Graph, item: &Item) -> Vec<Item> {
    graph.remember_absent(&item.uid);
    graph.dependents_of(&item.uid).into_iter().map(|(item, _)| item).collect()
}

/// How an owner stands; `None` when its kind is not known.
async fn state(
    ctx: &Ctx,
    graph: &Graph,
    item: &Item,
    owner: &OwnerReference,
) -> Result<Option<State>, Error> {
    let (resource, namespace) = match graph.resolve(&item.namespace, owner) {
        Owner::Unknown => return Ok(None),
        Owner::Impossible => {
            tell_invalid(ctx, item, owner);
            return Ok(Some(State::Solid));
        }
        Owner::At(resource, namespace) => (resource, namespace),
    };
    let found = |one: &Partial| {
        let same = one.metadata.uid.as_deref() == Some(owner.uid.as_str());
        same.then(|| if waits_for_dependents(one) { State::Waiting } else { State::Solid })
    };
    if let Some(state) =
        graph.cached(&resource, &namespace, &owner.name).and_then(|one| found(&one))
    {
        return Ok(Some(state));
    }
    if graph.is_absent(&owner.uid) {
        return Ok(Some(State::Absent));
    }
    let path = resource.object(&namespace, &owner.name);
    let live = ctx.client.request_as::<Partial>(Method::GET, &path, None).await;
    let live = live.gone_is_done("look at the owner")?;
    if let Some(state) = live.as_ref().and_then(found) {
        return Ok(Some(state));
    }
    if graph.knows(&owner.uid) {
        // It exists, but elsewhere: for this object it is absent.
        let of_other_kind = live.is_some();
        if !of_other_kind {
            tell_invalid(ctx, item, owner);
        }
    } else {
        graph.remember_absent(&owner.uid);
    }
    Ok(Some(State::Absent))
}

/// Tells of a reference that crosses namespaces.
fn tell_invalid(ctx: &Ctx, item: &Item, owner: &OwnerReference) {
    let namespace = &item.namespace;
    let note = format!(
        "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace \
         \"{namespace}\"",
        owner.api_version, owner.kind, owner.name, owner.uid
    );
    let facts = api::facts::registry();
    let resource = &item.resource;
    let kind = facts.resource(&resource.group, &resource.version, &resource.plural);
    let group = if resource.group.is_empty() {
        resource.version.to_string()
    } else {
        format!("{}/{}", resource.group, resource.version)
    };
    let regarding = ObjectReference {
        api_version: Some(group),
        kind: Some(kind.map_or_else(|| resource.plural.to_string(), |one| one.kind.to_owned())),
        namespace: (!namespace.is_empty()).then(|| namespace.clone()),
        name: Some(item.name.clone()),
        uid: Some(item.uid.clone()),
        ..ObjectReference::default()
    };
    let reason = "OwnerRefInvalidNamespace";
    ctx.recorder.event(regarding, events::Type::Warning, reason, &note, "");
}

/// Takes the references away from all dependents, then lets the owner go.
async fn orphan(ctx: &Ctx, graph: &Graph, item: &Item, owner: &Partial) -> Result<Next, Error> {
    for (dependent, _) in graph.dependents_of(&item.uid) {
        let live = ctx.client.request_as::<Partial>(Method::GET, &dependent.path(), None).await;
        let Some(object) = live.gone_is_done("look at a dependent")? else { continue };
        if object.metadata.uid.as_deref() != Some(&dependent.uid) {
            continue;
        }
        let all = object.metadata.owner_references.iter().flatten();
        let left: Vec<OwnerReference> = all.filter(|one| one.uid != item.uid).cloned().collect();
        write_owners(ctx, &dependent, &object, &left).await?;
    }
    remove_finalizer(ctx, item, owner, ORPHAN).await?;
    Ok(Next::Done)
}

/// Lets the owner go once no dependent blocks it; until then makes sure that all of them go.
async fn foreground(ctx: &Ctx, graph: &Graph, item: &Item, owner: &Partial) -> Result<Next, Error> {
    let dependents = graph.dependents_of(&item.uid);
    let blocks = |object: &Partial| {
        let owners = object.metadata.owner_references.iter().flatten();
        let mut ours = owners.filter(|owner| owner.uid == item.uid);
        ours.any(|owner| owner.block_owner_deletion == Some(true))
    };
    if !dependents.iter().any(|(_, object)| blocks(object)) {
        remove_finalizer(ctx, item, owner, FOREGROUND).await?;
        return Ok(Next::Also(dependents.into_iter().map(|(item, _)| item).collect()));
    }
    let going = dependents.into_iter().filter(|(_, object)| !is_leaving(object));
    Ok(Next::Also(going.map(|(item, _)| item).collect()))
}

/// Writes an object's owner references, unless it changed meanwhile.
async fn write_owners(
    ctx: &Ctx,
    item: &Item,
    object: &Partial,
    owners: &[OwnerReference],
) -> Result<(), Error> {
    let body = json!({"metadata": {
        "uid": item.uid,
        "resourceVersion": object.metadata.resource_version,
        "ownerReferences": (!owners.is_empty()).then_some(owners),
    }});
    let sent = ctx.client.patch_path(&item.path(), &Patch::Merge(body)).await;
    sent.gone_is_done("write the owner references")?;
    Ok(())
}

/// Makes an object block none of its owners.
async fn unblock(ctx: &Ctx, item: &Item, mut object: Partial) -> Result<Partial, Error> {
    let mut owners = object.metadata.owner_references.clone().unwrap_or_default();
    for owner in &mut owners {
        owner.block_owner_deletion = Some(false);
    }
    write_owners(ctx, item, &object, &owners).await?;
    let live = ctx.client.request_as::<Partial>(Method::GET, &item.path(), None).await;
    if let Some(live) = live.gone_is_done("look at the object again")? {
        object = live;
    }
    Ok(object)
}

async fn remove_finalizer(
    ctx: &Ctx,
    item: &Item,
    object: &Partial,
    finalizer: &str,
) -> Result<(), Error> {
    let all = object.metadata.finalizers.iter().flatten();
    let left: Vec<&String> = all.filter(|one| one.as_str() != finalizer).collect();
    let body = json!({"metadata": {
        "uid": item.uid,
        "resourceVersion": object.metadata.resource_version,
        "finalizers": (!left.is_empty()).then_some(left),
    }});
    let sent = ctx.client.patch_path(&item.path(), &Patch::Merge(body)).await;
    sent.gone_is_done("take the finalizer away")?;
    Ok(())
}

async fn delete(
    ctx: &Ctx,
    item: &Item,
    object: &Partial,
    policy: Propagation,
) -> Result<(), Error> {
    let options = DeleteOptions {
        uid: Some(item.uid.clone()),
        resource_version: object.metadata.resource_version.clone(),
        propagation_policy: Some(policy),
        ..DeleteOptions::default()
    };
    let sent = ctx.client.delete_of(&item.resource, &item.namespace, &item.name, &options).await;
    sent.gone_is_done("delete a dependent")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;

    fn verdict(states: &[State], over: serde_json::Value, dependents: bool) -> Verdict {
        let owners: Vec<(String, State)> =
            states.iter().enumerate().map(|(i, state)| (format!("u{i}"), *state)).collect();
        judge(&owners, &object(json!({"metadata": over})), dependents)
    }

    #[test]
    fn an_object_goes_with_its_last_owner() {
        use State::{Absent, Solid, Waiting};
        let plain = json!({});
        assert_eq!(verdict(&[], plain.clone(), false), Verdict::Keep);
        assert_eq!(verdict(&[Solid], plain.clone(), false), Verdict::Keep);
        let background = Verdict::Delete(Propagation::Background);
        assert_eq!(verdict(&[Absent], plain.clone(), true), background);
        assert_eq!(verdict(&[Waiting], plain.clone(), false), background);
        let foreground = Verdict::Delete(Propagation::Foreground);
        assert_eq!(verdict(&[Waiting], plain.clone(), true), foreground);
        let release = Verdict::Release(vec!["u1".into()]);
        assert_eq!(verdict(&[Solid, Absent], plain.clone(), false), release);
        assert_eq!(verdict(&[Solid, Waiting], plain, false), release);
        let orphan = Verdict::Delete(Propagation::Orphan);
        assert_eq!(verdict(&[Absent], json!({"finalizers": [ORPHAN]}), false), orphan);
    }
}
