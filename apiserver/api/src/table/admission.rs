//! Webhooks and policies.

use serde_json::Value;

use super::row::{Row, UNSET};

/// Cells of a webhook configuration.
pub(super) fn webhooks(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.count("/webhooks").into(), row.age()]
}

/// Cells of a ValidatingAdmissionPolicy.
pub(super) fn validating_policy(row: &Row<'_>) -> Vec<Value> {
    policy(row, "/spec/validations")
}

/// Cells of a MutatingAdmissionPolicy.
pub(super) fn mutating_policy(row: &Row<'_>) -> Vec<Value> {
    policy(row, "/spec/mutations")
}

fn policy(row: &Row<'_>, rules: &str) -> Vec<Value> {
    let kind = match row.text("/spec/paramKind/kind") {
        "" => UNSET.to_owned(),
        kind => format!("{}/{kind}", row.text("/spec/paramKind/apiVersion")),
    };
    vec![row.name(), row.count(rules).into(), kind.into(), row.age()]
}

/// Cells of a binding of either sort of policy.
pub(super) fn binding(row: &Row<'_>) -> Vec<Value> {
    let parameter = match (row.get("/spec/paramRef"), row.text("/spec/paramRef/name")) {
        (None, _) => UNSET.to_owned(),
        (Some(_), "") => selector(row),
        (Some(_), name) => format!("{}/{name}", row.text_or("/spec/paramRef/namespace", "*")),
    };
    vec![row.name(), row.text("/spec/policyName").into(), parameter.into(), row.age()]
}

/// A selector in the form that upstream shows it in: as Go prints the struct.
fn selector(row: &Row<'_>) -> String {
    let labels = row.map("/spec/paramRef/selector/matchLabels").into_iter().flatten();
    let labels: String = labels
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{}},}}"
    )
}
