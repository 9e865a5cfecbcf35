//! Recorded writes: what the original refused must be refused with the same complaints, and what it
//! took must be taken.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::*;
use crate::{
    codec, defaults,
    facts::registry,
    testdata::{Write, writes},
};

/// Complaints that come from elsewhere: options, policies, strategies, allocators, CEL.
fn is_elsewhere(field: &str, message: &str) -> bool {
    matches!(field, "" | "[]" | "fieldManager" | "force" | "dryRun" | "fieldValidation" | "patch")
        || message.contains("provided port is")
        || message.contains("failed to allocate")
        || message.contains("not configured on this cluster")
        || message.contains("denied request")
        || message.contains("non-increasing")
        || message.contains("pod updates may not change")
        || field == "metadata.generation"
        || message.contains("<rv>")
        || message.contains("<uid>")
        || message.contains("<time>")
}

/// Cases that are only taken because a strategy or admission changes the object before.
const ELSEWHERE: &[&str] = &[
    "core/event-new-api-full",
    "core/event-apply-through-both-apis",
    "core/service-type-changes",
    "core/pvc-bad",
    "patch/merge-null-inside-arrays",
    "patch/merge-preconditions",
    "patch/merge-redefaults",
    "machinery/delete-timestamp-cannot-be-set",
];

/// What the server does before it validates.
fn prepare(row: &Write, object: &mut Value) {
    let base = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
    if object["metadata"]["name"].is_null() && !base.is_empty() {
        let end = base.len().min(58);
        object["metadata"]["name"] = format!("{}abcde", &base[..end]).into();
    }
    if let Some(map) = object["metadata"].as_object_mut() {
        map.remove("creationTimestamp");
        if !row.namespaced {
            map.remove("namespace");
        }
    }
    if row.kind == "Secret" {
        let strings = object.as_object_mut().and_then(|map| map.remove("stringData"));
        for (key, text) in strings.iter().filter_map(Value::as_object).flatten() {
            let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
            object["data"][key] = encoded.into();
        }
    }
    let ip = object["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    if row.kind == "Service" && !ip.is_empty() && object["spec"]["clusterIPs"].is_null() {
        object["spec"]["clusterIPs"] = vec![ip].into();
    }
    if row.kind == "Job" && row.op == "create" && object["spec"]["manualSelector"] != true {
        let name = object["metadata"]["name"].clone();
        object["metadata"]["uid"] = "u-1".into();
        for (key, value) in [
            ("batch.kubernetes.io/controller-uid", Value::from("u-1")),
            ("job-name", name.clone()),
            ("controller-uid", "u-1".into()),
            ("batch.kubernetes.io/job-name", name),
        ] {
            let labels = &mut object["spec"]["template"]["metadata"]["labels"];
            if labels[key].is_null() {
                labels[key] = value;
            }
        }
        let selected = &mut object["spec"]["selector"]["matchLabels"];
        selected["batch.kubernetes.io/controller-uid"] = "u-1".into();
    }
    // Indexing made nulls.
    for key in ["metadata", "spec", "data"] {
        if let Some(map) = object[key].as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
    }
    if let Some(map) = object.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

/// What was asked for, as the validators see it.
fn settled(row: &Write, object: &Value) -> Option<Value> {
    let gvk = Gvk { group: &row.group, version: &row.version, kind: &row.kind };
    let ty = registry().kind(gvk.group, gvk.version, gvk.kind).expect("a known kind");
    // Recordings have placeholders for what differs from run to run.
    let text = object.to_string().replace("<time>", "2024-01-01T00:00:00.000000Z");
    let text = text.replace("<address>", "10.96.0.10").replace("<random>", "abcde");
    let object = serde_json::from_str(&text).expect("JSON still");
    let mut object = codec::canonicalize(ty, object).ok()?;
    object["apiVersion"] = gvk.api_version().into();
    object["kind"] = gvk.kind.into();
    if row.namespaced && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = row.ns.as_str().into();
    }
    prepare(row, &mut object);
    defaults::apply(gvk, &mut object);
    if row.kind == "Pod" && row.op == "create" {
        defaults::merge_label_keys(&mut object);
    }
    Some(object)
}

/// What is wrong with a recorded write; `None` where its placeholders can't be read.
fn found(row: &Write) -> Option<Vec<(String, String)>> {
    let gvk = Gvk { group: &row.group, version: &row.version, kind: &row.kind };
    let new = settled(row, &row.new)?;
    let errors = match &row.old {
        Some(old) => object_update(gvk, &new, &settled(row, old)?),
        None => object_create(gvk, row.namespaced, &new),
    };
    Some(errors.into_iter().map(|error| (error.field.clone(), error.body())).collect())
}

#[test]
fn what_the_original_took_is_taken() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for row in writes() {
        // A write through another door changes less than its body says.
        if row.stored.is_none() || !row.sub.is_empty() || ELSEWHERE.contains(&row.case.as_str()) {
            continue;
        }
        let Some(errors) = found(&row) else { continue };
        seen += 1;
        for (field, message) in errors {
            problems.push(format!("{} {} {}: {field}: {message}", row.case, row.op, row.kind));
        }
    }
    assert!(seen > 600, "{seen} recorded writes");
    let few = problems.iter().take(120).cloned().collect::<Vec<_>>().join("\n");
    assert!(problems.is_empty(), "{} problems of {seen}:\n{few}", problems.len());
}

#[test]
fn what_the_original_refused_is_refused_alike() {
    let mut problems = Vec::new();
    let mut by_kind: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for row in writes() {
        if row.causes.is_empty() || row.case.starts_with("access/") {
            continue;
        }
        let wanted: BTreeSet<_> =
            row.causes.iter().filter(|(field, text)| !is_elsewhere(field, text)).cloned().collect();
        if wanted.is_empty() {
            continue;
        }
        let Some(errors) = found(&row) else { continue };
        let order = |list: &[(String, String)]| -> Vec<(String, String)> {
            list.iter().filter(|(field, text)| !is_elsewhere(field, text)).cloned().collect()
        };
        let (mine, theirs) = (order(&errors), order(&row.causes));
        let got: BTreeSet<(String, String)> =
            errors.into_iter().filter(|(field, text)| !is_elsewhere(field, text)).collect();
        let count = by_kind.entry(row.kind.clone()).or_default();
        count.1 += 1;
        if got == wanted {
            count.0 += 1;
            if mine != theirs {
                problems.push(format!("{} {}: in another order", row.case, row.kind));
                count.0 -= 1;
            }
            continue;
        }
        for (field, message) in wanted.difference(&got) {
            problems.push(format!("{} {}: missing {field}: {message}", row.case, row.kind));
        }
        for (field, message) in got.difference(&wanted) {
            problems.push(format!("{} {}: too much {field}: {message}", row.case, row.kind));
        }
    }
    let good: usize = by_kind.values().map(|(good, _)| good).sum();
    let all: usize = by_kind.values().map(|(_, all)| all).sum();
    let few = problems.iter().take(400).cloned().collect::<Vec<_>>().join("\n");
    assert!(good >= AT_LEAST, "{good} of {all} alike; {by_kind:?}\n{few}");
}

/// Recorded refusals that are alike; this number only grows.
const AT_LEAST: usize = 510;
