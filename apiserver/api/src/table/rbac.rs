//! Bindings of roles.

use serde_json::Value;

use super::row::{Row, text};

/// Cells of a RoleBinding or ClusterRoleBinding.
pub(super) fn binding(row: &Row<'_>) -> Vec<Value> {
    let subjects = |kind: &str| {
        let all = row.list("/subjects").iter().filter(|subject| text(subject, "/kind") == kind);
        let name = |subject: &Value| match kind {
            "ServiceAccount" => {
                format!("{}/{}", text(subject, "/namespace"), text(subject, "/name"))
            }
            _ => text(subject, "/name").to_owned(),
        };
        let all: Vec<String> = all.map(name).collect();
        Value::from(all.join(", "))
    };
    let role = format!("{}/{}", row.text("/roleRef/kind"), row.text("/roleRef/name"));
    vec![
        row.name(),
        role.into(),
        row.age(),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
