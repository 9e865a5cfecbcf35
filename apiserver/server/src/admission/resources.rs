//! What a Pod asks for and may use at most, summed over its containers.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use serde_json::Value;

use crate::fields;

/// Quantities by resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// The quantities of a map.
pub(super) fn amounts(map: Option<&Value>) -> Amounts {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    let parsed = entries.filter_map(|(name, value)| {
        let text = value
            .as_str()
            .map(str::to_owned)
            .or_else(|| value.is_number().then(|| value.to_string()))?;
        Some((name.clone(), text.parse().ok()?))
    });
    parsed.collect()
}

/// A whole Pod's `requests` or `limits`.
///
/// Containers and sidecars run together, so they add up. Init containers run alone, each beside the
/// sidecars that started before it: the largest of them counts if it is more than the sum.
pub(super) fn of_pod(spec: &Value, what: &str) -> Amounts {
    let of = |container: &Value| amounts(container.pointer(&format!("/resources/{what}")));
    let mut total = Amounts::new();
    for container in fields::list(spec, "/containers") {
        add(&mut total, &of(container));
    }
    let mut sidecars = Amounts::new();
    let mut largest = Amounts::new();
    for container in fields::list(spec, "/initContainers") {
        let own = of(container);
        if fields::text(container, "/restartPolicy") == "Always" {
            add(&mut sidecars, &own);
            add(&mut total, &own);
            raise(&mut largest, &sidecars);
        } else {
            let mut alone = own;
            add(&mut alone, &sidecars);
            raise(&mut largest, &alone);
        }
    }
    raise(&mut total, &largest);
    for (name, amount) in amounts(spec.pointer(&format!("/resources/{what}"))) {
        total.insert(name, amount);
    }
    for (name, amount) in amounts(spec.get("overhead")) {
        if what == "requests" || total.contains_key(&name) {
            add(&mut total, &Amounts::from([(name, amount)]));
        }
    }
    total
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = total.get(name).map_or(*amount, |before| before.plus(*amount));
        total.insert(name.clone(), sum);
    }
}

fn raise(total: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        if total.get(name).is_none_or(|before| before < amount) {
            total.insert(name.clone(), *amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sidecars_add_up_and_init_containers_only_raise() {
        let cpu = |amount: &str| json!({"resources": {"requests": {"cpu": amount}}});
        let mut sidecar = cpu("100m");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({"containers": [cpu("200m"), cpu("100m")],
            "initContainers": [sidecar, cpu("1")], "overhead": {"cpu": "10m"}});
        assert_eq!(of_pod(&spec, "requests")["cpu"].to_string(), "1110m");
    }
}
