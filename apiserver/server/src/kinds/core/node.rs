//! Nodes: a new one may bring its status; what it can allocate is what it has unless it says less.

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
        allocatable(object);
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
        allocatable(object);
    }
}

/// Fills what is missing in allocatable from capacity.
fn allocatable(object: &mut Value) {
    let Some(capacity) = object.pointer("/status/capacity").and_then(Value::as_object) else {
        return;
    };
    let capacity = capacity.clone();
    if !object.pointer("/status/allocatable").is_some_and(Value::is_object) {
        fields::set(object, "/status/allocatable", capacity);
        return;
    }
    let allocatable = object.pointer_mut("/status/allocatable").and_then(Value::as_object_mut);
    if let Some(allocatable) = allocatable {
        for (key, value) in capacity {
            allocatable.entry(key).or_insert(value);
        }
    }
}
