//! Recorded writes: what the original stored for a body must be what defaulting makes of it, but
//! for what admission and the kinds' strategies add.

use serde_json::{Map, Value};

use super::*;
use crate::{codec, testdata::writes};

/// Parts of a stored object that no default makes.
const OTHERS: &[&str] = &[
    "metadata",
    "status",
    "kind",
    "apiVersion",
    // admission
    "spec.priority",
    "spec.preemptionPolicy",
    "spec.tolerations",
    "spec.serviceAccount",
    "spec.serviceAccountName",
    "spec.volumes",
    "spec.storageClassName",
    "spec.ingressClassName",
    "spec.overhead",
    "spec.nodeSelector",
    // strategies
    "spec.clusterIP",
    "spec.clusterIPs",
    "spec.ipFamilies",
    "spec.ipFamilyPolicy",
    "spec.healthCheckNodePort",
    "spec.finalizers",
    "spec.taints",
    "spec.selector",
    "stringData",
    "data",
    "secrets",
    "spec.dataSource",
    "spec.dataSourceRef",
    "spec.template.metadata.labels",
    "spec.groups",
    "spec.username",
    "spec.uid",
    "spec.extra",
    // switched off
    "spec.partitionTypeAttribute",
    "spec.skipNodeOperations",
    "spec.imagePullSecrets",
];
/// Fields anywhere that admission, strategies or switched-off features decide about.
const ANYWHERE: &[&str] = &[
    "volumeMounts",
    "nodePort",
    "deprecatedTopology",
    "nodeAllocatableResources",
    "lifecycle",
    "labelSelector",
];

/// Fields that are different in `got` and `want`, shallow paths first.
fn differences(path: &str, got: &Value, want: &Value, out: &mut Vec<String>) {
    let last = path.rsplit('.').next().unwrap_or_default();
    if OTHERS.contains(&path) || ANYWHERE.contains(&last) {
        return;
    }
    match (got, want) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let under = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(&under, a, b, out),
                    _ if OTHERS.contains(&under.as_str()) || ANYWHERE.contains(&key.as_str()) => {}
                    (Some(a), None) => out.push(format!("{under}: {a} is too much")),
                    (None, Some(b)) => out.push(format!("{under}: {b} is missing")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{at}]"), a, b, out);
            }
        }
        _ if want.as_str().is_some_and(|text| text.starts_with('<')) => {}
        _ if got != want => out.push(format!("{path}: {got} is not {want}")),
        _ => {}
    }
}

#[test]
fn recorded_creates_get_the_originals_defaults() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for row in writes().into_iter().filter(|row| row.op == "create") {
        let Some(stored) = row.stored else { continue };
        // Policies of these cases change what is written.
        if row.case.starts_with("access/")
            || row.case.contains("/map-")
            || row.case.contains("apparmor")
        {
            continue;
        }
        let gvk = Gvk { group: &row.group, version: &row.version, kind: &row.kind };
        let ty = registry().kind(gvk.group, gvk.version, gvk.kind).expect("a known kind");
        let mut got = codec::canonicalize(ty, row.new).expect("a good body");
        if !got.is_object() {
            got = Value::Object(Map::new());
        }
        got["apiVersion"] = gvk.api_version().into();
        apply(gvk, &mut got);
        if row.kind == "Pod" {
            super::pod_level_resources(&mut got);
        }
        let once = got.clone();
        apply(gvk, &mut got);
        assert_eq!(got, once, "{}: applying twice changes it", row.case);
        let mut found = Vec::new();
        differences("", &got, &stored, &mut found);
        seen += 1;
        problems.extend(found.into_iter().map(|text| format!("{} {}: {text}", row.case, row.kind)));
    }
    assert!(seen > 400, "{seen} recorded creates");
    let few = problems.iter().take(120).cloned().collect::<Vec<_>>().join("\n");
    assert!(problems.is_empty(), "{} problems of {seen}:\n{few}", problems.len());
}
