//! Pods: they end gracefully, and most of their spec stays as it was made.

mod quality;

use api::status::FieldError;
use serde_json::{Value, json};

use crate::fields;
use crate::strategy::{Ctx, Generation, Rules, Strategy};

/// The strategy.
pub struct Pod;

impl Strategy for Pod {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::Spec, returns_deleted: true, ..Rules::DEFAULT }
    }

    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        api::defaults::merge_label_keys(object);
        api::defaults::app_armor_fields(object);
        let class = quality::class(object);
        fields::set(object, "/status", json!({"phase": "Pending", "qosClass": class}));
        if !fields::list(object, "/spec/schedulingGates").is_empty() {
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "lastProbeTime": null, "lastTransitionTime": fields::now(),
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            });
            fields::set(object, "/status/conditions", vec![condition]);
        }
    }

    fn prepare_update(&self, ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        match ctx.subresource {
            "status" => {
                if fields::text(object, "/status/qosClass").is_empty() {
                    fields::copy(object, old, "/status/qosClass");
                }
                fields::copy(object, old, "/metadata/deletionTimestamp");
                if fields::has(old, "/metadata/deletionGracePeriodSeconds") {
                    fields::copy(object, old, "/metadata/deletionGracePeriodSeconds");
                }
            }
            "ephemeralcontainers" => {
                let added = object.pointer("/spec/ephemeralContainers").cloned();
                object["spec"] = old["spec"].clone();
                if let Some(added) = added {
                    fields::set(object, "/spec/ephemeralContainers", added);
                }
            }
            "resize" => only_resources(object, old),
            _ => {}
        }
    }

    fn validate(&self, ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let (Some(old), "") = (old, ctx.subresource) {
            check_spec(object, old, &mut errors);
        }
        errors
    }

    fn grace(&self, object: &Value, wanted: Option<i64>) -> Option<i64> {
        let own = fields::integer(object, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
        let finished = matches!(fields::text(object, "/status/phase"), "Succeeded" | "Failed");
        if fields::text(object, "/spec/nodeName").is_empty() || finished {
            return Some(0);
        }
        let grace = wanted.unwrap_or(own);
        Some(if grace < 0 { 1 } else { grace })
    }
}

/// What an update may change: images, deadlines, tolerations added, scheduling gates removed.
fn check_spec(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let empty = Value::Null;
    let mut masked = new.get("spec").cloned().unwrap_or_default();
    let before = old.get("spec").unwrap_or(&empty);
    for path in [
        "/activeDeadlineSeconds",
        "/tolerations",
        "/terminationGracePeriodSeconds",
        "/schedulingGates",
    ] {
        fields::copy(&mut masked, before, path);
    }
    let gated = !fields::list(before, "/schedulingGates").is_empty();
    if gated {
        fields::copy(&mut masked, before, "/nodeSelector");
        fields::copy(&mut masked, before, "/affinity/nodeAffinity");
    }
    for path in ["/containers", "/initContainers"] {
        let olds = fields::list(before, path).to_vec();
        for (container, old) in fields::list_mut(&mut masked, path).iter_mut().zip(&olds) {
            fields::copy(container, old, "/image");
        }
    }
    if masked != *before {
        let text = "pod updates may not change fields other than `spec.containers[*].image`,\
                    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                    `spec.tolerations` (only additions to existing tolerations),\
                    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                    previously negative)";
        let change = api::go_text::difference("io.k8s.api.core.v1.PodSpec", before, &masked);
        errors.push(FieldError::forbidden("spec", &format!("{text}{change}")));
    }
}

/// A resize changes containers' resources and nothing else.
fn only_resources(object: &mut Value, old: &Value) {
    let wanted = object.get("spec").cloned().unwrap_or_default();
    object["spec"] = old["spec"].clone();
    for path in ["/containers", "/initContainers"] {
        let news = fields::list(&wanted, path).to_vec();
        let spec = object.get_mut("spec").unwrap_or(&mut Value::Null).clone();
        let mut spec = spec;
        for container in fields::list_mut(&mut spec, path) {
            let name = fields::text(container, "/name").to_owned();
            if let Some(new) = news.iter().find(|c| fields::text(c, "/name") == name) {
                fields::copy(container, new, "/resources");
                fields::copy(container, new, "/resizePolicy");
            }
        }
        object["spec"] = spec;
    }
    if let Some(resources) = wanted.get("resources") {
        fields::set(object, "/spec/resources", resources.clone());
    }
}
