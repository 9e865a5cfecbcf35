//! Environment variables and where they come from.

use serde_json::Value;

use super::{
    super::super::check::{Errors, Path, at, get, has, list, text},
    Context, volume_source,
};
use crate::meta;

/// Sources of one variable.
const SOURCES: [&str; 5] =
    ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
/// Fields of a pod that a variable may show.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Resources of a container that a variable may show.
pub(super) const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// The variables of a container.
pub(super) fn env(ctx: &Context<'_>, container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("env");
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = path.index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.complaints(&path.child("name"), name, meta::env_var_name(name));
        }
        value_from(ctx, variable, &path.child("valueFrom"), errors);
    }
}

fn value_from(ctx: &Context<'_>, variable: &Value, path: &Path<'_>, errors: &mut Errors) {
    let from = get(variable, "valueFrom");
    if from.is_null() {
        return;
    }
    let count = SOURCES.iter().filter(|key| has(from, key)).count();
    if has(from, "fieldRef") {
        field_ref(get(from, "fieldRef"), &FIELDS, &path.child("fieldRef"), errors);
    }
    if has(from, "resourceFieldRef") {
        resource_ref(get(from, "resourceFieldRef"), &path.child("resourceFieldRef"), errors);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if has(from, key) {
            key_ref(get(from, key), &path.child(key), errors);
        }
    }
    if has(from, "fileKeyRef") {
        file_ref(ctx, get(from, "fileKeyRef"), &path.child("fileKeyRef"), errors);
    }
    if count == 0 {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or \
                   `secretKeyRef`";
        errors.invalid(path, "", why);
    } else if !text(variable, "value").is_empty() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn key_ref(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "name").is_empty() {
        errors.required(&path.child("name"), "");
    }
    match text(source, "key") {
        "" => errors.required(&path.child("key"), ""),
        key => errors.complaints(&path.child("key"), key, meta::config_map_key(key)),
    }
}

fn file_ref(ctx: &Context<'_>, source: &Value, path: &Path<'_>, errors: &mut Errors) {
    match text(source, "key") {
        "" => errors.required(&path.child("key"), ""),
        key => errors.complaints(&path.child("key"), key, meta::env_var_name(key)),
    }
    let volume = text(source, "volumeName");
    let at_volume = path.child("volumeName");
    if volume.is_empty() {
        errors.required(&at_volume, "");
    }
    match text(source, "path") {
        "" => errors.required(&path.child("path"), ""),
        text => volume_source::no_backsteps(text, &path.child("path"), errors),
    }
    errors.late(|errors| match ctx.volumes.get(volume) {
        None => errors.not_found(&at_volume, volume, ""),
        Some(found) if !has(found, "emptyDir") => {
            errors.invalid(&at_volume, volume, "referenced volume must be of type emptyDir");
        }
        Some(_) => {}
    });
}

/// A field of the pod, or a single label or annotation.
pub(super) fn field_ref(field: &Value, known: &[&str], path: &Path<'_>, errors: &mut Errors) {
    if text(field, "apiVersion").is_empty() {
        errors.required(&path.child("apiVersion"), "");
        return;
    }
    let at = path.child("fieldPath");
    let name = text(field, "fieldPath");
    if name.is_empty() {
        errors.required(&at, "");
        return;
    }
    if let Some((base, key)) = name.strip_suffix("']").and_then(|n| n.split_once("['")) {
        match base {
            "metadata.annotations" => {
                errors.complaints(&at, key, meta::qualified_name(&key.to_lowercase()));
            }
            "metadata.labels" => errors.complaints(&at, key, meta::qualified_name(key)),
            _ => {
                let why = format!("{base} does not support subscript");
                errors.invalid(&at, name, &why);
            }
        }
        return;
    }
    errors.one_of(&at, name, known);
}

/// A resource of a container.
pub(super) fn resource_ref(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let name = text(source, "resource");
    let at_resource = path.child("resource");
    if name.is_empty() {
        errors.required(&at_resource, "");
        return;
    }
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if !huge && !RESOURCES.contains(&name) {
        errors.not_supported(&at_resource, name, &RESOURCES);
    }
    divisor(name, text(source, "divisor"), &path.child("divisor"), errors);
}

fn divisor(resource: &str, divisor: &str, path: &Path<'_>, errors: &mut Errors) {
    if matches!(divisor, "" | "0") {
        return;
    }
    let known = ["cpu", "memory", "ephemeral-storage"].iter().any(|end| resource.ends_with(end));
    if !known && !resource.contains("hugepages-") {
        return;
    }
    let known: &[&str] = if resource.ends_with("cpu") {
        &["1m", "1"]
    } else {
        &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"]
    };
    if !known.contains(&divisor) {
        let what = if resource.ends_with("cpu") {
            "only divisor's values 1m and 1 are supported with the cpu resource"
        } else if resource.ends_with("ephemeral-storage") {
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are \
             supported with the local ephemeral storage resource"
        } else if resource.contains("hugepages-") {
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are \
             supported with the hugepages resource"
        } else {
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are \
             supported with the memory resource"
        };
        errors.invalid(path, divisor, what);
    }
}

/// Whole sets of variables.
pub(super) fn env_from(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("envFrom");
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let path = path.index(index);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            errors.complaints(&path.child("prefix"), prefix, meta::env_var_name(prefix));
        }
        let mut count = 0;
        for key in ["configMapRef", "secretRef"] {
            if has(source, key) {
                count += 1;
                if at(source, &format!("/{key}/name")).as_str().unwrap_or_default().is_empty() {
                    errors.required(&path.child(key).child("name"), "");
                }
            }
        }
        if count == 0 {
            let why = "must specify one of: `configMapRef` or `secretRef`";
            errors.invalid(&path, "", why);
        } else if count > 1 {
            errors.invalid(&path, "", "may not have more than one field specified at a time");
        }
    }
}
