//! DELETE of all objects that a list would show.

use api::status::Status;

use super::list_options::{self, ListOptions};
use super::{Answer, Call, List, Payload, delete, list};
use crate::document;

/// Deletes what the selectors choose and answers with it.
pub async fn delete_collection(call: &Call) -> Result<Answer, Status> {
    let options = delete::options(call)?;
    delete::warn_of_orphans(call, &options);
    let listing = ListOptions::parse(&call.info, false)?;
    list_options::revision(&listing.revision)
        .map_err(|text| Status::bad_request(&format!("invalid resource version: {text}")))?;
    let page = list::read(call, &listing).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for (value, revision) in page.items {
        let name = document::head(&value).map(|head| head.metadata.name.into_owned());
        let name = name.map_err(|error| Status::internal(&error.to_string()))?;
        match delete::remove(call, &name, &options).await {
            Ok(_) => items.push((value, revision)),
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let revision = page.revision;
    let list =
        List { items, revision, continue_token: page.continue_token, remaining: page.remaining };
    Ok(Answer { code: 200, payload: Payload::List(list) })
}
