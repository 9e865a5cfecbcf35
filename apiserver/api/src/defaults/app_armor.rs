//! AppArmor profiles in annotations, the old way: a new pod has them as fields too.

use serde_json::{Value, json};

use super::edit::{child, items, made, text};

/// Prefix of the annotations; a container's name follows.
const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Fills the field from the annotation where only that is given. This is no default: the kind's
/// strategy calls it once, when a pod is made.
pub fn app_armor_fields(pod: &mut Value) {
    let annotations = pod.pointer("/metadata/annotations").cloned().unwrap_or_default();
    let Some(spec) = child(pod, "spec") else { return };
    if spec.pointer("/os/name").and_then(Value::as_str) == Some("windows") {
        return;
    }
    for key in ["initContainers", "containers"] {
        for container in items(spec, key) {
            let profile = text(&annotations, &format!("{PREFIX}{}", text(container, "name")));
            let Some(profile) = field(profile) else { continue };
            let Some(context) = made(container, "securityContext") else { continue };
            if context.get("appArmorProfile").is_none_or(Value::is_null) {
                context["appArmorProfile"] = profile;
            }
        }
    }
}

/// The field's value for a valid annotation.
fn field(profile: &str) -> Option<Value> {
    match profile {
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        "unconfined" => Some(json!({"type": "Unconfined"})),
        _ => {
            let name = profile.strip_prefix("localhost/").filter(|name| !name.is_empty())?;
            Some(json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}
