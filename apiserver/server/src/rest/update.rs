//! PUT: an object as it shall be; and the loop in which updates and patches meet the latest version.

use api::status::Status;
use bytes::Bytes;
use serde_json::Value;

use super::commit::{self, Committed, Write};
use super::write_options::{self, WriteOptions};
use super::{Answer, Call, before, create, input};
use crate::access::Attributes;
use crate::admission::{self, Operation, Review};
use crate::document;
use crate::fields;
use crate::managers;
use crate::storage::Item;
use crate::strategy::Ctx;

/// Attempts to meet the latest version.
const ATTEMPTS: usize = 16;

/// How an update makes the new object out of the current one.
pub trait Transform: Send + Sync {
    /// The new object; may look at what is there.
    fn apply(&self, current: &Value) -> Result<Value, Status>;

    /// Whether a conflict is the client's to solve, because it named a revision.
    fn pinned(&self) -> bool;

    /// Who the changed fields belong to; `None` when the transform has settled them itself.
    fn manager(&self) -> Option<&str>;

    /// Whether the new object is the client's own, so that its uid says which object is meant.
    fn replaces(&self) -> bool {
        false
    }
}

/// A PUT's body.
struct Replace {
    object: Value,
    manager: String,
    unconditional: bool,
    qualified: (String, String),
}

impl Transform for Replace {
    fn apply(&self, _current: &Value) -> Result<Value, Status> {
        if self.revision().is_empty() && !self.unconditional {
            let error = api::status::FieldError::invalid(
                "metadata.resourceVersion",
                0,
                "must be specified for an update",
            );
            let name = fields::text(&self.object, "/metadata/name");
            return Err(Status::invalid(&self.qualified.0, &self.qualified.1, name, vec![error]));
        }
        Ok(self.object.clone())
    }

    fn pinned(&self) -> bool {
        !self.revision().is_empty()
    }

    fn manager(&self) -> Option<&str> {
        Some(&self.manager)
    }

    fn replaces(&self) -> bool {
        true
    }
}

impl Replace {
    fn revision(&self) -> &str {
        fields::text(&self.object, "/metadata/resourceVersion")
    }
}

/// Replaces an object by the body.
pub async fn update(call: &Call) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.info.query, write_options::Write::Update)?;
    let mut object = input::object(call, options.strictness)?;
    input::check_given_name(call, &object)?;
    input::check_namespace(call, &mut object)?;
    input::check_name(call, &mut object)?;
    replace(call, object, &options).await
}

/// Replaces an object by a decoded one.
pub async fn replace(call: &Call, object: Value, options: &WriteOptions) -> Result<Answer, Status> {
    let rules = call.kind.strategy.rules();
    let manager = options.manager_or(call.user_agent());
    let upsert = rules.create_on_update && call.info.subresource.is_empty();
    let resource = &call.kind.resource;
    let replace = Replace {
        object,
        manager,
        unconditional: rules.unconditional_update,
        qualified: (resource.group.to_owned(), resource.plural.to_owned()),
    };
    match run(call, &replace, options).await {
        Err(status) if status.code == 404 && upsert => {
            check_precondition(call, &replace.object, &Value::Null)?;
            let mut object = replace.object;
            fields::remove(&mut object, "/metadata/resourceVersion");
            let wanted = Attributes { verb: "create", ..Attributes::of(&call.info) };
            call.server.access.check(&call.user, &wanted).await?;
            let (object, revision) = create::store(call, object, options).await?;
            Ok(create::created(object, revision, options.dry_run))
        }
        other => other,
    }
}

/// Reads, transforms and writes until nobody is faster.
pub async fn run(
    call: &Call,
    transform: &dyn Transform,
    options: &WriteOptions,
) -> Result<Answer, Status> {
    let ctx = call.ctx(options.dry_run);
    let key = call.key(call.namespace(), &call.info.name);
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            call.server.storage.barrier().await?;
        }
        let item = call.server.storage.get(&key).await?.item;
        let item = match item {
            Some(item) => item,
            None if attempt == 0 => {
                call.server.storage.barrier().await?;
                let item = call.server.storage.get(&key).await?.item;
                item.ok_or_else(|| call.not_found())?
            }
            None => return Err(call.not_found()),
        };
        let old = stored(call, &item)?;
        if let Some(answer) = once(call, &ctx, &key, &item, &old, transform).await? {
            return Ok(answer);
        }
    }
    Err(conflict(call))
}

/// One attempt; `None` when somebody was faster and it may be tried again.
async fn once(
    call: &Call,
    ctx: &Ctx<'_>,
    key: &Bytes,
    item: &Item,
    old: &Value,
    transform: &dyn Transform,
) -> Result<Option<Answer>, Status> {
    let mut new = transform.apply(old)?;
    match check_revision(&new, old, transform)? {
        Fresh::Yes => {}
        Fresh::No => return stale(call, item).await,
    }
    check_uid(call, &new, old, transform)?;
    before::unique_owners(call, &mut new, !transform.replaces());
    match transform.manager() {
        Some(manager) => managers::updated(ctx, Some(old), &mut new, manager),
        None => managers::settle(&mut new, old),
    }
    let dry_run = ctx.dry_run;
    let ahead = call.info.subresource.is_empty() || !matches!(ctx.subresource, "scale");
    if ahead {
        admission::mutate(call, Operation::Update, Some(&mut new), Some(old), dry_run).await?;
    }
    before::update(ctx, &mut new, old)?;
    before::validate(call, ctx, &new, Some(old))?;
    admission::validate(call, Operation::Update, Some(&new), Some(old), dry_run).await?;
    let review = Review { call, operation: Operation::Update, old: Some(old), dry_run };
    let with = admission::charge(&review, Some(&new)).await?;
    document::set_revision(&mut new, item.revision);
    let gone = goes(ctx, &new);
    if !gone && same(&new, old) {
        return Ok(Some(Answer::object(new)));
    }
    let lease = item.lease;
    let revision = item.revision;
    let write = Write {
        key: key.clone(),
        new: (!gone).then_some(&mut new),
        old: Some(old),
        revision,
        lease,
        with,
    };
    let committed = commit::commit(call, ctx, write).await?;
    match committed {
        Committed::Stored { revision, .. } => {
            document::set_revision(&mut new, revision);
            Ok(Some(Answer::object(new)))
        }
        Committed::Moved if transform.pinned() => Err(conflict(call)),
        Committed::Moved | Committed::Busy => Ok(None),
    }
}

/// Whether an object that was marked for deletion goes with this write.
pub fn goes(ctx: &Ctx<'_>, object: &Value) -> bool {
    let grace = fields::integer(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    fields::has(object, "/metadata/deletionTimestamp")
        && fields::list(object, "/metadata/finalizers").is_empty()
        && grace == 0
        && ctx.kind.strategy.may_go(object)
}

/// Equal but for the times in managed fields: nothing to store.
fn same(new: &Value, old: &Value) -> bool {
    if new == old {
        return true;
    }
    let without = |object: &Value| {
        let mut object = object.clone();
        for entry in fields::list_mut(&mut object, "/metadata/managedFields") {
            fields::remove(entry, "/time");
        }
        object
    };
    let rest = |object: &Value| object.get("spec").cloned();
    rest(new) == rest(old) && without(new) == without(old)
}

enum Fresh {
    Yes,
    No,
}

/// Compares the revision that the client named.
fn check_revision(new: &Value, old: &Value, transform: &dyn Transform) -> Result<Fresh, Status> {
    let given = fields::text(new, "/metadata/resourceVersion");
    if !transform.pinned() || given.is_empty() || given == "0" {
        return Ok(Fresh::Yes);
    }
    super::list_options::revision(given).map_err(|text| {
        let why = text.find("strconv").map_or(text.as_str(), |at| &text[at..]);
        Status::new(500, "", why)
    })?;
    if given == fields::text(old, "/metadata/resourceVersion") {
        Ok(Fresh::Yes)
    } else {
        Ok(Fresh::No)
    }
}

/// The client's revision is not the one read here: if the store has moved on it may be newer.
async fn stale(call: &Call, item: &Item) -> Result<Option<Answer>, Status> {
    call.server.storage.barrier().await?;
    let now = call.server.storage.get(&item.key).await?.item;
    match now {
        Some(now) if now.revision != item.revision => Ok(None),
        _ => Err(conflict(call)),
    }
}

/// A PUT with another uid is meant for another object.
fn check_uid(
    call: &Call,
    new: &Value,
    old: &Value,
    transform: &dyn Transform,
) -> Result<(), Status> {
    if !transform.replaces() {
        return Ok(());
    }
    check_precondition(call, new, old)
}

/// The uid that a body names must be the object's.
pub fn check_precondition(call: &Call, new: &Value, old: &Value) -> Result<(), Status> {
    let (given, wanted) = (fields::text(new, "/metadata/uid"), fields::text(old, "/metadata/uid"));
    if given.is_empty() || given == wanted {
        return Ok(());
    }
    let key = call.key(call.namespace(), &call.info.name);
    let key = String::from_utf8_lossy(&key).into_owned();
    let resource = &call.kind.resource;
    let text = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {given}, UID in object meta: {wanted}"
    );
    Err(Status::conflict(resource.group, resource.plural, &call.info.name, &text))
}

/// 409 with the words that clients look for.
pub fn conflict(call: &Call) -> Status {
    let resource = &call.kind.resource;
    let text = "the object has been modified; please apply your changes to the latest version and try \
                again";
    Status::conflict(resource.group, resource.plural, &call.info.name, text)
}

/// A stored object as a tree of this kind's version.
pub fn stored(call: &Call, item: &Item) -> Result<Value, Status> {
    let object = document::decode(&item.value, item.revision)
        .map_err(|error| Status::internal(&error.to_string()))?;
    Ok(crate::conversion::convert(object, call.kind.gvk()))
}
