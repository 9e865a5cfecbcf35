//! DELETE: an object goes at once, or is marked and goes when its grace and its finalizers are over.

use api::codec::{ContentType, Strictness, TypeMeta};
use api::facts::{Gvk, registry};
use api::status::Status;
use serde_json::Value;

use super::commit::{self, Committed, Write};
use super::delete_options::DeleteOptions;
use super::update::{conflict, stored};
use super::{Answer, Call, Payload, input};
use crate::admission::{self, Operation};
use crate::document;
use crate::fields;
use crate::negotiate::content_type;
use crate::storage::{Item, Txn};
use crate::strategy::Ctx;

/// Attempts to meet the latest version.
const ATTEMPTS: usize = 16;
/// Finalizer that makes dependents lose their owner first.
const ORPHAN: &str = "orphan";
/// Finalizer that makes dependents go first.
const FOREGROUND: &str = "foregroundDeletion";

/// What is left after a deletion.
pub struct Deleted {
    /// The object as it last was.
    pub object: Value,
    /// Whether it is gone.
    pub gone: bool,
}

/// Deletes one object.
pub async fn delete(call: &Call) -> Result<Answer, Status> {
    let options = options(call)?;
    warn_of_orphans(call, &options);
    let name = call.info.name.clone();
    let deleted = remove(call, &name, &options).await?;
    let rules = call.kind.strategy.rules();
    if !deleted.gone || rules.returns_deleted {
        return Ok(Answer::object(deleted.object));
    }
    let resource = &call.kind.resource;
    let uid = fields::text(&deleted.object, "/metadata/uid");
    let status = Status::deleted(resource.group, resource.plural, &name, uid);
    Ok(Answer { code: 200, payload: Payload::Status(Box::new(status)) })
}

/// Jobs leave their Pods behind unless told otherwise, which surprises people.
pub fn warn_of_orphans(call: &Call, options: &DeleteOptions) {
    if call.kind.is("batch", "jobs") && options.policy.is_none() && options.orphan.is_none() {
        call.warn(
            "child pods are preserved by default when jobs are deleted; set \
             propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress \
             this warning",
        );
    }
}

/// The options: the body if there is one, else the query.
pub fn options(call: &Call) -> Result<DeleteOptions, Status> {
    let options = if call.body.is_empty() {
        DeleteOptions::from_query(&call.info.query)?
    } else {
        DeleteOptions::from_body(&decode(call)?)?
    };
    options.check()?;
    Ok(options)
}

/// Reads a body of DeleteOptions; unknown fields and versions don't matter.
fn decode(call: &Call) -> Result<Value, Status> {
    let media = content_type(&call.headers);
    let content =
        ContentType::from_media_type(&media).ok_or_else(|| input::unsupported(&media, true))?;
    let gvk = Gvk { group: "meta.k8s.io", version: "v1", kind: "DeleteOptions" };
    if content == ContentType::Protobuf {
        let ty = registry().kind(gvk.group, gvk.version, gvk.kind);
        let ty =
            ty.or_else(|| registry().find("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"));
        let ty = ty.ok_or_else(|| Status::internal("no type for DeleteOptions"))?;
        let decoded = api::codec::decode(ty, &call.body, content, Strictness::Ignore);
        return decoded.map(|d| d.value).map_err(|error| Status::bad_request(&error.to_string()));
    }
    let unreadable = |error: api::codec::Error| Status::bad_request(&error.to_string());
    let meta = api::codec::peek(&call.body, content).map_err(unreadable)?;
    if !matches!(meta.kind.as_str(), "" | "DeleteOptions") {
        let TypeMeta { api_version, kind } = meta;
        let text = format!("no kind {kind:?} is registered for version {api_version:?} in scheme");
        return Err(Status::bad_request(&format!("{text} \"pkg/runtime/scheme.go:111\"")));
    }
    let (value, _) = api::codec::parse(&call.body, content).map_err(unreadable)?;
    Ok(value)
}

/// Deletes the object of this name.
pub async fn remove(call: &Call, name: &str, options: &DeleteOptions) -> Result<Deleted, Status> {
    let ctx = call.ctx(options.is_dry_run());
    let key = call.key(call.namespace(), name);
    let mut admitted = false;
    let mut options = options.clone();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            call.server.storage.barrier().await?;
        }
        let mut item = call.server.storage.get(&key).await?.item;
        if item.is_none() && attempt == 0 {
            call.server.storage.barrier().await?;
            item = call.server.storage.get(&key).await?.item;
        }
        let resource = &call.kind.resource;
        let missing = || Status::not_found(resource.group, resource.plural, name);
        let item = item.ok_or_else(missing)?;
        let old = stored(call, &item)?;
        check_preconditions(call, name, &old, &options)?;
        if options.ignore_read_errors {
            return Err(readable(call, name, &item));
        }
        if !admitted {
            let dry_run = ctx.dry_run;
            admission::mutate(call, Operation::Delete, None, Some(&old), dry_run).await?;
            admission::validate(call, Operation::Delete, None, Some(&old), dry_run).await?;
            admitted = true;
        }
        ctx.kind.strategy.check_delete(&ctx, &old)?;
        let attempt = Attempt { item: &item, old: &old, base: &old, options: &options, with: None };
        match self::attempt(call, &ctx, attempt).await? {
            Attempted::Deleted(deleted) => return Ok(deleted),
            // The revision that the client knows was the one before our own mark.
            Attempted::Marked => options.revision = None,
            Attempted::Moved => {}
        }
    }
    Err(conflict(call))
}

/// 409: an unsafe deletion is for objects that can't be read, and this one can.
fn readable(call: &Call, name: &str, item: &Item) -> Status {
    let key = String::from_utf8_lossy(&item.key);
    let resource = &call.kind.resource;
    let text = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
         unsafe deletion is not allowed because the object is decodable from storage"
    );
    Status::conflict(resource.group, resource.plural, name, &text)
}

/// One attempt at a deletion.
pub struct Attempt<'a> {
    /// The object as it is stored.
    pub item: &'a Item,
    /// The same as a tree.
    pub old: &'a Value,
    /// What the deletion begins with: the old object, perhaps with a note why it goes.
    pub base: &'a Value,
    /// How the deletion is meant.
    pub options: &'a DeleteOptions,
    /// What else belongs into the transaction.
    pub with: Option<Txn>,
}

/// What an attempt came to.
pub enum Attempted {
    /// It is done.
    Deleted(Deleted),
    /// The object was marked and is to go at once: another attempt takes it away.
    Marked,
    /// Somebody was faster.
    Moved,
}

/// One attempt.
pub async fn attempt(
    call: &Call,
    ctx: &Ctx<'_>,
    attempt: Attempt<'_>,
) -> Result<Attempted, Status> {
    let Attempt { item, old, base, options, with } = attempt;
    let (mut new, mut changed) = mark(ctx, base, options);
    changed |= base != old;
    let goes = goes_now(ctx, &new, old);
    // What ends gracefully is marked before it goes: watchers see both.
    let graceful = ctx.kind.strategy.grace(old, options.grace).is_some();
    let cut = goes && graceful && changed && !ctx.dry_run;
    let gone = goes && !cut;
    if !gone && !changed {
        return Ok(Attempted::Deleted(Deleted { object: new, gone }));
    }
    let (key, revision, lease) = (item.key.clone(), item.revision, item.lease);
    let target = (!gone).then_some(&mut new);
    let write = Write { key, new: target, old: Some(old), revision, lease, with };
    match commit::commit(call, ctx, write).await? {
        Committed::Stored { .. } if cut => Ok(Attempted::Marked),
        Committed::Stored { revision, .. } => {
            if !ctx.dry_run {
                document::set_revision(&mut new, revision);
            }
            Ok(Attempted::Deleted(Deleted { object: new, gone }))
        }
        Committed::Moved | Committed::Busy => Ok(Attempted::Moved),
    }
}

/// The object as a deletion leaves it, and whether that is a change.
fn mark(ctx: &Ctx<'_>, old: &Value, options: &DeleteOptions) -> (Value, bool) {
    let strategy = ctx.kind.strategy;
    let mut new = old.clone();
    set_policy(ctx, &mut new, options);
    let grace = strategy.grace(old, options.grace);
    let marked = fields::has(old, "/metadata/deletionTimestamp");
    if marked {
        shorten(&mut new, grace);
    } else {
        let held = !fields::list(&new, "/metadata/finalizers").is_empty();
        let seconds = grace.unwrap_or(0);
        if grace.is_some() || held || strategy.two_step() || !strategy.may_go(&new) {
            fields::set(&mut new, "/metadata/deletionTimestamp", ending(seconds));
            fields::set(&mut new, "/metadata/deletionGracePeriodSeconds", seconds);
            if let Some(generation) = fields::integer(&new, "/metadata/generation") {
                fields::set(&mut new, "/metadata/generation", generation + 1);
            }
            strategy.mark_deleted(&mut new);
        }
    }
    let changed = new != *old;
    (new, changed)
}

/// A second deletion may only make the grace shorter.
fn shorten(new: &mut Value, grace: Option<i64>) {
    let current = fields::integer(new, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    let Some(grace) = grace.filter(|grace| *grace < current) else { return };
    fields::set(new, "/metadata/deletionTimestamp", ending(grace));
    fields::set(new, "/metadata/deletionGracePeriodSeconds", grace);
}

fn goes_now(ctx: &Ctx<'_>, new: &Value, old: &Value) -> bool {
    let strategy = ctx.kind.strategy;
    if strategy.two_step() && !fields::has(old, "/metadata/deletionTimestamp") {
        return false;
    }
    fields::list(new, "/metadata/finalizers").is_empty()
        && fields::integer(new, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) == 0
        && strategy.may_go(new)
}

fn ending(seconds: i64) -> String {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Adds and removes the garbage collector's finalizers as the policy says.
fn set_policy(ctx: &Ctx<'_>, object: &mut Value, options: &DeleteOptions) {
    let has = |name: &str| fields::texts(object, "/metadata/finalizers").contains(&name);
    let by_default = ctx.kind.strategy.rules().orphans;
    let (orphan, foreground) = match (options.orphan, options.policy.as_deref()) {
        (Some(orphan), _) => (orphan, false),
        (None, Some("Orphan")) => (true, false),
        (None, Some("Foreground")) => (false, true),
        (None, Some(_)) => (false, false),
        (None, None) if has(ORPHAN) => (true, false),
        (None, None) if has(FOREGROUND) => (false, true),
        (None, None) => (by_default, false),
    };
    let before = fields::texts(object, "/metadata/finalizers");
    let mut after: Vec<&str> =
        before.iter().copied().filter(|f| *f != ORPHAN && *f != FOREGROUND).collect();
    if orphan {
        after.push(ORPHAN);
    }
    if foreground {
        after.push(FOREGROUND);
    }
    let same = before.len() == after.len() && before.iter().all(|f| after.contains(f));
    if same {
        return;
    }
    let after: Vec<Value> = after.into_iter().map(Value::from).collect();
    if after.is_empty() {
        fields::remove(object, "/metadata/finalizers");
    } else {
        fields::set(object, "/metadata/finalizers", after);
    }
}

/// Only the object that the client means.
pub fn check_preconditions(
    call: &Call,
    name: &str,
    object: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let is = |path| fields::text(object, path);
    let refuse = |text: String| {
        let resource = &call.kind.resource;
        let kind = if resource.plural == "namespaces" { resource.plural } else { resource.kind };
        Err(Status::conflict(call.kind.resource.group, kind, name, &text))
    };
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != is("/metadata/uid")) {
        if call.kind.resource.plural == "namespaces" {
            return refuse(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                is("/metadata/uid")
            ));
        }
        return refuse(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object \
             might have been deleted and then recreated",
            is("/metadata/uid")
        ));
    }
    let revision = options.revision.as_deref();
    if let Some(revision) = revision.filter(|r| *r != is("/metadata/resourceVersion")) {
        return refuse(format!(
            "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion \
             in record ({}). The object might have been modified",
            is("/metadata/resourceVersion")
        ));
    }
    Ok(())
}
