//! Objects that plugins look at, straight from the store.

use api::status::Status;
use serde_json::Value;

use crate::document;
use crate::rest::Call;
use crate::storage::{Range, keys};

/// An object by its name; what seems missing is looked for again when this replica caught up.
pub(super) async fn object(
    call: &Call,
    group: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, Status> {
    let key = keys::object(&keys::folder(group, plural), namespace, name);
    let storage = &call.server.storage;
    let mut item = storage.get(&key).await?.item;
    if item.is_none() {
        storage.barrier().await?;
        item = storage.get(&key).await?.item;
    }
    let decoded = item.map(|item| document::decode(&item.value, item.revision)).transpose();
    decoded.map_err(|error| Status::internal(&error.to_string()))
}

/// All objects of a resource, in one namespace or, when that is empty, in all.
pub(super) async fn all(
    call: &Call,
    group: &str,
    plural: &str,
    namespace: &str,
) -> Result<Vec<Value>, Status> {
    let start = keys::prefix(&keys::folder(group, plural), Some(namespace));
    let end = keys::prefix_end(&start);
    let range = Range { start, end, ..Range::default() };
    let page = call.server.storage.range(range).await?;
    let decoded = page.items.iter().map(|item| document::decode(&item.value, item.revision));
    let decoded: Result<Vec<Value>, _> = decoded.collect();
    decoded.map_err(|error| Status::internal(&error.to_string()))
}
