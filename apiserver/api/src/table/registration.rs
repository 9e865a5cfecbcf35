//! What extends the API, and the moves between its versions.

use serde_json::Value;

use super::row::{Row, list, text};

/// Cells of a CustomResourceDefinition.
pub(super) fn definition(row: &Row<'_>) -> Vec<Value> {
    let version = |version: &Value| {
        let stored = version.get("storage") == Some(&Value::Bool(true));
        format!("{}{}", text(version, "/name"), if stored { "(storage)" } else { "" })
    };
    let versions: Vec<String> = list(row.object, "/spec/versions").iter().map(version).collect();
    let short = row.list("/spec/names/shortNames").iter().filter_map(Value::as_str);
    let short: Vec<&str> = short.collect();
    vec![
        row.name(),
        row.text("/spec/scope").into(),
        versions.join(",").into(),
        row.text("/metadata/creationTimestamp").into(),
        row.text("/spec/group").into(),
        row.text("/spec/names/kind").into(),
        short.join(",").into(),
        row.is_true("Established").into(),
    ]
}

/// Cells of an APIService.
pub(super) fn service(row: &Row<'_>) -> Vec<Value> {
    let service = match row.get("/spec/service") {
        None => "Local".to_owned(),
        Some(service) => format!("{}/{}", text(service, "/namespace"), text(service, "/name")),
    };
    let mut conditions = row.list("/status/conditions").iter();
    let available = conditions.find(|condition| text(condition, "/type") == "Available");
    let available = available.map_or_else(
        || "Unknown".to_owned(),
        |condition| match text(condition, "/status") {
            "True" => "True".to_owned(),
            status => format!("{status} ({})", text(condition, "/reason")),
        },
    );
    vec![row.name(), service.into(), available.into(), row.age()]
}

/// Cells of a StorageVersionMigration.
pub(super) fn migration(row: &Row<'_>) -> Vec<Value> {
    let resource = row.text("/spec/resource/resource");
    let resource = match row.text("/spec/resource/group") {
        "" => resource.to_owned(),
        group => format!("{resource}.{group}"),
    };
    let states = ["Succeeded", "Failed", "Running"];
    let state = states.into_iter().find(|state| row.is_true(state)).unwrap_or("Unknown");
    vec![row.name(), resource.into(), state.into()]
}
