//! `pods/binding` and `bindings`: a Pod gets its node. Guarded on its own, so that two schedulers can't bind one
//! Pod twice.

use api::facts::{Gvk, registry};
use api::status::Status;
use serde_json::{Value, json};

use super::done;
use crate::admission::{self, Operation};
use crate::fields;
use crate::rest::commit::{self, Committed, Write};
use crate::rest::update::{check_precondition, stored};
use crate::rest::write_options::{self, WriteOptions};
use crate::rest::{Answer, Call, before, input};
use crate::storage::keys;

const GVK: Gvk<'static> = Gvk { group: "", version: "v1", kind: "Binding" };
/// Attempts to meet the latest version.
const ATTEMPTS: usize = 16;
/// Labels that a Pod gets from its node.
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// POST `pods/x/binding`.
pub(super) async fn binding(call: &Call) -> Result<Answer, Status> {
    let (binding, options) = decode(call)?;
    if fields::text(&binding, "/metadata/name") != call.info.name {
        let text = "name in URL does not match name in Binding object";
        return Err(Status::bad_request(text));
    }
    let labels = topology(call, fields::text(&binding, "/target/name")).await?;
    bind(call, binding, &options, labels).await
}

/// POST `bindings`: the same, with the Pod's name in the body alone.
pub async fn bindings(call: &Call) -> Result<Answer, Status> {
    let (binding, options) = decode(call)?;
    let name = fields::text(&binding, "/metadata/name").to_owned();
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let kinds = call.server.kinds.load_full();
    let kind =
        kinds.get("", "v1", "pods").ok_or_else(|| Status::internal("pods are not served"))?;
    let mut info = call.info.clone();
    info.resource = "pods".to_owned();
    info.subresource = "binding".to_owned();
    info.name = name;
    let pod = call.derived(kind, info);
    bind(&pod, binding, &options, Vec::new()).await
}

fn decode(call: &Call) -> Result<(Value, WriteOptions), Status> {
    let options = WriteOptions::parse(&call.info.query, write_options::Write::Create)?;
    let ty = registry().kind(GVK.group, GVK.version, GVK.kind);
    let ty = ty.ok_or_else(|| Status::internal("no type for Binding"))?;
    let mut binding = input::decode(call, ty, GVK, options.strictness)?;
    fields::set(&mut binding, "/apiVersion", GVK.api_version());
    fields::set(&mut binding, "/kind", GVK.kind);
    input::check_namespace(call, &mut binding)?;
    Ok((binding, options))
}

async fn bind(
    call: &Call,
    mut binding: Value,
    options: &WriteOptions,
    labels: Vec<(String, Value)>,
) -> Result<Answer, Status> {
    admission::mutate(call, Operation::Create, Some(&mut binding), None, options.dry_run).await?;
    admission::validate(call, Operation::Create, Some(&binding), None, options.dry_run).await?;
    check_target(&binding)?;
    let ctx = call.ctx(options.dry_run);
    let key = call.key(call.namespace(), &call.info.name);
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            call.server.storage.barrier().await?;
        }
        let mut item = call.server.storage.get(&key).await?.item;
        if item.is_none() && attempt == 0 {
            call.server.storage.barrier().await?;
            item = call.server.storage.get(&key).await?.item;
        }
        let item = item.ok_or_else(|| call.not_found())?;
        let old = stored(call, &item)?;
        check_precondition(call, &binding, &old)?;
        check_pod(&old)?;
        let mut new = bound(&old, &binding, &labels);
        before::canonical(&ctx, &mut new)?;
        let (revision, lease) = (item.revision, item.lease);
        let write = Write {
            key: key.clone(),
            new: Some(&mut new),
            old: Some(&old),
            revision,
            lease,
            with: None,
        };
        match commit::commit(call, &ctx, write).await? {
            Committed::Stored { .. } => return Ok(done()),
            Committed::Moved | Committed::Busy => {}
        }
    }
    Err(crate::rest::update::conflict(call))
}

/// Only nodes can be bound to.
fn check_target(binding: &Value) -> Result<(), Status> {
    let mut problems = Vec::new();
    let kind = fields::text(binding, "/target/kind");
    if !matches!(kind, "" | "Node") {
        let known = "supported values: \"Node\", \"<empty>\"";
        problems.push(format!("target.kind: Unsupported value: {kind:?}: {known}"));
    }
    if fields::text(binding, "/target/name").is_empty() {
        problems.push("target.name: Required value".to_owned());
    }
    match &problems[..] {
        [] => Ok(()),
        [one] => Err(Status::new(500, "", one)),
        many => Err(Status::new(500, "", &format!("[{}]", many.join(", ")))),
    }
}

/// A Pod that goes, waits or has a node already can't be bound.
fn check_pod(pod: &Value) -> Result<(), Status> {
    let name = fields::text(pod, "/metadata/name");
    let node = fields::text(pod, "/spec/nodeName");
    let text = if fields::has(pod, "/metadata/deletionTimestamp") {
        format!("pod {name} is being deleted, cannot be assigned to a host")
    } else if !node.is_empty() {
        format!("pod {name} is already assigned to node {node:?}")
    } else if !fields::list(pod, "/spec/schedulingGates").is_empty() {
        format!("pod {name} has non-empty .spec.schedulingGates")
    } else {
        return Ok(());
    };
    Err(Status::conflict("", "pods/binding", name, &text))
}

/// The zone and region of a node, if the node exists.
async fn topology(call: &Call, node: &str) -> Result<Vec<(String, Value)>, Status> {
    let key = keys::object(&keys::folder("", "nodes"), "", node);
    let Some(item) = call.server.storage.get(&key).await?.item else { return Ok(Vec::new()) };
    let node: Value = serde_json::from_slice(&item.value).unwrap_or_default();
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten().filter(|(key, _)| TOPOLOGY.contains(&key.as_str()));
    Ok(labels.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// The Pod on its node.
fn bound(old: &Value, binding: &Value, labels: &[(String, Value)]) -> Value {
    let mut new = old.clone();
    fields::set(&mut new, "/spec/nodeName", fields::text(binding, "/target/name"));
    for part in ["/metadata/labels", "/metadata/annotations"] {
        let given = binding.pointer(part).and_then(Value::as_object).cloned().unwrap_or_default();
        let own = if part == "/metadata/labels" { labels } else { &[] };
        if given.is_empty() && own.is_empty() {
            continue;
        }
        let mut map = new.pointer(part).and_then(Value::as_object).cloned().unwrap_or_default();
        map.extend(given);
        map.extend(own.iter().cloned());
        fields::set(&mut new, part, map);
    }
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": fields::now(),
    });
    let mut conditions = fields::list(old, "/status/conditions").to_vec();
    let scheduled = |one: &&mut Value| fields::text(one, "/type") == "PodScheduled";
    match conditions.iter_mut().find(scheduled) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    fields::set(&mut new, "/status/conditions", conditions);
    // Where room was kept for the Pod no longer matters.
    fields::remove(&mut new, "/status/nominatedNodeName");
    new
}
