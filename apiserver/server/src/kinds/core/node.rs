//! Nodes: a new one may bring its status, and what is said once about where it is stays.

use serde_json::Value;

use crate::fields;
use crate::strategy::{Ctx, Rules, Strategy};

/// The strategy.
pub struct Node;

impl Strategy for Node {
    fn rules(&self) -> Rules {
        Rules { keeps_status: true, ..Rules::DEFAULT }
    }

    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        fields::remove(object, "/spec/configSource");
    }

    fn prepare_update(&self, _ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        if !fields::text(old, "/spec/podCIDR").is_empty()
            && fields::text(object, "/spec/podCIDR").is_empty()
        {
            fields::copy(object, old, "/spec/podCIDR");
            fields::copy(object, old, "/spec/podCIDRs");
        }
        if fields::text(object, "/spec/providerID").is_empty() {
            fields::copy(object, old, "/spec/providerID");
        }
        if !fields::has(old, "/spec/configSource") {
            fields::remove(object, "/spec/configSource");
        }
    }
}
