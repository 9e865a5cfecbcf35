//! What happens to every object between its decoding and the store: metadata that the server owns, the kind's
//! strategy, generation, field managers, validation.

use api::codec;
use api::status::{FieldError, Status};
use rand::Rng;
use serde_json::Value;

use super::Call;
use crate::conversion;
use crate::fields;
use crate::gates;
use crate::strategy::{Ctx, Generation};

/// Letters of generated names: no vowels, nothing that looks like something else.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Letters that are appended.
const SUFFIX: usize = 5;
/// Longest base of a generated name.
const LONGEST_BASE: usize = 63 - SUFFIX;

/// Metadata fields that only the server writes.
const SERVER_OWNED: [&str; 4] = [
    "/metadata/deletionTimestamp",
    "/metadata/deletionGracePeriodSeconds",
    "/metadata/selfLink",
    "/metadata/resourceVersion",
];

/// Gives a new object its identity.
pub fn fill_metadata(object: &mut Value) {
    for path in SERVER_OWNED {
        fields::remove(object, path);
    }
    fields::set(object, "/metadata/creationTimestamp", fields::now());
    fields::set(object, "/metadata/uid", uuid::Uuid::new_v4().to_string());
}

/// Drops owners that are named twice, with a warning; what a patch leads to is worded otherwise.
pub fn unique_owners(call: &Call, object: &mut Value, patched: bool) {
    let path = "/metadata/ownerReferences";
    let mut twice: Vec<String> = Vec::new();
    let mut kept: Vec<Value> = Vec::new();
    for owner in fields::list(object, path) {
        let uid = fields::text(owner, "/uid").to_owned();
        if !kept.contains(owner) {
            kept.push(owner.clone());
        } else if !twice.contains(&uid) {
            twice.push(uid);
        }
    }
    if twice.is_empty() {
        return;
    }
    let when = if patched { " after mutating admission happens" } else { "" };
    call.warn(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references \
         in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate \
         UID(s) observed: {}",
        twice.join(", ")
    ));
    fields::set(object, path, kept);
}

/// Makes a name from `generateName` when there is none. Tells whether it did.
pub fn generate_name(object: &mut Value) -> bool {
    let base = fields::text(object, "/metadata/generateName");
    if base.is_empty() || !fields::text(object, "/metadata/name").is_empty() {
        return false;
    }
    let mut end = base.len().min(LONGEST_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut rng = rand::rng();
    let suffix = (0..SUFFIX).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    let name: String = base[..end].chars().chain(suffix).collect();
    fields::set(object, "/metadata/name", name);
    true
}

/// Settles a new object by its kind.
pub fn create(ctx: &Ctx<'_>, object: &mut Value) -> Result<(), Status> {
    let rules = ctx.kind.strategy.rules();
    if ctx.kind.has_status() && !rules.keeps_status {
        fields::remove(object, "/status");
    }
    first_autoscaler(ctx, object, &Value::Null);
    if !matches!(rules.generation, Generation::Never | Generation::SpecLater) {
        fields::set(object, "/metadata/generation", 1);
    }
    gates::drop_disabled(ctx.kind, object);
    ctx.kind.strategy.prepare_create(ctx, object);
    canonical(ctx, object)
}

/// Settles a changed object by its kind.
pub fn update(ctx: &Ctx<'_>, object: &mut Value, old: &Value) -> Result<(), Status> {
    let rules = ctx.kind.strategy.rules();
    for path in ["/metadata/creationTimestamp", "/metadata/namespace", "/metadata/selfLink"] {
        fields::copy(object, old, path);
    }
    keep_deletion(object, old);
    fields::copy(object, old, "/metadata/generation");
    if fields::text(object, "/metadata/uid").is_empty() {
        fields::copy(object, old, "/metadata/uid");
    }
    reset(ctx, object, old);
    first_autoscaler(ctx, object, old);
    gates::drop_disabled(ctx.kind, object);
    ctx.kind.strategy.prepare_update(ctx, object, old);
    canonical(ctx, object)?;
    if ctx.subresource != "status" && counts(rules.generation, object, old) {
        let generation = fields::integer(old, "/metadata/generation").unwrap_or(0);
        fields::set(object, "/metadata/generation", generation + 1);
    }
    Ok(())
}

/// What an update says about a deletion: nothing takes the old values over, a value where none was (or another
/// grace) is left for validation to refuse.
fn keep_deletion(object: &mut Value, old: &Value) {
    let (ends, grace) = ("/metadata/deletionTimestamp", "/metadata/deletionGracePeriodSeconds");
    if fields::has(old, ends) {
        fields::copy(object, old, ends);
    }
    if !fields::has(object, grace) {
        fields::copy(object, old, grace);
    }
}

/// Parts of the first version of autoscalers lie in annotations.
fn first_autoscaler(ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
    let first = ctx.kind.is("autoscaling", "horizontalpodautoscalers")
        && fields::text(object, "/apiVersion") == "autoscaling/v1";
    if first {
        conversion::autoscaler::keep(object, old, ctx.subresource == "status");
    }
}

/// A write to the object leaves its status alone; a write to its status leaves all but metadata and status.
fn reset(ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
    if !ctx.kind.has_status() {
        return;
    }
    if ctx.subresource != "status" {
        if ctx.subresource != "approval" {
            fields::copy(object, old, "/status");
        }
        return;
    }
    let status = object.get("status").cloned();
    if ctx.kind.is("storage.k8s.io", "csinodes") {
        fields::copy(object, old, "/metadata/labels");
        fields::copy(object, old, "/metadata/annotations");
    }
    let metadata = object.get("metadata").cloned();
    let mut kept = old.clone();
    if let Some(map) = kept.as_object_mut() {
        map.remove("status");
        map.extend(status.map(|status| ("status".to_owned(), status)));
        map.extend(metadata.map(|metadata| ("metadata".to_owned(), metadata)));
    }
    *object = kept;
}

/// Whether a change counts the generation up.
fn counts(generation: Generation, new: &Value, old: &Value) -> bool {
    if matches!(generation, Generation::Never | Generation::Fixed) {
        return false;
    }
    let also = match generation {
        Generation::SpecAndAnnotations => "/metadata/annotations",
        Generation::SpecAndLabels => "/metadata/labels",
        _ => "/spec",
    };
    if new.pointer(also) != old.pointer(also) {
        return true;
    }
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    let counted = |key: &str| !matches!(key, "metadata" | "status" | "apiVersion" | "kind");
    let keys = new.keys().chain(old.keys()).filter(|key| counted(key));
    let mut keys = keys;
    keys.any(|key| new.get(key) != old.get(key))
}

/// Brings an object into the form in which it is stored.
pub fn canonical(ctx: &Ctx<'_>, object: &mut Value) -> Result<(), Status> {
    let value = codec::canonicalize(ctx.kind.ty(), object.take());
    *object = value.map_err(|error| Status::internal(&error.to_string()))?;
    if let Some(map) = object.as_object_mut() {
        let gvk = ctx.gvk();
        map.insert("apiVersion".into(), gvk.api_version().into());
        map.insert("kind".into(), gvk.kind.into());
    }
    Ok(())
}

/// Refuses an object that can't be, with all that is wrong.
pub fn validate(
    call: &Call,
    ctx: &Ctx<'_>,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let mut errors: Vec<FieldError> = match old {
        None => api::validation::object_create(ctx.gvk(), call.kind.resource.namespaced, new),
        Some(old) => api::validation::object_update(ctx.gvk(), new, old),
    };
    errors.extend(ctx.kind.strategy.validate(ctx, new, old));
    if errors.is_empty() {
        let mut advice = api::warnings::object(ctx.gvk(), new, old);
        advice.extend(ctx.kind.strategy.warnings(ctx, new, old));
        for warning in advice.into_iter().filter(|_| ctx.subresource.is_empty()) {
            call.warn(warning);
        }
        return Ok(());
    }
    let resource = &ctx.kind.resource;
    let name = fields::text(new, "/metadata/name");
    // Both kinds of events are one inside, in the core group.
    let group = if resource.kind == "Event" { "" } else { resource.group };
    Err(Status::invalid(group, resource.kind, name, errors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_generated_name_has_a_random_end() {
        let mut object = json!({"metadata": {"generateName": "web-"}});
        assert!(generate_name(&mut object));
        let name = fields::text(&object, "/metadata/name");
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        let mut named = json!({"metadata": {"generateName": "web-", "name": "x"}});
        assert!(!generate_name(&mut named));
    }

    #[test]
    fn only_a_changed_spec_counts() {
        let old = json!({"metadata": {"labels": {}}, "spec": {"a": 1}, "status": {}});
        let labelled = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"a": 1}, "status": {}});
        let changed = json!({"metadata": {"labels": {}}, "spec": {"a": 2}, "status": {}});
        assert!(!counts(Generation::Spec, &labelled, &old));
        assert!(counts(Generation::Spec, &changed, &old));
        assert!(!counts(Generation::Never, &changed, &old));
    }
}
