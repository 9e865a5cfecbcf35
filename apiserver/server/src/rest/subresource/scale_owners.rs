//! Who owns the number of replicas: entries of an object's managed fields as those of its scale,
//! and back. A scale keeps none of its own; what is applied to it is the object's.

use serde_json::{Value, json};

use crate::fields;

/// Where the entries are.
const PATH: &str = "/metadata/managedFields";
/// The number of replicas in an entry.
const REPLICAS: &str = "/fieldsV1/f:spec/f:replicas";

/// The entries that a scale of this object shows, written in the scale's version.
pub(super) fn of_scale(object: &Value, api_version: &str, scale_version: &str) -> Vec<Value> {
    let entries = fields::list(object, PATH).iter();
    entries
        .filter(|entry| fields::text(entry, "/apiVersion") == api_version && owns(entry))
        .map(|entry| {
            let mut entry = entry.clone();
            fields::set(&mut entry, "/apiVersion", scale_version);
            fields::set(&mut entry, "/fieldsV1", json!({"f:spec": {"f:replicas": {}}}));
            entry
        })
        .collect()
}

/// The object's entries after its scale was applied to, in the order that entries have.
pub(super) fn of_object(object: &Value, scale: &Value, api_version: &str) -> Vec<Value> {
    let mut left: Vec<&Value> =
        fields::list(scale, PATH).iter().filter(|entry| owns(entry)).collect();
    let mut all = Vec::new();
    for entry in fields::list(object, PATH) {
        let mut entry = entry.clone();
        if owns(&entry) && fields::text(&entry, "/apiVersion") == api_version {
            match left.iter().position(|other| identity(other) == identity(&entry)) {
                Some(at) => drop(left.swap_remove(at)),
                None => lose(&mut entry),
            }
        }
        if entry.get("fieldsV1").is_some_and(|set| *set != json!({})) {
            all.push(entry);
        }
    }
    all.extend(left.into_iter().map(|entry| {
        let mut entry = entry.clone();
        fields::set(&mut entry, "/apiVersion", api_version);
        fields::set(&mut entry, "/fieldsV1", json!({"f:spec": {"f:replicas": {}}}));
        // Times belong to the object's own entries.
        fields::remove(&mut entry, "/time");
        entry
    }));
    let text = |entry: &Value, path: &str| fields::text(entry, path).to_owned();
    let order = ["/operation", "/time", "/manager", "/apiVersion", "/subresource"];
    all.sort_by_cached_key(|entry| order.map(|path| text(entry, path)));
    all
}

fn owns(entry: &Value) -> bool {
    entry.pointer(REPLICAS).is_some()
}

/// Takes the replicas out of an entry.
fn lose(entry: &mut Value) {
    fields::remove(entry, REPLICAS);
    let spec = "/fieldsV1/f:spec";
    if entry.pointer(spec).is_some_and(|set| *set == json!({})) {
        fields::remove(entry, spec);
    }
}

/// What tells entries apart: ordinary writers also by the version that they wrote in.
fn identity(entry: &Value) -> [&str; 4] {
    let operation = fields::text(entry, "/operation");
    let version = if operation == "Apply" { "" } else { fields::text(entry, "/apiVersion") };
    [fields::text(entry, "/manager"), operation, version, fields::text(entry, "/subresource")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, version: &str, spec: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": version,
            "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": spec}})
    }

    #[test]
    fn a_scale_shows_only_who_owns_the_replicas() {
        let object = json!({"metadata": {"managedFields": [
            entry("one", "Apply", "apps/v1", json!({"f:replicas": {}, "f:paused": {}})),
            entry("two", "Apply", "apps/v1", json!({"f:paused": {}})),
            entry("old", "Update", "apps/v1beta1", json!({"f:replicas": {}}))]}});
        let shown = of_scale(&object, "apps/v1", "autoscaling/v1");
        assert_eq!(shown, [entry("one", "Apply", "autoscaling/v1", json!({"f:replicas": {}}))]);
    }

    #[test]
    fn who_lost_the_replicas_to_a_scale_keeps_the_rest() {
        let object = json!({"metadata": {"managedFields": [
            entry("one", "Apply", "apps/v1", json!({"f:replicas": {}, "f:paused": {}}))]}});
        let mut hpa = entry("hpa", "Apply", "autoscaling/v1", json!({"f:replicas": {}}));
        hpa["subresource"] = json!("scale");
        let scale = json!({"metadata": {"managedFields": [hpa]}});
        let all = of_object(&object, &scale, "apps/v1");
        assert_eq!(all[0]["manager"], "hpa");
        assert_eq!(all[0]["apiVersion"], "apps/v1");
        assert!(all[0].get("time").is_none());
        assert_eq!(all[1], entry("one", "Apply", "apps/v1", json!({"f:paused": {}})));
    }

    #[test]
    fn an_applier_that_still_owns_the_replicas_stays_as_it_was() {
        let object = json!({"metadata": {"managedFields": [
            entry("one", "Apply", "apps/v1", json!({"f:replicas": {}, "f:paused": {}}))]}});
        let scale = json!({"metadata": {"managedFields":
            of_scale(&object, "apps/v1", "autoscaling/v1")}});
        assert_eq!(of_object(&object, &scale, "apps/v1"), fields::list(&object, PATH));
    }
}
