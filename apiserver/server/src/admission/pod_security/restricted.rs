//! The level `restricted`: what hardening guides ask for, on top of `baseline`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::violation::{Violation, containers, list, named, quoted};
use crate::fields;

/// Volumes that hold nothing of the machine or the network.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Checks a Pod beyond the level before.
pub(super) fn check(spec: &Value) -> Vec<Violation> {
    let windows = fields::text(spec, "/os/name") == "windows";
    let isolated = spec.get("hostUsers") == Some(&Value::Bool(false));
    let mut found = Vec::new();
    if !windows {
        found.extend(escalation(spec));
        found.extend(capabilities(spec));
    }
    found.extend(volumes(spec));
    if !isolated {
        found.extend(non_root(spec));
        found.extend(user(spec));
    }
    if !windows {
        found.extend(seccomp(spec));
    }
    found
}

fn escalation(spec: &Value) -> Option<Violation> {
    let path = "/securityContext/allowPrivilegeEscalation";
    let names = named(spec, |c| c.pointer(path) != Some(&Value::Bool(false)));
    let who = list("container", &names);
    let detail = format!("{who} must set securityContext.allowPrivilegeEscalation=false");
    (!names.is_empty()).then(|| Violation::new("allowPrivilegeEscalation != false", detail))
}

fn capabilities(spec: &Value) -> Option<Violation> {
    let caps = |container: &Value, key: &str| -> Vec<String> {
        let path = format!("/securityContext/capabilities/{key}");
        fields::texts(container, &path).into_iter().map(str::to_owned).collect()
    };
    let keeping = named(spec, |c| !caps(c, "drop").iter().any(|cap| cap == "ALL"));
    let extra = |container: &Value| -> Vec<String> {
        caps(container, "add").into_iter().filter(|cap| cap != "NET_BIND_SERVICE").collect()
    };
    let adding = named(spec, |container| !extra(container).is_empty());
    let mut parts = Vec::new();
    if !keeping.is_empty() {
        let who = list("container", &keeping);
        parts.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        let all: BTreeSet<String> = containers(spec).flat_map(extra).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        parts.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            list("container", &adding),
            quoted(&all)
        ));
    }
    (!parts.is_empty()).then(|| Violation::new("unrestricted capabilities", parts.join("; ")))
}

fn volumes(spec: &Value) -> Option<Violation> {
    let kind = |volume: &Value| -> Option<String> {
        let mut keys = volume.as_object()?.keys().filter(|key| *key != "name");
        keys.find(|key| !VOLUMES.contains(&key.as_str())).cloned()
    };
    let bad = fields::list(spec, "/volumes").iter().filter(|volume| kind(volume).is_some());
    let names: Vec<&str> = bad.clone().map(|volume| fields::text(volume, "/name")).collect();
    let kinds: BTreeSet<String> = bad.filter_map(kind).collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if kinds.len() == 1 { "type" } else { "types" };
    let who = list("volume", &names);
    let detail = format!("{who} {verb} restricted volume {noun} {}", quoted(&kinds));
    (!names.is_empty()).then(|| Violation::new("restricted volume types", detail))
}

fn non_root(spec: &Value) -> Option<Violation> {
    let path = "/securityContext/runAsNonRoot";
    let said = |value: &Value| value.pointer(path).and_then(Value::as_bool);
    let wrong = named(spec, |container| said(container) == Some(false));
    let silent = named(spec, |container| said(container).is_none());
    let mut who = Vec::new();
    if said(spec) == Some(false) {
        who.push("pod".to_owned());
    }
    if !wrong.is_empty() {
        who.push(list("container", &wrong));
    }
    let detail = if !who.is_empty() {
        format!("{} must not set securityContext.runAsNonRoot=false", who.join(" and "))
    } else if said(spec) != Some(true) && !silent.is_empty() {
        let who = list("container", &silent);
        format!("pod or {who} must set securityContext.runAsNonRoot=true")
    } else {
        return None;
    };
    Some(Violation::new("runAsNonRoot != true", detail))
}

fn user(spec: &Value) -> Option<Violation> {
    let root = |value: &Value| fields::integer(value, "/securityContext/runAsUser") == Some(0);
    let (pod, names) = (root(spec), named(spec, root));
    let who = match (pod, names.is_empty()) {
        (false, true) => return None,
        (true, true) => "pod".to_owned(),
        (true, false) => format!("pod and {}", list("container", &names)),
        (false, false) => list("container", &names),
    };
    Some(Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0")))
}

fn seccomp(spec: &Value) -> Option<Violation> {
    let kind =
        |value: &Value| fields::text(value, "/securityContext/seccompProfile/type").to_owned();
    let fine = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let wrong = named(spec, |container| {
        let kind = kind(container);
        !kind.is_empty() && !fine(&kind)
    });
    let silent = named(spec, |container| kind(container).is_empty());
    let pod = kind(spec);
    let mut who = Vec::new();
    if !pod.is_empty() && !fine(&pod) {
        who.push("pod".to_owned());
    }
    if !wrong.is_empty() {
        who.push(list("container", &wrong));
    }
    let detail = if !who.is_empty() {
        let who = who.join(" and ");
        format!("{who} must not set securityContext.seccompProfile.type to \"Unconfined\"")
    } else if pod.is_empty() && !silent.is_empty() {
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
             \"Localhost\"",
            list("container", &silent)
        )
    } else {
        return None;
    };
    Some(Violation::new("seccompProfile", detail))
}
