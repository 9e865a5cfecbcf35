//! Pods: they end gracefully, and most of their spec stays as it was made.

mod change;
mod quality;
mod resize;

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
        api::defaults::pod_level_resources(object);
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
                change::drop_all(object, old);
                match added {
                    Some(added) => fields::set(object, "/spec/ephemeralContainers", added),
                    None => drop(fields::remove(object, "/spec/ephemeralContainers")),
                }
            }
            "resize" => resize::only_resources(object, old),
            _ => {}
        }
    }

    fn validate(&self, ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        match (old, ctx.subresource) {
            (Some(old), "") => change::check(object, old, &mut errors),
            (Some(old), "resize") => return resize::check(object, old),
            _ => {}
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
