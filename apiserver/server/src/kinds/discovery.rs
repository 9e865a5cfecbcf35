//! EndpointSlices: labels count as well as endpoints; the topology of old versions is not taken.

use serde_json::Value;

use crate::fields;
use crate::strategy::{Ctx, Generation, Rules, Strategy};

/// The strategy.
pub struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::SpecAndLabels, ..Rules::DEFAULT }
    }

    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        drop_topology(object);
    }

    fn prepare_update(&self, _ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        if object.get("endpoints") != old.get("endpoints") {
            drop_topology(object);
        }
    }
}

/// Removes what only versions before this one wrote.
fn drop_topology(object: &mut Value) {
    for endpoint in fields::list_mut(object, "/endpoints") {
        fields::remove(endpoint, "/deprecatedTopology");
    }
}
