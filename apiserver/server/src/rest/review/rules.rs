//! SelfSubjectRulesReview: everything that I may do in a namespace.

use api::status::Status;
use serde_json::{Map, Value, json};

use super::answered;
use crate::access::rules::Rule;
use crate::fields;
use crate::rest::Call;

/// Answers with the rules of the one who asks.
pub(super) fn own(call: &Call, review: Value) -> Result<Value, Status> {
    let namespace = fields::text(&review, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, mut errors) = call.server.access.rbac.rules(&call.user, namespace);
    let mut incomplete = false;
    if call.user.node().is_some() {
        errors.push("node authorizer does not support user rule resolution".to_owned());
        incomplete = true;
    }
    let resources: Vec<Value> =
        rules.iter().filter(|rule| !rule.resources.is_empty()).map(resource_rule).collect();
    let paths: Vec<Value> =
        rules.iter().filter(|rule| !rule.urls.is_empty()).map(path_rule).collect();
    let mut status = Map::new();
    status.insert("resourceRules".into(), resources.into());
    status.insert("nonResourceRules".into(), paths.into());
    status.insert("incomplete".into(), incomplete.into());
    if !errors.is_empty() {
        status.insert("evaluationError".into(), errors.join(", ").into());
    }
    let mut bare = json!({"apiVersion": review["apiVersion"], "kind": review["kind"]});
    fields::set(&mut bare, "/metadata", json!({}));
    fields::set(&mut bare, "/spec", json!({}));
    Ok(answered(bare, Value::Object(status)))
}

fn resource_rule(rule: &Rule) -> Value {
    let mut map = Map::new();
    map.insert("verbs".into(), json!(rule.verbs));
    map.insert("apiGroups".into(), json!(rule.groups));
    map.insert("resources".into(), json!(rule.resources));
    if !rule.names.is_empty() {
        map.insert("resourceNames".into(), json!(rule.names));
    }
    Value::Object(map)
}

fn path_rule(rule: &Rule) -> Value {
    json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls})
}
