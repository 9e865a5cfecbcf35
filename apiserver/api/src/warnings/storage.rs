//! Advice about PersistentVolumes, claims, storage classes and drivers.

use serde_json::Value;

use super::{at, fraction, list, node_terms, renamed, text, volumes};

/// A PersistentVolume.
pub(super) fn volume(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    let spec = at(new, "/spec");
    volumes::legacy(spec, "spec", &["flocker", "quobyte"], &mut out);
    if text(spec, "/persistentVolumeReclaimPolicy") == "Recycle" {
        let what = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is \
                    to use dynamic provisioning.";
        out.push(format!("spec.persistentVolumeReclaimPolicy: {what}"));
    }
    out.extend(fraction("spec.capacity[storage]", at(spec, "/capacity/storage")));
    node_terms(at(spec, "/nodeAffinity/required"), "spec.nodeAffinity.required", &mut out);
    out
}

/// A PersistentVolumeClaim.
pub(super) fn claim(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    claim_spec(at(new, "/spec"), "spec", &mut out);
    out
}

/// What a claim wants.
pub(super) fn claim_spec(spec: &Value, path: &str, out: &mut Vec<String>) {
    for key in ["requests", "limits"] {
        let value = at(spec, &format!("/resources/{key}/storage"));
        out.extend(fraction(&format!("{path}.resources.{key}[storage]"), value));
    }
}

/// A StorageClass.
pub(super) fn class(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    for (i, term) in list(new, "/allowedTopologies").iter().enumerate() {
        for (j, rule) in list(term, "/matchLabelExpressions").iter().enumerate() {
            if let Some(why) = renamed(text(rule, "/key")) {
                let path = format!("allowedTopologies[{i}].matchLabelExpressions[{j}].key");
                out.push(format!("{path}: {why}"));
            }
        }
    }
    out
}

/// A CSIDriver that gets tokens.
pub(super) fn driver(new: &Value, old: Option<&Value>) -> Vec<String> {
    let tokens = |driver: &Value| !list(driver, "/spec/tokenRequests").is_empty();
    let news = tokens(new) && !old.is_some_and(tokens);
    if news && at(new, "/spec/serviceAccountTokenInSecrets").is_null() {
        let what = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, \
                    set to true to prevent possible logging of tokens in volume attributes";
        return vec![what.to_owned()];
    }
    Vec::new()
}
