//! The quality-of-service class: how sure a Pod is of the CPU and memory that it asked for.

use serde_json::Value;

use crate::fields;

/// Resources that count.
const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn class(pod: &Value) -> &'static str {
    let own = pod.pointer("/spec/resources");
    let own = own.filter(|r| asks(r, "/requests") || asks(r, "/limits"));
    let parts: Vec<&Value> = match own {
        Some(own) => vec![own],
        None => ["/spec/containers", "/spec/initContainers"]
            .iter()
            .flat_map(|path| fields::list(pod, path))
            .map(|container| container.get("resources").unwrap_or(&Value::Null))
            .collect(),
    };
    if !parts.iter().any(|part| asks(part, "/requests") || asks(part, "/limits")) {
        return "BestEffort";
    }
    let guaranteed = parts.iter().all(|part| {
        COUNTED.iter().all(|name| {
            let limit = amount(part, "/limits", name);
            limit.is_some() && limit == amount(part, "/requests", name)
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

fn asks(resources: &Value, path: &str) -> bool {
    COUNTED.iter().any(|name| amount(resources, path, name).is_some())
}

/// An amount other than zero. Stored quantities are canonical, so equal ones are equal texts.
fn amount<'a>(resources: &'a Value, path: &str, name: &str) -> Option<&'a str> {
    let amount = resources.pointer(path)?.get(name)?.as_str()?;
    (amount != "0").then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_equal_to_limits_are_guaranteed() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
        let all = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(&pod(json!({"requests": all, "limits": all}))), "Guaranteed");
        assert_eq!(class(&pod(json!({"requests": all}))), "Burstable");
        assert_eq!(class(&pod(json!({}))), "BestEffort");
        assert_eq!(class(&pod(json!({"requests": {"cpu": "0"}}))), "BestEffort");
    }
}
