//! Devices: who claims them, where they are.

use serde_json::Value;

use super::row::Row;

/// Cells of a ResourceClaim.
pub(super) fn claim(row: &Row<'_>) -> Vec<Value> {
    let mut states = Vec::new();
    if row.is_deleted() {
        states.push("deleted");
    }
    match row.get("/status/allocation") {
        None if !row.is_deleted() => states.push("pending"),
        None => {}
        Some(_) => {
            states.push("allocated");
            if !row.list("/status/reservedFor").is_empty() {
                states.push("reserved");
            }
        }
    }
    vec![row.name(), states.join(",").into(), row.age()]
}

/// Cells of a ResourceSlice.
pub(super) fn slice(row: &Row<'_>) -> Vec<Value> {
    vec![
        row.name(),
        row.text_or("/spec/nodeName", "<unset>").into(),
        row.text("/spec/driver").into(),
        row.text("/spec/pool/name").into(),
        row.age(),
    ]
}

/// Cells of a DeviceTaintRule.
pub(super) fn taint_rule(row: &Row<'_>) -> Vec<Value> {
    let taint = |key: &str| Value::from(row.text(&format!("/spec/taint/{key}")));
    vec![
        row.name(),
        taint("key"),
        taint("value"),
        taint("effect"),
        row.since("/spec/taint/timeAdded").into(),
        row.age(),
    ]
}
