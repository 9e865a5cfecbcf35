//! Advice about pods and about what has a template of them.

use serde_json::Value;

use super::{at, pod_spec, text};
use crate::meta;

/// Prefix of annotations that a field has replaced.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Prefix of annotations that do nothing any more.
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// An annotation that does nothing any more.
const POD_SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";

/// A Pod, when it is made.
pub(super) fn pod(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_some() {
        return out;
    }
    let name = text(new, "/metadata/name");
    let complaints = meta::dns1123_label(name);
    if !name.is_empty() && !complaints.is_empty() {
        out.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising \
             behavior; a DNS label is recommended: [{}]",
            complaints.join(" ")
        ));
    }
    parts(at(new, "/metadata"), at(new, "/spec"), "metadata", "spec", &mut out);
    out
}

/// A PodTemplate.
pub(super) fn pod_template(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    template(at(new, "/template"), "template", &mut out);
    out
}

/// What has a template, when its spec changes.
pub(super) fn templated(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_none_or(|old| old.get("spec") != new.get("spec")) {
        template(at(new, "/spec/template"), "spec.template", &mut out);
    }
    out
}

/// A CronJob.
pub(super) fn cron_job(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_none_or(|old| old.get("spec") != new.get("spec")) {
        let path = "spec.jobTemplate.spec.template";
        template(at(new, "/spec/jobTemplate/spec/template"), path, &mut out);
    }
    out
}

fn template(template: &Value, path: &str, out: &mut Vec<String>) {
    let (metadata, spec) = (format!("{path}.metadata"), format!("{path}.spec"));
    parts(at(template, "/metadata"), at(template, "/spec"), &metadata, &spec, out);
}

fn parts(metadata: &Value, spec: &Value, meta_path: &str, path: &str, out: &mut Vec<String>) {
    annotations(metadata, spec, meta_path, out);
    pod_spec::spec(spec, path, out);
}

fn annotations(metadata: &Value, spec: &Value, path: &str, out: &mut Vec<String>) {
    let names: Vec<&str> = ["/containers", "/initContainers", "/ephemeralContainers"]
        .iter()
        .flat_map(|key| super::list(spec, key))
        .map(|container| text(container, "/name"))
        .collect();
    let all = metadata.get("annotations").and_then(Value::as_object);
    for key in all.into_iter().flat_map(serde_json::Map::keys) {
        let of = |prefix| key.strip_prefix(prefix).is_some_and(|name| names.contains(&name));
        let what = if key == POD_SECCOMP || of(SECCOMP) {
            "non-functional in v1.27+; use the \"seccompProfile\" field instead"
        } else if of(APP_ARMOR) {
            "deprecated since v1.30; use the \"appArmorProfile\" field instead"
        } else {
            continue;
        };
        out.push(format!("{path}.annotations[{key}]: {what}"));
    }
}
