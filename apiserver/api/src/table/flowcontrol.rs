//! Priority and fairness.

use serde_json::Value;

use super::row::{NONE, Row};

/// Cells of a FlowSchema.
pub(super) fn schema(row: &Row<'_>) -> Vec<Value> {
    vec![
        row.name(),
        row.text("/spec/priorityLevelConfiguration/name").into(),
        row.int("/spec/matchingPrecedence").into(),
        row.text_or("/spec/distinguisherMethod/type", NONE).into(),
        row.age(),
        row.condition("Dangling").unwrap_or("?").into(),
    ]
}

/// Cells of a PriorityLevelConfiguration.
pub(super) fn level(row: &Row<'_>) -> Vec<Value> {
    let cell = |path: &str| row.get(path).cloned().unwrap_or_else(|| NONE.into());
    let queuing = |key: &str| match row.get("/spec/limited/limitResponse/queuing") {
        Some(queuing) => queuing.get(key).cloned().unwrap_or_else(|| 0.into()),
        None => NONE.into(),
    };
    vec![
        row.name(),
        row.text("/spec/type").into(),
        cell("/spec/limited/nominalConcurrencyShares"),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        row.age(),
    ]
}
