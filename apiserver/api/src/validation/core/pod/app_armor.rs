//! AppArmor profiles in annotations, the old way, and the field that has replaced them.

use serde_json::Value;

use super::super::super::check::{Errors, Path, at, get, list, text};

/// Prefix of the annotations; a container's name follows.
const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Annotations name a container and a profile.
pub(super) fn annotations(metadata: &Value, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let names: Vec<&str> = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|key| list(spec, key))
        .map(|container| text(container, "name"))
        .collect();
    let path = path.child("annotations");
    for (key, value) in get(metadata, "annotations").as_object().into_iter().flatten() {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        if !names.contains(&name) {
            errors.invalid(&path.key(key), name, "container not found");
        }
        let profile = value.as_str().unwrap_or_default();
        let known = matches!(profile, "" | "runtime/default" | "unconfined");
        if !known && !profile.starts_with("localhost/") {
            let why = format!("invalid AppArmor profile name: {profile:?}");
            errors.invalid(&path.key(key), profile, &why);
        }
    }
}

/// In a new pod annotation and field say the same.
pub(super) fn agree(pod: &Value, path: &Path<'_>, errors: &mut Errors) {
    let spec = get(pod, "spec");
    if text(get(spec, "os"), "name") == "windows" {
        return;
    }
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        let path = path.child(key);
        for (index, container) in list(spec, key).iter().enumerate() {
            let field = at(container, "/securityContext/appArmorProfile");
            let annotation = format!("{PREFIX}{}", text(container, "name"));
            let annotation = at(pod, "/metadata/annotations").get(&annotation);
            let Some(profile) = annotation.and_then(Value::as_str) else { continue };
            let (kind, name) = match profile.split_once('/') {
                Some(("localhost", name)) => ("Localhost", name),
                _ if profile == "runtime/default" => ("RuntimeDefault", ""),
                _ if profile == "unconfined" => ("Unconfined", ""),
                _ => continue,
            };
            if field.is_null() {
                continue;
            }
            let path = path.index(index);
            let path = path.child("securityContext");
            let path = path.child("appArmorProfile");
            if text(field, "type") != kind {
                let why = "apparmor type in annotation and field must match";
                errors.forbidden(&path.child("type"), why);
            } else if text(field, "localhostProfile") != name {
                let why = "apparmor profile in annotation and field must match";
                errors.forbidden(&path.child("localhostProfile"), why);
            }
        }
    }
}
