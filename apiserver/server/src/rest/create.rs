//! POST: a new object.

use api::status::Status;
use serde_json::Value;

use super::commit::{self, Committed, Write};
use super::write_options::{self, WriteOptions};
use super::{Answer, Call, before, input};
use crate::admission::{self, Operation, Review};
use crate::document;
use crate::fields;
use crate::managers;

/// Attempts with other generated names, other addresses, or what others left of a quota.
const ATTEMPTS: usize = 16;

/// Makes an object from the body.
pub async fn create(call: &Call) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.info.query, write_options::Write::Create)?;
    let mut object = input::object(call, options.strictness)?;
    input::check_namespace(call, &mut object)?;
    check_revision(&object)?;
    let (object, revision) = store(call, object, &options).await?;
    Ok(created(object, revision, options.dry_run))
}

/// 201 with the new object.
pub fn created(mut object: Value, revision: i64, dry_run: bool) -> Answer {
    if !dry_run {
        document::set_revision(&mut object, revision);
    }
    Answer::object(object).code(201)
}

/// A revision means nothing before there is an object.
fn check_revision(object: &Value) -> Result<(), Status> {
    match fields::text(object, "/metadata/resourceVersion") {
        "" | "0" => Ok(()),
        text if text.parse::<u64>().is_err() => Ok(()),
        _ => {
            Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"))
        }
    }
}

/// Runs a decoded object through admission, strategy and validation into the store.
pub async fn store(
    call: &Call,
    object: Value,
    options: &WriteOptions,
) -> Result<(Value, i64), Status> {
    make(call, object, options, Some(options.manager_or(call.user_agent()))).await
}

/// The same for an object whose managed fields are settled already.
pub async fn store_owned(
    call: &Call,
    object: Value,
    options: &WriteOptions,
) -> Result<(Value, i64), Status> {
    make(call, object, options, None).await
}

async fn make(
    call: &Call,
    object: Value,
    options: &WriteOptions,
    manager: Option<String>,
) -> Result<(Value, i64), Status> {
    let ctx = call.ctx(options.dry_run);
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let mut object = object.clone();
        let generated = before::generate_name(&mut object);
        before::fill_metadata(&mut object);
        before::unique_owners(call, &mut object, false);
        // What plugins and the strategy add belongs to nobody: only the client's fields are owned.
        if let Some(manager) = &manager {
            managers::updated(&ctx, None, &mut object, manager);
        }
        admission::mutate(call, Operation::Create, Some(&mut object), None, options.dry_run)
            .await?;
        before::create(&ctx, &mut object)?;
        before::validate(call, &ctx, &object, None)?;
        admission::validate(call, Operation::Create, Some(&object), None, options.dry_run).await?;
        let review =
            Review { call, operation: Operation::Create, old: None, dry_run: options.dry_run };
        let charged = admission::charge(&review, Some(&object)).await?;
        let name = fields::text(&object, "/metadata/name").to_owned();
        let key = call.key(call.namespace(), &name);
        let write = Write {
            key: key.clone(),
            new: Some(&mut object),
            old: None,
            revision: 0,
            lease: 0,
            with: charged,
        };
        if options.dry_run && call.server.storage.get(&key).await?.item.is_some() {
            return Err(exists(call, &object, None));
        }
        match commit::commit(call, &ctx, write).await? {
            Committed::Stored { revision, .. } => return Ok((object, revision)),
            Committed::Moved if !generated => {
                let current = call.server.storage.get(&key).await?.item;
                let current = current.and_then(|i| document::decode(&i.value, i.revision).ok());
                return Err(exists(call, &object, current.as_ref()));
            }
            Committed::Moved => last = Some(exists(call, &object, None)),
            Committed::Busy => {
                call.server.storage.barrier().await?;
            }
        }
    }
    Err(last.unwrap_or_else(|| Status::internal("too much contention, try again")))
}

/// 409: there is one already, perhaps on its way out.
fn exists(call: &Call, object: &Value, current: Option<&Value>) -> Status {
    let resource = &call.kind.resource;
    let name = fields::text(object, "/metadata/name");
    let mut status = Status::already_exists(resource.group, resource.plural, name);
    if !fields::text(object, "/metadata/generateName").is_empty() {
        let why = ", the server was not able to generate a unique name for the object";
        status.message.push_str(why);
    }
    let leaving = current.is_some_and(|object| fields::has(object, "/metadata/deletionTimestamp"));
    if leaving {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}
