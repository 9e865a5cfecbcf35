//! Deployments: their generation follows annotations too; a status write leaves labels alone; the selector stays.

use api::status::FieldError;
use serde_json::Value;

use crate::fields;
use crate::strategy::{Ctx, Generation, Rules, Strategy};

/// The strategy.
pub struct Deployment;

impl Strategy for Deployment {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::SpecAndAnnotations, ..Rules::DEFAULT }
    }

    fn prepare_update(&self, ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        if ctx.subresource == "status" {
            fields::copy(object, old, "/metadata/labels");
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let changed = old
            .is_some_and(|old| object.pointer("/spec/selector") != old.pointer("/spec/selector"));
        if !changed {
            return Vec::new();
        }
        let value = object.pointer("/spec/selector").cloned().unwrap_or_default();
        vec![FieldError::invalid("spec.selector", value, "field is immutable")]
    }
}
