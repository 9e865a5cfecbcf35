//! GET of many: pages that show one revision, chosen by selectors.

use api::status::Status;
use bytes::Bytes;

use super::list_options::{self, ListOptions, Match};
use super::pick::Pick;
use super::{Answer, Call, List, Payload, continue_token, get};
use crate::storage::{self, Range, keys};

/// Items read from the store at once.
const CHUNK: usize = 500;

/// Answers with a page.
pub async fn list(call: &Call) -> Result<Answer, Status> {
    let options = ListOptions::parse(&call.info, false)?;
    Ok(Answer { code: 200, payload: Payload::List(read(call, &options).await?) })
}

/// What a page has to show.
struct Plan {
    /// First key.
    start: Bytes,
    /// As of this revision; 0 is now.
    revision: i64,
    /// At most so many; 0 is all.
    limit: usize,
    /// The key that the page goes on from, below the prefix.
    from: Option<String>,
}

/// Reads one page.
pub async fn read(call: &Call, options: &ListOptions) -> Result<List, Status> {
    let pick = Pick::new(&call.kind, options)?;
    let prefix = keys::prefix(&call.kind.folder, Some(call.namespace()));
    let plan = plan(call, options, &prefix).await?;
    let (mut range, end) = narrow(call, &pick, &prefix, &plan);
    let mut list = List::default();
    let mut revision = plan.revision;
    loop {
        range.revision = revision;
        range.limit = match (plan.limit, pick.all()) {
            (0, _) => CHUNK,
            (limit, true) => limit - list.items.len(),
            (limit, false) => CHUNK.max(limit),
        };
        range.end = end.clone();
        let page = call.server.storage.range(range.clone()).await;
        let page = page.map_err(|error| gone(error, &plan))?;
        if revision == 0 {
            revision = page.revision;
        }
        let last = page.items.last().map(|item| item.key.clone());
        let count = page.items.len();
        for (at, item) in page.items.into_iter().enumerate() {
            if !pick.wants(&item.value) {
                continue;
            }
            let key = item.key.clone();
            list.items.push((item.value, item.revision));
            if plan.limit > 0 && list.items.len() == plan.limit {
                let more = page.more || at + 1 < count;
                let left = page.count.saturating_sub(at + 1);
                finish(&mut list, more.then_some((&key, left)), &prefix, revision, &pick);
                return Ok(list);
            }
        }
        match last {
            Some(last) if page.more => range.start = after(&last),
            _ => break,
        }
    }
    list.revision = revision;
    Ok(list)
}

/// Completes a page that its limit cut off.
fn finish(
    list: &mut List,
    rest: Option<(&Bytes, usize)>,
    prefix: &Bytes,
    revision: i64,
    pick: &Pick,
) {
    list.revision = revision;
    let Some((key, left)) = rest else { return };
    let start = String::from_utf8_lossy(&key[prefix.len()..]);
    list.continue_token = continue_token::encode(&format!("{start}\0"), revision);
    list.remaining = pick.all().then_some(left);
}

/// The key right behind another.
fn after(key: &Bytes) -> Bytes {
    let mut next = key.to_vec();
    next.push(0);
    next.into()
}

/// The keys to read: all, or the one that the selector names.
fn narrow(call: &Call, pick: &Pick, prefix: &Bytes, plan: &Plan) -> (Range, Bytes) {
    let mut range = Range { start: plan.start.clone(), ..Range::default() };
    let mut end = keys::prefix_end(prefix);
    let one = !call.kind.resource.namespaced || !call.namespace().is_empty();
    if let Some(name) = pick.only_name().filter(|_| one && plan.from.is_none()) {
        range.start = call.key(call.namespace(), name);
        end = after(&range.start);
    }
    (range, end)
}

/// Works out revision, limit and start from the options.
async fn plan(call: &Call, options: &ListOptions, prefix: &Bytes) -> Result<Plan, Status> {
    let mut plan = Plan { start: prefix.clone(), revision: 0, limit: options.limit, from: None };
    let cached = options.revision == "0";
    if !options.continue_token.is_empty() {
        if !matches!(options.revision.as_str(), "" | "0") {
            let text = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(text));
        }
        let token = continue_token::decode(&options.continue_token);
        let (start, revision) = token.map_err(|text| Status::bad_request(&text))?;
        let mut key = prefix.to_vec();
        key.extend_from_slice(start.as_bytes());
        plan.start = key.into();
        plan.from = Some(start);
        if cached {
            plan.limit = 0;
        }
        if revision > 0 {
            plan.revision = revision;
            get::wait_for(call, revision).await?;
        } else {
            call.server.storage.barrier().await?;
        }
        return Ok(plan);
    }
    let wanted = list_options::revision(&options.revision)
        .map_err(|text| Status::bad_request(&format!("invalid resource version: {text}")))?;
    if options.revision.is_empty() {
        call.server.storage.barrier().await?;
        return Ok(plan);
    }
    if cached {
        plan.limit = 0;
        return Ok(plan);
    }
    get::wait_for(call, wanted).await?;
    let exact = match options.revision_match {
        Match::Exact => true,
        Match::NotOlderThan => false,
        Match::Unset => options.limit > 0,
    };
    if exact {
        plan.revision = wanted;
    }
    Ok(plan)
}

/// A store error in the words of lists: compacted history is 410, with a token that goes on anyhow.
fn gone(error: storage::Error, plan: &Plan) -> Status {
    if !matches!(error, storage::Error::Compacted) {
        return error.into();
    }
    let Some(from) = &plan.from else {
        let text = "The resourceVersion for the provided list is too old.";
        return Status::new(410, "Expired", text);
    };
    let text = "The provided continue parameter is too old to display a consistent list result. You \
                can start a new list without the continue parameter, or use the continue token in this \
                response to retrieve the remainder of the results. Continuing with the provided token \
                results in an inconsistent list - objects that were created, modified, or deleted \
                between the time the first chunk was returned and now may show up in the list.";
    let mut status = Status::new(410, "Expired", text);
    status.set_continue(&continue_token::encode(from, -1));
    status
}
