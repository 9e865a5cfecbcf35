//! Taints: which ones a node's conditions ask for, and who tolerates them.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::Time,
};

/// The node says that it is not ready.
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The node says nothing.
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// An administrator says that the node is off for good.
pub(crate) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// New Pods must not come.
pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
/// Pods must go.
pub(crate) const NO_EXECUTE: &str = "NoExecute";

/// A condition, the status that matters and the taint that follows.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
/// The node was cordoned.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A node's taints.
pub(crate) fn of(node: &Node) -> &[Taint] {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    taints.unwrap_or_default()
}

/// Whether a taint of this key and effect is there.
pub(crate) fn has(node: &Node, key: &str, effect: &str) -> bool {
    of(node).iter().any(|taint| taint.key == key && taint.effect == effect)
}

/// The keys of NoSchedule taints that a node should have.
fn no_schedule(node: &Node) -> Vec<&'static str> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    let mut wanted: Vec<&str> = conditions
        .unwrap_or_default()
        .iter()
        .flat_map(|one| {
            let matching = BY_CONDITION.iter();
            matching.filter(|row| row.0 == one.type_ && row.1 == one.status).map(|row| row.2)
        })
        .collect();
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push(UNSCHEDULABLE);
    }
    wanted
}

/// The taints a node should have, if they differ from those it has. `evict` allows to add NoExecute
/// taints.
pub(crate) fn wanted(node: &Node, evict: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let schedule = no_schedule(node);
    let execute = match super::ready(node) {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    };
    let ours = |taint: &Taint| match taint.effect.as_str() {
        NO_SCHEDULE => {
            taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|row| row.2 == taint.key)
        }
        NO_EXECUTE => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    };
    let stays = |taint: &Taint| match taint.effect.as_str() {
        NO_SCHEDULE => schedule.contains(&taint.key.as_str()),
        _ => execute == Some(taint.key.as_str()),
    };
    let current = of(node);
    let mut new: Vec<Taint> =
        current.iter().filter(|taint| !ours(taint) || stays(taint)).cloned().collect();
    let mut add = |key: &str, effect: &str| {
        if !new.iter().any(|taint| taint.key == key && taint.effect == effect) {
            new.push(Taint {
                key: key.into(),
                effect: effect.into(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    };
    for key in schedule {
        add(key, NO_SCHEDULE);
    }
    if let Some(key) = execute.filter(|_| evict) {
        add(key, NO_EXECUTE);
    }
    (new != current).then_some(new)
}

/// Whether a toleration accepts a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    let mine = toleration.value.as_deref().unwrap_or("");
    let its = taint.value.as_deref().unwrap_or("");
    match toleration.operator.as_deref().unwrap_or("") {
        "Exists" => true,
        "" | "Equal" => mine == its,
        _ => false,
    }
}

/// Whether some toleration accepts a taint.
pub(crate) fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;
    use serde_json::json;

    fn keys(node: &Node, evict: bool) -> Option<Vec<(String, String)>> {
        let new = wanted(node, evict, Timestamp::UNIX_EPOCH)?;
        Some(new.into_iter().map(|taint| (taint.key, taint.effect)).collect())
    }

    #[test]
    fn conditions_become_taints_and_others_stay() {
        let one = node(
            "n",
            json!({"spec": {"taints": [
            {"key": "mine", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"},
                {"type": "DiskPressure", "status": "Unknown"}]}}),
        );
        let wanted = [("mine", NO_SCHEDULE), (UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)];
        let wanted: Vec<(String, String)> =
            wanted.iter().map(|(key, effect)| ((*key).into(), (*effect).into())).collect();
        assert_eq!(keys(&one, true), Some(wanted.clone()));
        assert_eq!(keys(&one, false), Some(wanted[..2].to_vec()));
    }

    #[test]
    fn a_healthy_node_has_no_taints_of_ours() {
        let one = node(
            "n",
            json!({"spec": {"taints": [
            {"key": UNREACHABLE, "effect": "NoExecute"}, {"key": NOT_READY, "effect": "NoSchedule"}
        ]}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        );
        assert_eq!(keys(&one, true), Some(Vec::new()));
        let clean =
            node("n", json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
        assert_eq!(keys(&clean, true), None);
    }
}
