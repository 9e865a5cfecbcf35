//! DaemonSets: an annotation kept from old times counts the changes of the template.

use serde_json::Value;

use crate::fields;
use crate::strategy::{Ctx, Rules, Strategy};

/// The annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The strategy.
pub struct DaemonSet;

impl Strategy for DaemonSet {
    fn rules(&self) -> Rules {
        Rules::SPEC
    }

    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        let given = counted(object);
        count(object, given.max(1));
    }

    fn prepare_update(&self, ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        if ctx.subresource == "status" {
            return;
        }
        let before = counted(old);
        let changed = object.pointer("/spec/template") != old.pointer("/spec/template");
        count(object, before + i64::from(changed));
    }
}

fn counted(object: &Value) -> i64 {
    let annotations = object.pointer("/metadata/annotations");
    let text = annotations.and_then(|all| all.get(TEMPLATE_GENERATION)).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn count(object: &mut Value, generation: i64) {
    if !object.pointer("/metadata/annotations").is_some_and(Value::is_object) {
        fields::set(object, "/metadata/annotations", serde_json::json!({}));
    }
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string().into());
    }
}
