//! Metadata of every object: names, labels, annotations, owners, finalizers, and what of it may not
//! change.

use serde_json::Value;

use super::check::{Errors, Path, entries, flag, get, has, int, list, text, texts};
use crate::meta;

/// How a kind's objects may be called: complaints about a name; `true` for a `generateName`.
pub(super) type NameRule = fn(&str, bool) -> Vec<String>;

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
/// Longest name of a field manager.
const MANAGER: usize = 128;
/// Longest subresource of a field manager.
const SUBRESOURCE: usize = 256;

/// A DNS subdomain: most kinds.
pub(super) fn subdomain(name: &str, prefix: bool) -> Vec<String> {
    by(meta::dns1123_subdomain, name, prefix)
}

/// A DNS label as RFC 1123 has it.
pub(super) fn label(name: &str, prefix: bool) -> Vec<String> {
    by(meta::dns1123_label, name, prefix)
}

/// One segment of a URL path and otherwise free.
pub(super) fn path_segment(name: &str, _prefix: bool) -> Vec<String> {
    meta::path_segment(name)
}

/// No rule: anything that is there.
pub(super) fn any(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}

fn by(check: fn(&str) -> Vec<String>, name: &str, prefix: bool) -> Vec<String> {
    if prefix { meta::prefixed(check, name) } else { check(name) }
}

/// Metadata of a new object.
pub(super) fn create(object: &Value, namespaced: bool, rule: NameRule, errors: &mut Errors) {
    object_meta(get(object, "metadata"), namespaced, rule, &Path::new("metadata"), errors);
}

/// Metadata of a new object, or of one within another, at a path.
pub(super) fn object_meta(
    metadata: &Value,
    namespaced: bool,
    rule: NameRule,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let base = text(metadata, "generateName");
    if !base.is_empty() {
        errors.complaints(&path.child("generateName"), base, rule(base, true));
    }
    let name = text(metadata, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        errors.complaints(&path.child("name"), name, rule(name, false));
    }
    let namespace = text(metadata, "namespace");
    let at = path.child("namespace");
    match (namespaced, namespace) {
        (true, "") => errors.required(&at, ""),
        (true, namespace) => errors.complaints(&at, namespace, meta::dns1123_label(namespace)),
        (false, "") => {}
        (false, _) => errors.forbidden(&at, "not allowed on this type"),
    }
    errors.not_negative(&path.child("generation"), int(metadata, "generation"));
    labels(metadata, "labels", path, errors);
    annotations(metadata, path, errors);
    owners(metadata, path, errors);
    finalizers(metadata, path, errors);
    managers(metadata, path, errors);
    standard_finalizers(metadata, path, errors);
}

/// Metadata of a changed object.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (new, old) = (get(new, "metadata"), get(old, "metadata"));
    let path = Path::new("metadata");
    if has(old, "deletionTimestamp") {
        no_new_finalizers(new, old, &path, errors);
    }
    let before = int(old, "generation").unwrap_or(0);
    if int(new, "generation").unwrap_or(before) < before {
        let value = get(new, "generation").clone();
        errors.invalid(&path.child("generation"), value, "must not be decremented");
    }
    // An update may leave out what the server has set.
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if has(new, key) {
            errors.immutable(&path.child(key), get(new, key), get(old, key));
        }
    }
    labels(new, "labels", &path, errors);
    annotations(new, &path, errors);
    owners(new, &path, errors);
    finalizers(new, &path, errors);
    managers(new, &path, errors);
    standard_finalizers(new, &path, errors);
}

/// Labels, or a selector by equality, below a field.
pub(super) fn labels(holder: &Value, key: &str, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child(key);
    for (name, value) in entries(holder, key) {
        errors.complaints(&path, name, meta::label_key(name));
        let value = value.as_str().unwrap_or_default();
        errors.complaints(&path, value, meta::label_value(value));
    }
}

/// Annotations.
pub(super) fn annotations(metadata: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("annotations");
    let mut bytes = 0;
    for (name, value) in entries(metadata, "annotations") {
        errors.complaints(&path, name, meta::qualified_name(&name.to_lowercase()));
        bytes += name.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > meta::ANNOTATION_BYTES {
        errors.too_long(&path, meta::ANNOTATION_BYTES);
    }
}

fn owners(metadata: &Value, path: &Path<'_>, errors: &mut Errors) {
    let all = list(metadata, "ownerReferences");
    let path = path.child("ownerReferences");
    let mut controller: Option<String> = None;
    for (at, owner) in all.iter().enumerate() {
        let path = path.index(at);
        let version = text(owner, "apiVersion");
        if version.is_empty() {
            errors.required(&path.child("apiVersion"), "must not be empty");
        } else if version.matches('/').count() > 1 {
            let why = "must be <group>/<version> or <version>";
            errors.invalid(&path.child("apiVersion"), version, why);
        }
        for key in ["kind", "name", "uid"] {
            if text(owner, key).is_empty() {
                errors.required(&path.child(key), "must not be empty");
            }
        }
        if version == "v1" && text(owner, "kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.invalid_raw(&path, shown_owner(owner), why);
        }
    }
    for owner in all.iter().filter(|owner| flag(owner, "controller")) {
        let this = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
        match &controller {
            None => controller = Some(this),
            Some(first) => {
                let items: Vec<String> = all.iter().map(shown_owner).collect();
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in \
                     references for {first} and {this}"
                );
                errors.invalid_raw(&path, format!("[{}]", items.join(",")), &why);
            }
        }
    }
}

/// An owner reference with its fields in the order of Go's struct.
fn shown_owner(owner: &Value) -> String {
    let order = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let parts = order.iter().filter(|key| has(owner, key));
    let parts = parts.map(|key| format!("\"{key}\":{}", get(owner, key)));
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}

fn finalizers(metadata: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("finalizers");
    let (mut orphan, mut foreground) = (false, false);
    for name in texts(metadata, "finalizers") {
        errors.complaints(&path, name, meta::qualified_name(name));
        orphan |= name == "orphan";
        foreground |= name == "foregroundDeletion";
    }
    if orphan && foreground {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(&path, get(metadata, "finalizers").clone(), why);
    }
}

/// Finalizers have a domain, or are of the few that need none.
fn standard_finalizers(metadata: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("finalizers");
    for (at, name) in texts(metadata, "finalizers").enumerate() {
        standard_finalizer(name, &path.index(at), errors);
    }
}

/// One finalizer's name.
pub(super) fn standard_finalizer(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.invalid(path, name, why);
    }
}

fn no_new_finalizers(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let before: Vec<&str> = texts(old, "finalizers").collect();
    let added = texts(new, "finalizers").filter(|name| !before.contains(name));
    let mut added: Vec<String> = added.map(|name| format!("{name:?}")).collect();
    added.sort();
    added.dedup();
    if !added.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers \
             []string{{{}}}",
            added.join(", ")
        );
        errors.forbidden(&path.child("finalizers"), &why);
    }
}

fn managers(metadata: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("managedFields");
    for (at, entry) in list(metadata, "managedFields").iter().enumerate() {
        let path = path.index(at);
        if text(entry, "manager").len() > MANAGER {
            errors.too_long(&path.child("manager"), MANAGER);
        }
        if text(entry, "subresource").len() > SUBRESOURCE {
            errors.too_long(&path.child("subresource"), SUBRESOURCE);
        }
    }
}
