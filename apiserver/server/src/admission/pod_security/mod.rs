//! Pod security: a namespace's labels say how much its Pods may ask for.
//!
//! *Modes*: `enforce` refuses Pods; `warn` only tells, also for what makes Pods from a template;
//! `audit` is for the audit log. *Levels*: `privileged` allows all, `baseline` forbids what is known
//! to lead out of a container, `restricted` asks for what hardening guides ask for.
//!
//! Caveat: versions are parsed and shown, but the newest checks are used for all of them.

mod baseline;
mod policy;
mod restricted;
mod violation;

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use self::policy::{Level, Mode, Policy};
use self::violation::Violation;
use super::{Operation, Plugin, Review, lookup};
use crate::fields;

/// Kinds that make Pods, and where their template is.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("batch", "jobs", "/spec/template"),
];

/// The plugin.
pub(super) struct PodSecurity;

fn template(review: &Review<'_>) -> Option<&'static str> {
    let row = TEMPLATES.iter().find(|(group, plural, _)| review.is(group, plural));
    row.map(|(_, _, path)| *path)
}

#[async_trait]
impl Plugin for PodSecurity {
    fn handles(&self, review: &Review<'_>) -> bool {
        let pod = review.is_any_door("", "pods")
            && matches!(review.subresource(), "" | "ephemeralcontainers");
        review.operation != Operation::Delete
            && (pod || review.is("", "namespaces") || template(review).is_some())
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        if review.is("", "namespaces") {
            return namespace(review, object).await;
        }
        let name = review.call.namespace();
        let found = lookup::object(review.call, "", "namespaces", "", name).await?;
        let Some(found) = found else { return Ok(()) };
        match template(review) {
            Some(path) => {
                let policy = Policy::of(&found, Mode::Warn);
                if let Some(pod) = object.pointer(path) {
                    warn(review, &policy, pod);
                }
                Ok(())
            }
            None => pod(review, &found, object),
        }
    }
}

fn pod(review: &Review<'_>, namespace: &Value, pod: &Value) -> Result<(), Status> {
    let skip =
        review.old.is_some_and(|old| review.subresource().is_empty() && images(old) == images(pod));
    if skip {
        return Ok(());
    }
    let policy = Policy::of(namespace, Mode::Enforce);
    let found = violations(&policy, pod);
    if !found.is_empty() {
        let why = format!("violates PodSecurity {:?}: {}", policy.to_string(), details(&found));
        return Err(review.forbidden(Some(pod), &why));
    }
    warn(review, &Policy::of(namespace, Mode::Warn), pod);
    Ok(())
}

/// The only part of a Pod's spec that an update may change and that matters here.
fn images(pod: &Value) -> Vec<&str> {
    let lists = ["/spec/initContainers", "/spec/containers"];
    let containers = lists.into_iter().flat_map(|path| fields::list(pod, path));
    containers.map(|container| fields::text(container, "/image")).collect()
}

fn warn(review: &Review<'_>, policy: &Policy, pod: &Value) {
    let found = violations(policy, pod);
    if !found.is_empty() {
        let policy = policy.to_string();
        review.call.warn(format!("would violate PodSecurity {policy:?}: {}", details(&found)));
    }
}

/// What a Pod, or a template of one, violates.
fn violations(policy: &Policy, pod: &Value) -> Vec<Violation> {
    let null = Value::Null;
    let spec = pod.get("spec").unwrap_or(&null);
    let annotations = pod.pointer("/metadata/annotations").unwrap_or(&null);
    match policy.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline::check(spec, annotations, false),
        Level::Restricted => {
            let mut found = baseline::check(spec, annotations, true);
            found.extend(restricted::check(spec));
            found
        }
    }
}

fn details(found: &[Violation]) -> String {
    let texts: Vec<String> =
        found.iter().map(|one| format!("{} ({})", one.reason, one.detail)).collect();
    texts.join(", ")
}

/// Checks a namespace's labels, and tells which Pods a stricter level would refuse.
async fn namespace(review: &Review<'_>, namespace: &Value) -> Result<(), Status> {
    let name = fields::text(namespace, "/metadata/name");
    let errors = policy::check_labels(namespace);
    if !errors.is_empty() && review.old.is_none_or(|old| policy::check_labels(old).is_empty()) {
        return Err(Status::invalid("", "Namespace", name, errors));
    }
    let Some(old) = review.old else { return Ok(()) };
    let (before, after) = (Policy::of(old, Mode::Enforce), Policy::of(namespace, Mode::Enforce));
    if after.level <= before.level {
        return Ok(());
    }
    let pods = lookup::all(review.call, "", "pods", name).await?;
    let mut groups: Vec<(String, String, usize)> = Vec::new();
    for pod in &pods {
        let found = violations(&after, pod);
        if found.is_empty() {
            continue;
        }
        let reasons: Vec<&str> = found.iter().map(|one| one.reason.as_str()).collect();
        let reasons = reasons.join(", ");
        match groups.iter_mut().find(|(_, known, _)| *known == reasons) {
            Some((_, _, others)) => *others += 1,
            None => groups.push((fields::text(pod, "/metadata/name").to_owned(), reasons, 0)),
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    review.call.warn(format!(
        "existing pods in namespace {name:?} violate the new PodSecurity enforce level {:?}",
        after.to_string()
    ));
    for (pod, reasons, others) in groups {
        let more = match others {
            0 => String::new(),
            1 => " (and 1 other pod)".to_owned(),
            n => format!(" (and {n} other pods)"),
        };
        review.call.warn(format!("{pod}{more}: {reasons}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(level: Level, spec: Value) -> String {
        let policy = Policy { level, version: "latest".to_owned() };
        details(&violations(&policy, &json!({"spec": spec})))
    }

    #[test]
    fn baseline_names_what_leads_out_of_a_container() {
        let spec = json!({"hostNetwork": true, "hostPID": true, "volumes": [
            {"name": "a", "hostPath": {"path": "/a"}}], "containers": [
            {"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 81}]},
            {"name": "d", "ports": [{"hostPort": 82}],
             "securityContext": {"privileged": true, "capabilities": {"add": ["NET_RAW", "CHOWN"]}}}]});
        assert_eq!(
            text(Level::Baseline, spec),
            "non-default capabilities (container \"d\" must not include \"NET_RAW\" in \
             securityContext.capabilities.add), host namespaces (hostNetwork=true, hostPID=true), \
             hostPath volumes (volume \"a\"), hostPort (containers \"c\", \"d\" use hostPorts 80, 81, \
             82), privileged (container \"d\" must not set securityContext.privileged=true)"
        );
        assert_eq!(text(Level::Privileged, json!({"hostPID": true})), "");
    }

    #[test]
    fn restricted_asks_for_hardening() {
        let spec = json!({"containers": [{"name": "x"}]});
        assert_eq!(
            text(Level::Restricted, spec),
            "allowPrivilegeEscalation != false (container \"x\" must set \
             securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \
             \"x\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or \
             container \"x\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or \
             container \"x\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
             \"Localhost\")"
        );
        let hardened = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile":
            {"type": "RuntimeDefault"}}, "containers": [{"name": "x", "securityContext":
            {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]});
        assert_eq!(text(Level::Restricted, hardened), "");
    }
}
