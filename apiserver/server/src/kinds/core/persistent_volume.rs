//! PersistentVolumes: they begin Pending, and remember when their phase last changed.

use serde_json::{Value, json};

use crate::fields;
use crate::strategy::{Ctx, Strategy};

/// The strategy.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        let status = json!({"phase": "Pending", "lastPhaseTransitionTime": fields::now()});
        fields::set(object, "/status", status);
    }

    fn prepare_update(&self, ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        let changed = fields::text(object, "/status/phase") != fields::text(old, "/status/phase");
        let given = object.pointer("/status/lastPhaseTransitionTime")
            != old.pointer("/status/lastPhaseTransitionTime");
        if ctx.subresource == "status" && changed && !given {
            fields::set(object, "/status/lastPhaseTransitionTime", fields::now());
        }
    }
}
