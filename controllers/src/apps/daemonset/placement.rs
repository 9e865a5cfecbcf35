//! Which nodes a DaemonSet's Pods fit, and how a Pod is tied to one.

use crate::{node, node::taints};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{
        Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
        PodSpec, Toleration,
    },
};

/// Taints that every daemon Pod tolerates: key and effect.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// Tolerated by those that don't need the Pod network.
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");
/// The field that ties a Pod to a node.
const NAME: &str = "metadata.name";

/// How a node suits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It should have a Pod.
    Run,
    /// It should get no Pod, but one that is there may stay.
    Stay,
    /// It should have none.
    Never,
}

/// Judges a node.
pub(crate) fn fit(set: &DaemonSet, on: &Node) -> Fit {
    let empty = PodSpec::default();
    let spec = set.spec.template.spec.as_ref().unwrap_or(&empty);
    let named = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if named.is_some_and(|name| name != node::name(on)) || !matches(spec, on) {
        return Fit::Never;
    }
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    tolerate(&mut tolerations, spec.host_network == Some(true));
    let untolerated = |effect: &str| {
        taints::of(on)
            .iter()
            .any(|taint| taint.effect == effect && !taints::is_tolerated(taint, &tolerations))
    };
    if untolerated(taints::NO_EXECUTE) {
        Fit::Never
    } else if untolerated(taints::NO_SCHEDULE) {
        Fit::Stay
    } else {
        Fit::Run
    }
}

/// Whether selector and required affinity accept a node.
fn matches(spec: &PodSpec, on: &Node) -> bool {
    let labels = on.metadata.labels.as_ref();
    let has =
        |(key, value): (&String, &String)| labels.and_then(|labels| labels.get(key)) == Some(value);
    let required = spec.affinity.as_ref().and_then(|one| one.node_affinity.as_ref());
    let required =
        required.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref());
    spec.node_selector.iter().flatten().all(has)
        && required.is_none_or(|selector| {
            selector.node_selector_terms.iter().any(|term| term_matches(term, on))
        })
}

/// A term without any demand matches nothing.
fn term_matches(term: &NodeSelectorTerm, on: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let labels = on.metadata.labels.as_ref();
    let label = |one: &NodeSelectorRequirement| {
        meets(one, labels.and_then(|labels| labels.get(&one.key)).map(String::as_str))
    };
    let field = |one: &NodeSelectorRequirement| one.key == NAME && meets(one, Some(node::name(on)));
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(label)
        && fields.iter().all(field)
}

fn meets(demand: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = demand.values.as_deref().unwrap_or_default();
    let among = |value: &str| values.iter().any(|one| one == value);
    let numbers = || {
        let mine = value?.parse::<i64>().ok()?;
        Some((mine, values.first()?.parse::<i64>().ok()?))
    };
    match demand.operator.as_str() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(mine, bound)| mine > bound),
        "Lt" => numbers().is_some_and(|(mine, bound)| mine < bound),
        _ => false,
    }
}

/// Adds what every daemon Pod tolerates.
pub(crate) fn tolerate(tolerations: &mut Vec<Toleration>, host_network: bool) {
    let more = host_network.then_some(NO_NETWORK);
    for (key, effect) in TOLERATED.into_iter().chain(more) {
        let new = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        let same = |one: &&mut Toleration| {
            one.key == new.key
                && one.effect == new.effect
                && one.operator == new.operator
                && one.value.as_deref().unwrap_or_default().is_empty()
        };
        match tolerations.iter_mut().find(same) {
            Some(old) => *old = new,
            None => tolerations.push(new),
        }
    }
}

/// Ties a Pod to a node: every term of its affinity names it and nothing else.
pub(crate) fn bind(spec: &mut PodSpec, name: &str) {
    let only = NodeSelectorRequirement {
        key: NAME.into(),
        operator: "In".into(),
        values: Some(vec![name.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: None, match_fields: Some(vec![only]) };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let of_nodes: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required = &mut of_nodes.required_during_scheduling_ignored_during_execution;
    *required = Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a Pod is on or tied to.
pub(crate) fn target(spec: Option<&PodSpec>) -> Option<&str> {
    let spec = spec?;
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter());
    let mut named = fields.flatten().filter(|one| one.key == NAME && one.operator == "In");
    let values = named.next()?.values.as_ref()?;
    values.first().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, object};
    use serde_json::{Value, json};

    fn set(spec: Value) -> DaemonSet {
        object(json!({"metadata": {}, "spec": {"selector": {}, "template": {"spec": spec}}}))
    }

    #[test]
    fn taints_decide_between_running_staying_and_going() {
        let plain = set(json!({"containers": []}));
        let tainted = |key: &str, effect: &str| {
            node("n", json!({"spec": {"taints": [{"key": key, "effect": effect}]}}))
        };
        assert_eq!(fit(&plain, &node("n", json!({}))), Fit::Run);
        assert_eq!(fit(&plain, &tainted("x", "NoSchedule")), Fit::Stay);
        assert_eq!(fit(&plain, &tainted("x", "NoExecute")), Fit::Never);
        assert_eq!(fit(&plain, &tainted("x", "PreferNoSchedule")), Fit::Run);
        let cordoned = tainted("node.kubernetes.io/unschedulable", "NoSchedule");
        assert_eq!(fit(&plain, &cordoned), Fit::Run);
        let offline = tainted(NO_NETWORK.0, NO_NETWORK.1);
        assert_eq!(fit(&plain, &offline), Fit::Stay);
        assert_eq!(fit(&set(json!({"containers": [], "hostNetwork": true})), &offline), Fit::Run);
    }

    #[test]
    fn selector_and_affinity_choose_nodes() {
        let choosy = set(json!({"containers": [], "nodeSelector": {"a": "b"}}));
        assert_eq!(fit(&choosy, &node("n", json!({}))), Fit::Never);
        let fitting = node("n", json!({"metadata": {"labels": {"a": "b"}}}));
        assert_eq!(fit(&choosy, &fitting), Fit::Run);
    }

    #[test]
    fn a_pod_is_tied_to_its_node() {
        let mut spec = PodSpec::default();
        bind(&mut spec, "n1");
        assert_eq!(target(Some(&spec)), Some("n1"));
        spec.node_name = Some("n2".into());
        assert_eq!(target(Some(&spec)), Some("n2"));
    }
}
