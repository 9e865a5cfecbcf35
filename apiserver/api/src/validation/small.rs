//! Kinds with few rules: priorities, runtime classes, service accounts, leases, API services,
//! migrations.

use serde_json::Value;

use super::{
    check::{Errors, Path, at, entries, get, has, int, list, shown, text},
    core::pod::{amount, container_resource_name, huge_page, toleration},
    metadata,
};
use crate::meta;

/// Prefix of the system's own priorities.
const SYSTEM: &str = "system-";
/// Priorities of the system.
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
/// Greatest priority of a user.
const GREATEST: i64 = 1_000_000_000;

/// A new PriorityClass.
pub(super) fn priority_class(object: &Value, errors: &mut Errors) {
    let name = text(get(object, "metadata"), "name");
    let value = int(object, "value").unwrap_or(0);
    if name.starts_with(SYSTEM) {
        let known = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name);
        let why = match known {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, wanted)) if value != *wanted => {
                Some(format!("value of {name} PriorityClass must be {wanted}"))
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            let why = format!(
                "priority class names with '{SYSTEM}' prefix are reserved for system use only. \
                 error: {why}"
            );
            let path = Path::new("metadata");
            errors.forbidden(&path.child("name"), &why);
        }
    } else if value > GREATEST {
        let why = format!("maximum allowed value of a user defined priority is {GREATEST}");
        errors.forbidden(&Path::new("value"), &why);
    }
    if let Some(policy) = get(object, "preemptionPolicy").as_str() {
        let known = ["PreemptLowerPriority", "Never"];
        errors.one_of(&Path::new("preemptionPolicy"), policy, &known);
    }
}

/// A new RuntimeClass.
pub(super) fn runtime_class(object: &Value, errors: &mut Errors) {
    let handler = text(object, "handler");
    let path = Path::new("handler");
    errors.late(|errors| match handler {
        "" => errors.required(&path, ""),
        handler => errors.complaints(&path, handler, meta::dns1123_label(handler)),
    });
    let path = Path::new("overhead");
    let path = path.child("limits");
    for (name, value) in entries(get(object, "overhead"), "podFixed") {
        let path = path.key(name);
        errors.complaints(&path, name, container_resource_name(name));
        amount(name, value, &path, errors);
        if name.starts_with("hugepages-") {
            huge_page(name, value, &path, errors);
        }
    }
    let scheduling = get(object, "scheduling");
    let path = Path::new("scheduling");
    metadata::labels(scheduling, "nodeSelector", &path, errors);
    let path = path.child("tolerations");
    let all = list(scheduling, "tolerations");
    for (at, one) in all.iter().enumerate() {
        toleration(one, &path.index(at), errors);
    }
    for (at, one) in all.iter().enumerate() {
        if all[..at].contains(one) {
            let shown = format!(
                "{{\"Key\":{},\"Operator\":{},\"Value\":{},\"Effect\":{},\
                 \"TolerationSeconds\":{}}}",
                Value::from(text(one, "key")),
                Value::from(text(one, "operator")),
                Value::from(text(one, "value")),
                Value::from(text(one, "effect")),
                get(one, "tolerationSeconds")
            );
            errors.duplicate_raw(&path.index(at), shown);
        }
    }
}

/// A changed RuntimeClass: its handler stays.
pub(super) fn runtime_class_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "handler") != get(old, "handler") {
        errors.invalid(&Path::new("handler"), Value::Null, "field is immutable");
    }
}

/// A new Lease.
pub(super) fn lease(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    errors.not_negative(&path.child("leaseTransitions"), int(spec, "leaseTransitions"));
}

/// A changed Lease.
pub(super) fn lease_update(new: &Value, _old: &Value, errors: &mut Errors) {
    lease(new, errors);
}

/// A new APIService.
pub(super) fn api_service(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let name = text(get(object, "metadata"), "name");
    let wanted = format!("{version}.{group}");
    if name != wanted {
        let metadata = Path::new("metadata");
        errors.invalid(
            &metadata.child("name"),
            name,
            &format!("must be `spec.version+\".\"+spec.group`: {wanted:?}"),
        );
    }
    if version.is_empty() {
        errors.required(&path.child("version"), "");
    } else {
        errors.complaints(&path.child("version"), version, meta::dns1035_label(version));
    }
    for key in ["groupPriorityMinimum", "versionPriority"] {
        let most = if key == "versionPriority" { 1000 } else { 20_000 };
        let number = int(spec, key).unwrap_or(0);
        if number <= 0 || number > most {
            let why = if key == "versionPriority" {
                "must be positive and less than 1000"
            } else {
                "must be positive and less than 20000"
            };
            errors.invalid(&path.child(key), number, why);
        }
    }
    let service = get(spec, "service");
    if service.is_null() {
        if has(spec, "caBundle") {
            errors.invalid(
                &path.child("caBundle"),
                "",
                "local APIServices may not have a caBundle",
            );
        }
        return;
    }
    let under = path.child("service");
    for key in ["namespace", "name"] {
        if text(service, key).is_empty() {
            errors.required(&under.child(key), "");
        }
    }
}

/// A changed APIService.
pub(super) fn api_service_update(new: &Value, _old: &Value, errors: &mut Errors) {
    api_service(new, errors);
    let path = Path::new("status");
    let path = path.child("conditions");
    for (index, one) in list(get(new, "status"), "conditions").iter().enumerate() {
        let path = path.index(index);
        errors.one_of(&path.child("status"), text(one, "status"), &["True", "False", "Unknown"]);
    }
}

/// A new StorageVersionMigration.
pub(super) fn migration(object: &Value, errors: &mut Errors) {
    let resource = at(object, "/spec/resource");
    let path = Path::new("spec");
    let path = path.child("resource");
    let name = text(resource, "resource");
    if name.is_empty() {
        errors.required(&path.child("resource"), "resource is required to be set");
    } else {
        errors.complaints(&path.child("resource"), name, meta::dns1035_label(name));
    }
    let group = text(resource, "group");
    if !group.is_empty() {
        errors.complaints(&path.child("group"), group, meta::dns1123_subdomain(group));
    }
}

/// A changed StorageVersionMigration: its resource stays.
pub(super) fn migration_update(new: &Value, old: &Value, errors: &mut Errors) {
    let pointer = "/spec/resource";
    if at(new, pointer) != at(old, pointer) {
        let resource = at(new, pointer);
        let shown = format!(
            "{{\"Resource\":{{\"group\":{},\"resource\":{}}}}}",
            Value::from(text(resource, "group")),
            Value::from(text(resource, "resource"))
        );
        errors.invalid_raw(&Path::new("spec"), shown, "field is immutable");
    }
    migration_status(get(new, "status"), get(old, "status"), errors);
}

/// A migration has one revision, and ends once.
fn migration_status(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("status");
    let (revision, before) = (text(new, "resourceVersion"), text(old, "resourceVersion"));
    let under = path.child("resourceVersion");
    if !before.is_empty() && revision != before {
        errors.invalid(&under, revision, "field is immutable");
    } else if !revision.is_empty() && revision.parse::<u64>().is_err() {
        let why = format!("resource version is not well formed: {revision}");
        errors.invalid(&under, revision, &why);
    }
    let is = |status: &Value, kind: &str, value: &str| {
        let mut all = list(status, "conditions").iter();
        all.any(|one| text(one, "type") == kind && text(one, "status") == value)
    };
    let refuse = |why: &str, errors: &mut Errors| {
        let kind = "io.k8s.apimachinery.pkg.apis.meta.v1.Condition";
        let all: Vec<String> =
            list(new, "conditions").iter().map(|condition| shown(kind, condition)).collect();
        errors.invalid_raw(&path.child("conditions"), format!("[{}]", all.join(",")), why);
    };
    if is(new, "Succeeded", "True") && is(new, "Failed", "True") {
        refuse("Both success and failed conditions cannot be true at the same time", errors);
    }
    for (kind, noun) in [("Succeeded", "Success"), ("Failed", "Failed")] {
        if is(old, kind, "True") && is(new, kind, "False") {
            let why = format!("{noun} condition cannot be set to false once it is true");
            refuse(&why, errors);
        }
    }
}

/// Nothing beyond metadata.
pub(super) fn nothing(_object: &Value, _errors: &mut Errors) {}

/// Nothing beyond metadata.
pub(super) fn nothing_changed(_new: &Value, _old: &Value, _errors: &mut Errors) {}
