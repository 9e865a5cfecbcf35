//! Pods stay on a Node that is not ready or unreachable for five minutes, or as long as they say.

use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};
use crate::fields;

/// The taints.
const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/// How long they are tolerated.
const SECONDS: i64 = 300;

/// The plugin.
pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.is("", "pods") && review.operation != Operation::Delete
    }

    async fn mutate(&self, _review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        if let Some(pod) = object {
            complete(pod);
        }
        Ok(())
    }
}

fn complete(pod: &mut Value) {
    let mut tolerations = fields::list(pod, "/spec/tolerations").to_vec();
    let before = tolerations.len();
    for key in KEYS {
        let tolerates = |toleration: &Value| {
            let own = fields::text(toleration, "/key");
            (own.is_empty() || own == key)
                && matches!(fields::text(toleration, "/effect"), "" | "NoExecute")
        };
        if !tolerations.iter().any(tolerates) {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": SECONDS}));
        }
    }
    if tolerations.len() > before {
        fields::set(pod, "/spec/tolerations", tolerations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_tolerated_yet_is_added() {
        let mut pod = json!({"spec": {"tolerations": [
            {"key": KEYS[1], "operator": "Exists"},
            {"key": KEYS[0], "operator": "Exists", "effect": "NoSchedule"}]}});
        complete(&mut pod);
        let tolerations = fields::list(&pod, "/spec/tolerations");
        assert_eq!(tolerations.len(), 3);
        assert_eq!(tolerations[2]["key"], KEYS[0]);
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        complete(&mut all);
        assert_eq!(fields::list(&all, "/spec/tolerations").len(), 1);
    }
}
