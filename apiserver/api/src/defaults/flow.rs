//! FlowSchemas and PriorityLevelConfigurations.

use serde_json::{Value, json};

use super::edit::{child, made, put, put_zero, text};

/// A FlowSchema.
pub(super) fn schema(object: &mut Value) {
    if let Some(spec) = child(object, "spec") {
        put_zero(spec, "matchingPrecedence", 1000);
    }
}

/// A PriorityLevelConfiguration.
pub(super) fn level(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    match text(spec, "type") {
        "Exempt" => {
            put(spec, "exempt", json!({}));
            if let Some(exempt) = child(spec, "exempt") {
                put(exempt, "nominalConcurrencyShares", 0);
                put(exempt, "lendablePercent", 0);
            }
        }
        "Limited" => {}
        _ => {}
    }
    let Some(limited) = child(spec, "limited") else { return };
    put(limited, "nominalConcurrencyShares", 30);
    put(limited, "lendablePercent", 0);
    let Some(response) = made(limited, "limitResponse") else { return };
    if let Some(queuing) = child(response, "queuing") {
        put_zero(queuing, "queues", 64);
        put_zero(queuing, "handSize", 8);
        put_zero(queuing, "queueLengthLimit", 50);
    }
}
