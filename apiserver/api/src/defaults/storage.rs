//! Storage classes and drivers.

use serde_json::{Value, json};

use super::edit::{child, is_empty, put};

/// A StorageClass.
pub(super) fn class(object: &mut Value) {
    put(object, "reclaimPolicy", "Delete");
    put(object, "volumeBindingMode", "Immediate");
}

/// A CSIDriver.
pub(super) fn driver(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    put(spec, "attachRequired", true);
    put(spec, "podInfoOnMount", false);
    put(spec, "storageCapacity", false);
    put(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if is_empty(spec, "volumeLifecycleModes") {
        spec["volumeLifecycleModes"] = json!(["Persistent"]);
    }
    put(spec, "requiresRepublish", false);
    put(spec, "seLinuxMount", false);
    put(spec, "preventPodSchedulingIfMissing", false);
}
