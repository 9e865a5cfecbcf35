//! What is used of each name that a quota limits, as a pure function of a namespace's content.

use crate::pods;
use api::quantity::{Format, Quantity};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, PersistentVolumeClaim, Pod, PodSpec, ResourceQuotaSpec,
        ScopedResourceSelectorRequirement, Service,
    },
    apimachinery::pkg::api::resource::Quantity as Text,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Numbers of objects by name.
pub(crate) type Counts = HashMap<String, i64>;
/// Amounts by name.
type Amounts = BTreeMap<String, Text>;

/// What a namespace has.
pub(crate) struct Content {
    /// All Pods.
    pub pods: Vec<Arc<Pod>>,
    /// All Services.
    pub services: Vec<Arc<Service>>,
    /// All claims.
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    /// Numbers of objects, by `count/<resource>` and by resource.
    pub counts: Counts,
}

/// Whether two sets of amounts are the same, however written.
pub(crate) fn equal(one: &Amounts, two: &Amounts) -> bool {
    let read = |text: &Text| text.0.parse::<Quantity>().ok();
    one.len() == two.len()
        && one
            .iter()
            .all(|(name, text)| two.get(name).is_some_and(|other| read(text) == read(other)))
}

/// What is used of each name that the quota limits; names that nobody knows are left out.
pub(crate) fn used(spec: &ResourceQuotaSpec, content: &Content, now: Timestamp) -> Amounts {
    let pods: Vec<&Arc<Pod>> = content
        .pods
        .iter()
        .filter(|pod| !pods::is_finished(pod) && !is_past_grace(pod, now) && in_scope(spec, pod))
        .collect();
    let names = spec.hard.iter().flatten().map(|(name, _)| name);
    names.filter_map(|name| Some((name.clone(), amount(name, &pods, content)?))).collect()
}

/// A Pod that should have stopped long ago doesn't count.
fn is_past_grace(pod: &Pod, now: Timestamp) -> bool {
    let meta = &pod.metadata;
    let Some(at) = &meta.deletion_timestamp else { return false };
    let grace = meta.deletion_grace_period_seconds.unwrap_or(0);
    now.duration_since(at.0).as_secs() > grace
}

fn amount(name: &str, pods: &[&Arc<Pod>], content: &Content) -> Option<Text> {
    let whole = |number: usize| Some(number_text(i64::try_from(number).unwrap_or(i64::MAX)));
    let service = |test: &dyn Fn(&Service) -> bool| {
        whole(content.services.iter().filter(|one| test(one)).count())
    };
    match name {
        "pods" | "count/pods" => whole(pods.len()),
        "services.loadbalancers" => service(&|one| service_type(one) == "LoadBalancer"),
        "services.nodeports" => {
            let ports: usize = content.services.iter().map(|one| node_ports(one)).sum();
            whole(ports)
        }
        "requests.storage" => Some(storage(&content.claims, None)),
        _ => {
            if let Some(number) = content.counts.get(name) {
                return Some(number_text(*number));
            }
            if let Some((class, rest)) = name.split_once(".storageclass.storage.k8s.io/") {
                return of_class(content, class, rest);
            }
            compute(name, pods)
        }
    }
}

fn number_text(number: i64) -> Text {
    Text(Quantity::from_value(number, Format::Decimal).to_string())
}

fn service_type(service: &Service) -> &str {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP")
}

/// How many node ports a Service takes.
fn node_ports(service: &Service) -> usize {
    let Some(spec) = &service.spec else { return 0 };
    let ports = spec.ports.iter().flatten();
    match service_type(service) {
        "NodePort" => ports.count(),
        "LoadBalancer" if spec.allocate_load_balancer_node_ports == Some(false) => {
            ports.filter(|port| port.node_port.is_some_and(|port| port > 0)).count()
        }
        "LoadBalancer" => ports.count(),
        _ => 0,
    }
}

fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref()
}

fn storage(claims: &[Arc<PersistentVolumeClaim>], class: Option<&str>) -> Text {
    let of = claims.iter().filter(|claim| class.is_none() || class_of(claim) == class);
    let asked = of.filter_map(|claim| {
        let resources = claim.spec.as_ref()?.resources.as_ref()?;
        resources.requests.as_ref()?.get("storage")?.0.parse::<Quantity>().ok()
    });
    Text(asked.fold(Quantity::default(), sum).to_string())
}

fn of_class(content: &Content, class: &str, what: &str) -> Option<Text> {
    match what {
        "requests.storage" => Some(storage(&content.claims, Some(class))),
        "persistentvolumeclaims" => {
            let of = content.claims.iter().filter(|claim| class_of(claim) == Some(class));
            Some(number_text(i64::try_from(of.count()).unwrap_or(i64::MAX)))
        }
        _ => None,
    }
}

/// Adds; the first amount that is not zero decides how the sum is written.
fn sum(total: Quantity, more: Quantity) -> Quantity {
    if total.is_zero() { more } else { total.plus(more) }
}

/// What Pods ask for, or are limited to, of a compute resource.
fn compute(name: &str, pods: &[&Arc<Pod>]) -> Option<Text> {
    let (resource, limits) = match name {
        "cpu" | "memory" | "ephemeral-storage" => (name, false),
        _ => match (name.strip_prefix("requests."), name.strip_prefix("limits.")) {
            (Some(resource), _) => (resource, false),
            (None, Some(resource)) => (resource, true),
            (None, None) if name.starts_with("hugepages-") => (name, false),
            (None, None) => return None,
        },
    };
    let asked = pods.iter().filter_map(|pod| pod.spec.as_ref());
    let asked = asked.map(|spec| of_pod(spec, resource, limits));
    Some(Text(asked.fold(Quantity::default(), sum).to_string()))
}

fn of_container(container: &Container, resource: &str, limits: bool) -> Quantity {
    let resources = container.resources.as_ref();
    let list =
        resources.and_then(|one| if limits { one.limits.as_ref() } else { one.requests.as_ref() });
    let text = list.and_then(|list| list.get(resource));
    text.and_then(|text| text.0.parse().ok()).unwrap_or_default()
}

/// A Pod's amount: what runs together, or the largest step of its start, plus overhead; or what the
/// Pod as a whole says.
fn of_pod(spec: &PodSpec, resource: &str, limits: bool) -> Quantity {
    let whole = spec.resources.as_ref();
    let whole =
        whole.and_then(|one| if limits { one.limits.as_ref() } else { one.requests.as_ref() });
    if let Some(text) = whole.and_then(|list| list.get(resource))
        && let Ok(amount) = text.0.parse()
    {
        return amount;
    }
    let each = |container: &Container| of_container(container, resource, limits);
    let mut together = spec.containers.iter().map(each).fold(Quantity::default(), sum);
    let mut sidecars = Quantity::default();
    let mut largest = Quantity::default();
    for container in spec.init_containers.iter().flatten() {
        let amount = each(container);
        if container.restart_policy.as_deref() == Some("Always") {
            together = sum(together, amount);
            sidecars = sum(sidecars, amount);
            largest = largest.max(sidecars);
        } else {
            largest = largest.max(sum(sidecars, amount));
        }
    }
    let total = together.max(largest);
    let overhead = spec.overhead.as_ref().and_then(|list| list.get(resource));
    let overhead = overhead.and_then(|text| text.0.parse::<Quantity>().ok());
    match overhead {
        Some(overhead) if !limits || !total.is_zero() => sum(total, overhead),
        _ => total,
    }
}

/// Whether a Pod is one that the quota is about.
fn in_scope(spec: &ResourceQuotaSpec, pod: &Pod) -> bool {
    let listed = spec.scopes.iter().flatten().all(|scope| has_scope(scope, pod));
    let demands = spec.scope_selector.as_ref().and_then(|one| one.match_expressions.as_ref());
    listed && demands.into_iter().flatten().all(|demand| meets(demand, pod))
}

fn has_scope(scope: &str, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ends = spec.active_deadline_seconds.is_some();
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => spec.priority_class_name.as_ref().is_some_and(|name| !name.is_empty()),
        "CrossNamespacePodAffinity" => crosses_namespaces(spec),
        _ => false,
    }
}

fn is_best_effort(pod: &Pod) -> bool {
    let class = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
    if let Some(class) = class.filter(|class| !class.is_empty()) {
        return class == "BestEffort";
    }
    let Some(spec) = &pod.spec else { return true };
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let asks = |container: &Container| {
        container.resources.as_ref().is_some_and(|resources| {
            let lists = [&resources.requests, &resources.limits];
            lists
                .into_iter()
                .flatten()
                .any(|list| list.keys().any(|name| name == "cpu" || name == "memory"))
        })
    };
    !all.into_iter().any(asks)
}

fn crosses_namespaces(spec: &PodSpec) -> bool {
    let Some(affinity) = &spec.affinity else { return false };
    let near = affinity.pod_affinity.as_ref();
    let far = affinity.pod_anti_affinity.as_ref();
    let required = near
        .and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .chain(far.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref()))
        .flatten();
    let preferred = near
        .and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .chain(
            far.and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_ref()),
        )
        .flatten()
        .map(|weighted| &weighted.pod_affinity_term);
    required.chain(preferred).any(|term| {
        term.namespace_selector.is_some()
            || term.namespaces.as_ref().is_some_and(|names| !names.is_empty())
    })
}

fn meets(demand: &ScopedResourceSelectorRequirement, pod: &Pod) -> bool {
    let values = demand.values.as_deref().unwrap_or_default();
    let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.clone());
    let class = class.filter(|name| !name.is_empty());
    match (demand.scope_name.as_str(), demand.operator.as_str()) {
        ("PriorityClass", "In") => class.is_some_and(|class| values.contains(&class)),
        ("PriorityClass", "NotIn") => class.is_none_or(|class| !values.contains(&class)),
        ("PriorityClass", "DoesNotExist") => class.is_none(),
        (scope, "Exists") => has_scope(scope, pod),
        (scope, "DoesNotExist") => !has_scope(scope, pod),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};
    use serde_json::{Value, json};

    fn shown(spec: Value, pods: Vec<Pod>) -> Value {
        let content = Content {
            pods: pods.into_iter().map(Arc::new).collect(),
            services: Vec::new(),
            claims: Vec::new(),
            counts: [("count/secrets".to_owned(), 2)].into(),
        };
        let spec: ResourceQuotaSpec = object(spec);
        serde_json::to_value(used(&spec, &content, Timestamp::UNIX_EPOCH)).expect("json")
    }

    #[test]
    fn pods_count_with_what_they_ask_for_at_most() {
        let asks = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}, "name": "c"});
        let plain = pod("a", json!({"spec": {"containers": [asks("100m")]}}));
        let starting = pod(
            "b",
            json!({"spec": {"containers": [asks("250m")],
            "initContainers": [asks("1")]}}),
        );
        let ended = pod(
            "c",
            json!({"spec": {"containers": [asks("5")]},
            "status": {"phase": "Succeeded"}}),
        );
        let hard = json!({"hard": {"pods": "9", "requests.cpu": "9", "limits.cpu": "9",
            "count/secrets": "9", "count/nothing": "9", "example.com/thing": "9"}});
        let wanted = json!({"pods": "2", "requests.cpu": "1100m", "limits.cpu": "0",
            "count/secrets": "2"});
        assert_eq!(shown(hard, vec![plain, starting, ended]), wanted);
    }

    #[test]
    fn scopes_choose_pods() {
        let best = pod("a", json!({"spec": {"activeDeadlineSeconds": 5}}));
        let prior = pod(
            "b",
            json!({"spec": {"priorityClassName": "high",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}),
        );
        let with = |extra: Value| {
            let mut spec = json!({"hard": {"pods": "9"}});
            crate::testing::merge(&mut spec, extra);
            shown(spec, vec![best.clone(), prior.clone()])["pods"].clone()
        };
        assert_eq!(with(json!({"scopes": ["BestEffort", "Terminating"]})), "1");
        assert_eq!(with(json!({"scopes": ["NotBestEffort", "Terminating"]})), "0");
        let selector = |operator: &str, values: Value| {
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values}]}})
        };
        assert_eq!(with(selector("In", json!(["high"]))), "1");
        assert_eq!(with(selector("DoesNotExist", Value::Null)), "1");
    }
}
