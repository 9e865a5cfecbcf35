//! ResourceQuotas: what a namespace may hold, counted in the transaction of the write itself.
//!
//! *hard* is what a quota's status grants, *used* what is taken of it. A write that takes something is compared
//! with both, and `used` is written together with the object: two writes at once can't take the same rest, and a
//! write that fails takes nothing. Giving back is the controller's business, as upstream: it recounts.

mod scopes;
mod usage;

use std::collections::BTreeSet;

use api::quantity::Quantity;
use api::status::Status;
use serde_json::Value;

use super::resources::{Amounts, amounts};
use super::{Operation, Review};
use crate::storage::{Compare, Item, Range, Txn, keys};
use crate::{document, fields, managers};

/// A quota that has a say in a write.
struct Quota {
    item: Item,
    object: Value,
    /// What it grants of what the object could take.
    hard: Amounts,
    used: Amounts,
}

/// What a write takes from the quotas of its namespace, to be stored with it; refuses what is too much.
pub async fn charge(review: &Review<'_>, new: Option<&Value>) -> Result<Option<Txn>, Status> {
    let Some(new) = new.filter(|_| counts(review)) else { return Ok(None) };
    let quotas = quotas(review, new).await?;
    if quotas.is_empty() {
        return Ok(None);
    }
    let refuse = |why: &str| Err(review.forbidden(Some(new), why));
    for quota in &quotas {
        let name = fields::text(&quota.object, "/metadata/name");
        if review.creates("", "pods")
            && let Some(missing) = usage::unsaid(new, &quota.hard)
        {
            return refuse(&format!("failed quota: {name}: must specify {missing}"));
        }
        let unknown = quota.hard.keys().filter(|resource| !quota.used.contains_key(*resource));
        let unknown: Vec<&str> = unknown.map(String::as_str).collect();
        if !unknown.is_empty() {
            let unknown = unknown.join(",");
            return refuse(&format!("status unknown for quota: {name}, resources: {unknown}"));
        }
    }
    let wanted = wanted(review, new);
    let mut txn = Txn::default();
    for quota in quotas {
        let asked = masked(&wanted, |resource| quota.hard.contains_key(resource));
        if asked.is_empty() {
            continue;
        }
        let mut used = quota.used.clone();
        for (resource, amount) in &asked {
            let sum = used.get(resource).map_or(*amount, |before| before.plus(*amount));
            used.insert(resource.clone(), sum);
        }
        let over = |resource: &str| used.get(resource) > quota.hard.get(resource);
        let exceeded: BTreeSet<&String> = asked.keys().filter(|name| over(name)).collect();
        if !exceeded.is_empty() {
            let of =
                |all: &Amounts| printed(&masked(all, |name| exceeded.contains(&name.to_owned())));
            return refuse(&format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                fields::text(&quota.object, "/metadata/name"),
                of(&asked),
                of(&quota.used),
                of(&quota.hard)
            ));
        }
        spend(review, quota, &asked, &used, &mut txn);
    }
    Ok(Some(txn))
}

/// Whether a write can take anything: new objects of a namespace, and changes of those that are measured.
fn counts(review: &Review<'_>) -> bool {
    let kind = &review.call.kind;
    if !kind.resource.namespaced || kind.resource.plural == "events" {
        return false;
    }
    match review.operation {
        Operation::Create => review.subresource().is_empty(),
        Operation::Update => {
            review.is("", "services")
                || review.is("", "persistentvolumeclaims")
                || (kind.is("", "pods") && review.subresource() == "resize")
        }
        Operation::Delete => false,
    }
}

/// The quotas that cover the object.
async fn quotas(review: &Review<'_>, new: &Value) -> Result<Vec<Quota>, Status> {
    let start = keys::prefix(&keys::folder("", "resourcequotas"), Some(review.call.namespace()));
    let range = Range { end: keys::prefix_end(&start), start, ..Range::default() };
    let mut found = Vec::new();
    for item in review.call.server.storage.range(range).await?.items {
        let object = document::decode(&item.value, item.revision)
            .map_err(|error| Status::internal(&error.to_string()))?;
        let hard = amounts(object.pointer("/status/hard"));
        let hard = masked(&hard, |resource| usage::measures(&review.call.kind, resource));
        if hard.is_empty() || !scopes::cover(&review.call.kind, &object, new) {
            continue;
        }
        let used = amounts(object.pointer("/status/used"));
        found.push(Quota { item, object, hard, used });
    }
    Ok(found)
}

/// What the write takes more than was taken before.
fn wanted(review: &Review<'_>, new: &Value) -> Amounts {
    let kind = &review.call.kind;
    let mut wanted = usage::of(kind, new);
    for (resource, amount) in review.old.map(|old| usage::of(kind, old)).unwrap_or_default() {
        let rest = wanted.get(&resource).copied().unwrap_or_default().minus(amount);
        wanted.insert(resource, rest);
    }
    wanted.retain(|_, amount| amount.sign() > 0);
    wanted
}

fn masked(all: &Amounts, keep: impl Fn(&str) -> bool) -> Amounts {
    let kept = all.iter().filter(|(resource, _)| keep(resource));
    kept.map(|(resource, amount)| (resource.clone(), *amount)).collect()
}

fn printed(all: &Amounts) -> String {
    let parts: Vec<String> = all.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    parts.join(",")
}

/// Writes what is used from now on.
fn spend(review: &Review<'_>, quota: Quota, asked: &Amounts, used: &Amounts, txn: &mut Txn) {
    let Quota { item, object, .. } = quota;
    let mut new = object.clone();
    let text = |amount: &Quantity| Value::from(amount.to_string());
    let map = new.pointer_mut("/status/used").and_then(Value::as_object_mut);
    if let Some(map) = map {
        let changed = asked.keys().filter_map(|name| Some((name.clone(), text(used.get(name)?))));
        map.extend(changed);
    }
    let kinds = review.call.server.kinds.load();
    if let Some(kind) = kinds.get("", "v1", "resourcequotas") {
        managers::record(&kind, "status", Some(&object), &mut new, "kube-apiserver");
    }
    txn.compares.push(Compare::Revision(item.key.clone(), item.revision));
    txn.puts.push((item.key, document::encode(&new), item.lease));
}
