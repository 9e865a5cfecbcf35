//! What objects take of a quota: Pods what they ask for, Services their ports, claims their storage, and all kinds
//! one of their count.

use std::collections::BTreeMap;

use api::quantity::{Format, Quantity};
use serde_json::Value;

use super::super::resources::{Amounts, amounts, of_pod};
use crate::fields;
use crate::kind::Kind;

/// Kinds that have a name of their own in quotas, besides their count.
const NAMED: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];
/// What Pods take.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What every container must say when a quota limits it.
const SAID: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Between a class of storage and what is limited of it.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
/// Old way to name a class.
const BETA: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";

/// A quota's name for the number of objects of a kind.
fn count(kind: &Kind) -> String {
    match kind.resource.group {
        "" => format!("count/{}", kind.resource.plural),
        group => format!("count/{}.{group}", kind.resource.plural),
    }
}

/// Whether objects of a kind take of a resource.
pub(super) fn measures(kind: &Kind, resource: &str) -> bool {
    if resource == count(kind) {
        return true;
    }
    if !kind.resource.group.is_empty() {
        return false;
    }
    if resource == kind.resource.plural && NAMED.contains(&resource) {
        return true;
    }
    match kind.resource.plural {
        "pods" => {
            let bare = resource.strip_prefix("requests.").or(resource.strip_prefix("limits."));
            COMPUTE.contains(&bare.unwrap_or(resource))
                || resource.starts_with("hugepages-")
                || resource.strip_prefix("requests.").is_some_and(is_extended)
        }
        "services" => matches!(resource, "services.nodeports" | "services.loadbalancers"),
        "persistentvolumeclaims" => resource == "requests.storage" || resource.contains(OF_CLASS),
        _ => false,
    }
}

/// Huge pages, and what has a domain.
fn is_extended(resource: &str) -> bool {
    resource.starts_with("hugepages-") || resource.contains('/')
}

fn number(n: i64) -> Quantity {
    Quantity::from_value(n, Format::Decimal)
}

/// What an object takes.
pub(super) fn of(kind: &Kind, object: &Value) -> Amounts {
    let plural = kind.resource.plural;
    let mut taken = Amounts::from([(count(kind), number(1))]);
    if !kind.resource.group.is_empty() {
        return taken;
    }
    if NAMED.contains(&plural) {
        taken.insert(plural.to_owned(), number(1));
    }
    match plural {
        "pods" => {
            let null = Value::Null;
            let spec = object.get("spec").unwrap_or(&null);
            taken.extend(computed(&of_pod(spec, "requests"), &of_pod(spec, "limits")));
        }
        "services" => taken.extend(ports(object)),
        "persistentvolumeclaims" => taken.extend(storage(object)),
        _ => {}
    }
    taken
}

/// Requests and limits under a quota's names.
fn computed(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut all = Amounts::new();
    for (name, amount) in requests {
        if COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            all.insert(name.clone(), *amount);
        }
        if COMPUTE.contains(&name.as_str()) || is_extended(name) {
            all.insert(format!("requests.{name}"), *amount);
        }
    }
    let limits = limits.iter().filter(|(name, _)| COMPUTE.contains(&name.as_str()));
    all.extend(limits.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    all
}

fn ports(service: &Value) -> Amounts {
    let ports = fields::list(service, "/spec/ports");
    let number = |n: usize| number(i64::try_from(n).unwrap_or(i64::MAX));
    match fields::text(service, "/spec/type") {
        "NodePort" => Amounts::from([("services.nodeports".to_owned(), number(ports.len()))]),
        "LoadBalancer" => {
            let all = service.pointer("/spec/allocateLoadBalancerNodePorts");
            let all = all.and_then(Value::as_bool).unwrap_or(true);
            let own = |port: &&Value| fields::integer(port, "/nodePort").unwrap_or(0) != 0;
            let count = if all { ports.len() } else { ports.iter().filter(own).count() };
            Amounts::from([
                ("services.nodeports".to_owned(), number(count)),
                ("services.loadbalancers".to_owned(), number(1)),
            ])
        }
        _ => Amounts::new(),
    }
}

fn storage(claim: &Value) -> Amounts {
    let asked = amounts(claim.pointer("/spec/resources/requests")).remove("storage");
    let class = match fields::text(claim, BETA) {
        "" => fields::text(claim, "/spec/storageClassName"),
        class => class,
    };
    let mut all = Amounts::new();
    all.extend(asked.map(|amount| ("requests.storage".to_owned(), amount)));
    if !class.is_empty() {
        all.insert(format!("{class}{OF_CLASS}persistentvolumeclaims"), number(1));
        all.extend(asked.map(|amount| (format!("{class}{OF_CLASS}requests.storage"), amount)));
    }
    all
}

/// What containers leave unsaid although a quota limits it.
pub(super) fn unsaid(pod: &Value, hard: &Amounts) -> Option<String> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in ["/spec/containers", "/spec/initContainers"] {
        for container in fields::list(pod, path) {
            let map = |key: &str| amounts(container.pointer(&format!("/resources/{key}")));
            let said = computed(&map("requests"), &map("limits"));
            let name = fields::text(container, "/name");
            for resource in SAID.iter().filter(|one| hard.contains_key(**one)) {
                if !said.contains_key(*resource) {
                    missing.entry(resource).or_default().push(name);
                }
            }
        }
    }
    let parts = missing.into_iter().map(|(resource, mut names)| {
        names.sort_unstable();
        names.dedup();
        format!("{resource} for: {}", names.join(","))
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_must_say_what_a_quota_limits() {
        let hard = amounts(Some(&json!({"memory": "1Gi", "limits.cpu": "2", "pods": "3"})));
        let pod = json!({"spec": {"containers": [{"name": "b"}, {"name": "a",
            "resources": {"limits": {"cpu": "1"}}}]}});
        let wanted = "limits.cpu for: b; memory for: a,b";
        assert_eq!(unsaid(&pod, &hard).as_deref(), Some(wanted));
        assert_eq!(unsaid(&pod, &Amounts::new()), None);
    }

    #[test]
    fn services_and_claims_take_ports_and_storage() {
        let service = json!({"spec": {"type": "NodePort", "ports": [{}, {}]}});
        assert_eq!(ports(&service)["services.nodeports"].to_string(), "2");
        let claim = json!({"spec": {"storageClassName": "gold",
            "resources": {"requests": {"storage": "2Gi"}}}});
        let taken = storage(&claim);
        assert_eq!(taken["gold.storageclass.storage.k8s.io/requests.storage"].to_string(), "2Gi");
        assert_eq!(taken["requests.storage"].to_string(), "2Gi");
    }

    #[test]
    fn requests_go_by_two_names_and_devices_by_one() {
        let requests = amounts(Some(&json!({"cpu": "1", "x.io/gpu": "2"})));
        let names: Vec<String> = computed(&requests, &requests).into_keys().collect();
        assert_eq!(names, ["cpu", "limits.cpu", "requests.cpu", "requests.x.io/gpu"]);
    }
}
