//! Certificates and what they are asked for with.

use serde_json::Value;

use super::row::{NONE, Row, human_duration};

/// Cells of a CertificateSigningRequest.
pub(super) fn signing_request(row: &Row<'_>) -> Vec<Value> {
    let wanted = row.get("/spec/expirationSeconds").and_then(Value::as_i64);
    let wanted = wanted.map_or_else(|| NONE.to_owned(), human_duration);
    let has = |kind: &str| row.condition(kind).is_some();
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !row.text("/status/certificate").is_empty() {
        state.push_str(",Issued");
    }
    vec![
        row.name(),
        row.age(),
        row.text_or("/spec/signerName", NONE).into(),
        row.text("/spec/username").into(),
        wanted.into(),
        state.into(),
    ]
}

/// Cells of a ClusterTrustBundle.
pub(super) fn trust_bundle(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.text_or("/spec/signerName", NONE).into()]
}

/// Cells of a PodCertificateRequest.
pub(super) fn pod_request(row: &Row<'_>) -> Vec<Value> {
    let states = ["Issued", "Denied", "Failed"];
    let state = states.into_iter().find(|state| row.condition(state).is_some());
    let spec = |key: &str| Value::from(row.text(&format!("/spec/{key}")));
    vec![
        row.name(),
        spec("podName"),
        spec("serviceAccountName"),
        spec("nodeName"),
        spec("signerName"),
        state.unwrap_or("Pending").into(),
        row.labels("/spec/unverifiedUserAnnotations").into(),
    ]
}
