//! PriorityClasses: value and preemption policy stay; a generation of 1 and no more.

use api::status::{FieldError, Status};
use serde_json::Value;

use crate::fields;
use crate::strategy::{Ctx, Generation, Rules, Strategy};

/// The strategy.
pub struct PriorityClass;

/// What the names of the system's own classes begin with.
const SYSTEM: &str = "system-";

impl Strategy for PriorityClass {
    fn check_delete(&self, _ctx: &Ctx<'_>, object: &Value) -> Result<(), Status> {
        let name = fields::text(object, "/metadata/name");
        if !name.starts_with(SYSTEM) {
            return Ok(());
        }
        let text = "this is a system priority class and cannot be deleted";
        Err(Status::forbidden("scheduling.k8s.io", "priorityclasses", name, text))
    }

    fn rules(&self) -> Rules {
        Rules { generation: Generation::Fixed, ..Rules::DEFAULT }
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let Some(old) = old else { return errors };
        if fields::integer(object, "/value") != fields::integer(old, "/value") {
            let text = "may not be changed in an update.";
            errors.push(FieldError::forbidden("value", text));
        }
        if object.get("preemptionPolicy") != old.get("preemptionPolicy") {
            let value = object.get("preemptionPolicy").cloned().unwrap_or_default();
            errors.push(FieldError::invalid("preemptionPolicy", value, "field is immutable"));
        }
        errors
    }
}
