//! GET of one object.

use api::status::Status;

use super::list_options::revision;
use super::{Answer, Call};
use crate::storage::Item;

/// Answers with the stored object.
pub async fn get(call: &Call) -> Result<Answer, Status> {
    let item = read(call).await?;
    Ok(Answer::stored(item.value, item.revision))
}

/// Reads the object that the request names, as fresh as the request wants it.
pub async fn read(call: &Call) -> Result<Item, Status> {
    let text = call.info.query.text("resourceVersion");
    let wanted = revision(text).map_err(|text| Status::new(500, "", &text))?;
    if text.is_empty() {
        call.server.storage.barrier().await?;
    } else {
        wait_for(call, wanted).await?;
    }
    let key = call.key(call.namespace(), &call.info.name);
    let got = call.server.storage.get(&key).await?;
    got.item.ok_or_else(|| call.not_found())
}

/// Waits until this replica has seen a revision; three seconds at most.
pub async fn wait_for(call: &Call, wanted: i64) -> Result<(), Status> {
    let storage = &call.server.storage;
    if storage.revision() >= wanted {
        return Ok(());
    }
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
    loop {
        let reached = storage.barrier().await?;
        if reached >= wanted {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(too_large(wanted, reached));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// 504: the revision is not there yet.
fn too_large(wanted: i64, current: i64) -> Status {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let mut status = Status::new(504, "Timeout", &message);
    status.add_cause("ResourceVersionTooLarge", "Too large resource version", "");
    status.set_retry_after(1);
    status
}
