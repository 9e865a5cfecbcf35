//! `pods/eviction`: a deletion that asks the Pod's disruption budget first, and spends it in the same
//! transaction, so that a budget is never overdrawn.

use api::facts::{Gvk, registry};
use api::selector::Labels;
use api::status::Status;
use serde_json::{Value, json};

use super::done;
use crate::admission::{self, Operation};
use crate::document;
use crate::fields;
use crate::managers;
use crate::rest::delete::{self, Attempt, Attempted};
use crate::rest::delete_options::DeleteOptions;
use crate::rest::update::stored;
use crate::rest::write_options::{self, WriteOptions};
use crate::rest::{Answer, Call, input};
use crate::storage::{Compare, Item, Range, Txn, keys};

const GVK: Gvk<'static> = Gvk { group: "policy", version: "v1", kind: "Eviction" };
/// Attempts to meet the latest versions of Pod and budget.
const ATTEMPTS: usize = 16;
/// Most evictions that a budget waits for.
const PENDING: usize = 2000;

/// Evicts the Pod.
pub(super) async fn evict(call: &Call) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.info.query, write_options::Write::Create)?;
    let ty = registry().kind(GVK.group, GVK.version, GVK.kind);
    let ty = ty.ok_or_else(|| Status::internal("no type for Eviction"))?;
    let mut eviction = input::decode(call, ty, GVK, options.strictness)?;
    fields::set(&mut eviction, "/apiVersion", GVK.api_version());
    fields::set(&mut eviction, "/kind", GVK.kind);
    input::check_namespace(call, &mut eviction)?;
    if fields::text(&eviction, "/metadata/name") != call.info.name {
        let text = "name in URL does not match name in Eviction object";
        return Err(Status::bad_request(text));
    }
    let mut deletion =
        DeleteOptions::from_body(eviction.get("deleteOptions").unwrap_or(&Value::Null))?;
    if options.dry_run {
        deletion.dry_run = vec!["All".to_owned()];
    }
    deletion.check()?;
    let dry_run = deletion.is_dry_run();
    admission::mutate(call, Operation::Create, Some(&mut eviction), None, dry_run).await?;
    admission::validate(call, Operation::Create, Some(&eviction), None, dry_run).await?;
    let ctx = call.ctx(dry_run);
    let key = call.key(call.namespace(), &call.info.name);
    for _ in 0..ATTEMPTS {
        call.server.storage.barrier().await?;
        let item = call.server.storage.get(&key).await?.item.ok_or_else(|| call.not_found())?;
        let pod = stored(call, &item)?;
        delete::check_preconditions(call, &call.info.name, &pod, &deletion)?;
        let budget = if is_free(&pod) { None } else { budget(call, &pod).await? };
        let with = budget.map(|(item, budget)| spend(call, &item, budget, &pod)).transpose()?;
        let marked = condition(&pod);
        let attempt = Attempt {
            item: &item,
            old: &pod,
            base: &marked,
            options: &deletion,
            with: with.flatten(),
        };
        match delete::attempt(call, &ctx, attempt).await? {
            Attempted::Deleted(_) => return Ok(done()),
            // The revision that the client knows was the one before our own mark.
            Attempted::Marked => deletion.revision = None,
            Attempted::Moved => {}
        }
    }
    Err(crate::rest::update::conflict(call))
}

/// Pods that no budget protects: finished, not yet running, or on their way out.
fn is_free(pod: &Value) -> bool {
    fields::has(pod, "/metadata/deletionTimestamp")
        || matches!(fields::text(pod, "/status/phase"), "Pending" | "Succeeded" | "Failed")
}

/// The one budget that a Pod falls under.
async fn budget(call: &Call, pod: &Value) -> Result<Option<(Item, Value)>, Status> {
    let folder = keys::folder("policy", "poddisruptionbudgets");
    let prefix = keys::prefix(&folder, Some(call.namespace()));
    let range = Range { start: prefix.clone(), end: keys::prefix_end(&prefix), ..Range::default() };
    let page = call.server.storage.range(range).await?;
    let mut found = Vec::new();
    for item in page.items {
        let Ok(budget) = document::decode(&item.value, item.revision) else { continue };
        let selector = budget.pointer("/spec/selector").filter(|selector| !selector.is_null());
        let selector = selector.and_then(|selector| Labels::from_selector(selector).ok());
        if selector.is_some_and(|s| s.matches_value(pod.pointer("/metadata/labels"))) {
            found.push((item, budget));
        }
    }
    if found.len() > 1 {
        let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                    does not support.";
        return Err(Status::new(500, "", text));
    }
    Ok(found.pop())
}

fn is_ready(pod: &Value) -> bool {
    fields::list(pod, "/status/conditions").iter().any(|condition| {
        fields::text(condition, "/type") == "Ready" && fields::text(condition, "/status") == "True"
    })
}

/// What spending a budget adds to the transaction; nothing where the budget does not count.
fn spend(call: &Call, item: &Item, mut budget: Value, pod: &Value) -> Result<Option<Txn>, Status> {
    let name = fields::text(&budget, "/metadata/name").to_owned();
    let number = |budget: &Value, path: &str| fields::integer(budget, path).unwrap_or(0);
    let healthy = number(&budget, "/status/currentHealthy");
    let desired = number(&budget, "/status/desiredHealthy");
    if !is_ready(pod) {
        let always = fields::text(&budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
        if always || (healthy >= desired && desired > 0) {
            return Ok(None);
        }
    }
    let generation = number(&budget, "/metadata/generation");
    if number(&budget, "/status/observedGeneration") < generation {
        let text = format!("The disruption budget {name} is still being processed by the server.");
        let mut status = refused(&text);
        status.set_retry_after(10);
        return Err(status);
    }
    let allowed = number(&budget, "/status/disruptionsAllowed");
    let refuse = |text: &str| Err(Status::forbidden("policy", "poddisruptionbudget", &name, text));
    if allowed < 0 {
        return refuse("pdb disruptions allowed is negative");
    }
    let pending = budget.pointer("/status/disruptedPods").and_then(Value::as_object);
    let mut pending = pending.cloned().unwrap_or_default();
    if pending.len() > PENDING {
        return refuse(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    if allowed == 0 {
        return Err(refused(&format!(
            "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        )));
    }
    let old = budget.clone();
    fields::set(&mut budget, "/status/disruptionsAllowed", allowed - 1);
    if allowed == 1 {
        exhausted(&mut budget, generation);
    }
    pending.insert(call.info.name.clone(), fields::now().into());
    fields::set(&mut budget, "/status/disruptedPods", pending);
    record(call, Some(&old), &mut budget);
    Ok(Some(Txn {
        compares: vec![Compare::Revision(item.key.clone(), item.revision)],
        puts: vec![(item.key.clone(), document::encode(&budget), item.lease)],
        deletes: Vec::new(),
    }))
}

/// 429 with its cause.
fn refused(cause: &str) -> Status {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::new(429, "TooManyRequests", text);
    status.add_cause("DisruptionBudget", cause, "");
    status
}

/// Says in the budget that it is spent.
fn exhausted(budget: &mut Value, generation: i64) {
    let condition = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods",
        "message": "", "observedGeneration": generation, "lastTransitionTime": fields::now(),
    });
    let mut conditions = fields::list(budget, "/status/conditions").to_vec();
    conditions.retain(|condition| fields::text(condition, "/type") != "DisruptionAllowed");
    conditions.push(condition);
    fields::set(budget, "/status/conditions", conditions);
}

/// The Pod with the condition that tells why it goes.
fn condition(pod: &Value) -> Value {
    let mut new = pod.clone();
    let marked = fields::list(pod, "/status/conditions").iter().any(|condition| {
        fields::text(condition, "/type") == "DisruptionTarget"
            && fields::text(condition, "/status") == "True"
    });
    if marked {
        return new;
    }
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null,
        "lastTransitionTime": fields::now(),
    });
    let mut conditions = fields::list(pod, "/status/conditions").to_vec();
    conditions.retain(|condition| fields::text(condition, "/type") != "DisruptionTarget");
    conditions.push(condition);
    fields::set(&mut new, "/status/conditions", conditions);
    new
}

/// Gives the fields that eviction itself writes to the server as their manager.
fn record(call: &Call, old: Option<&Value>, new: &mut Value) {
    let kinds = call.server.kinds.load();
    let Some(kind) = kinds.get("policy", "v1", "poddisruptionbudgets") else { return };
    managers::record(&kind, "status", old, new, "kube-apiserver");
}
