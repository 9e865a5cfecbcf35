//! Small kinds of the core group and its neighbours.

use serde_json::Value;

use super::row::{Row, plain};

/// Cells of a kind that shows when it was made.
pub(super) fn created_at(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.text("/metadata/creationTimestamp").into()]
}

/// Cells of a ConfigMap.
pub(super) fn config_map(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), (row.count("/data") + row.count("/binaryData")).into(), row.age()]
}

/// Cells of a Secret.
pub(super) fn secret(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.text("/type").into(), row.count("/data").into(), row.age()]
}

/// Cells of a Namespace.
pub(super) fn namespace(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.text("/status/phase").into(), row.age()]
}

/// Cells of a PodTemplate.
pub(super) fn pod_template(row: &Row<'_>) -> Vec<Value> {
    let [names, images] = row.containers("/template/spec");
    vec![row.name(), names, images, row.labels("/template/metadata/labels").into()]
}

/// Cells of a Lease.
pub(super) fn lease(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.text("/spec/holderIdentity").into(), row.age()]
}

/// Cells of a PriorityClass.
pub(super) fn priority_class(row: &Row<'_>) -> Vec<Value> {
    vec![
        row.name(),
        row.int("/value").into(),
        row.flag("/globalDefault").into(),
        row.age(),
        row.text("/preemptionPolicy").into(),
    ]
}

/// Cells of a ResourceQuota: limits apart from everything else.
pub(super) fn resource_quota(row: &Row<'_>) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in row.map("/status/hard").into_iter().flatten() {
        let used = row.map("/status/used").and_then(|used| used.get(name));
        let used = used.map_or_else(|| "0".to_owned(), plain);
        let text = format!("{name}: {used}/{}", plain(hard));
        if name.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
    }
    vec![row.name(), requests.join(", ").into(), limits.join(", ").into(), row.age()]
}

/// Cells of an Event, in the form of either of its groups.
pub(super) fn event(row: &Row<'_>) -> Vec<Value> {
    let either = |old: &str, new: &str| match row.text(old) {
        "" => row.text(new).to_owned(),
        text => text.to_owned(),
    };
    let first = match either("/firstTimestamp", "/deprecatedFirstTimestamp") {
        moment if moment.is_empty() => row.since("/eventTime"),
        moment => row.since_text(&moment),
    };
    let mut last = match either("/lastTimestamp", "/deprecatedLastTimestamp") {
        moment if moment.is_empty() => first.clone(),
        moment => row.since_text(&moment),
    };
    let mut count = row.int("/count").max(row.int("/deprecatedCount")).max(1);
    if row.get("/series").is_some() {
        last = row.since("/series/lastObservedTime");
        count = row.int("/series/count");
    }
    let about = |key: &str| either(&format!("/involvedObject/{key}"), &format!("/regarding/{key}"));
    let kind = about("kind").to_lowercase();
    let target = match about("name") {
        name if name.is_empty() => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        last.into(),
        row.text("/type").into(),
        row.text("/reason").into(),
        target.into(),
        about("fieldPath").into(),
        source(row).into(),
        either("/message", "/note").trim().into(),
        first.into(),
        count.into(),
        row.name(),
    ]
}

/// Who reported an Event, and where.
fn source(row: &Row<'_>) -> String {
    let first = |paths: [&str; 4]| {
        let mut texts = paths.into_iter().map(|path| row.text(path));
        texts.find(|text| !text.is_empty()).unwrap_or_default()
    };
    let component = first([
        "/source/component",
        "/deprecatedSource/component",
        "/reportingComponent",
        "/reportingController",
    ]);
    let instance = first([
        "/source/host",
        "/deprecatedSource/host",
        "/reportingInstance",
        "/reportingInstance",
    ]);
    if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") }
}
