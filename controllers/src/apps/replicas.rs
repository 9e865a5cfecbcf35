//! What ReplicaSets and ReplicationControllers share: keeping a number of equal Pods.
//!
//! *Active* Pods neither ended nor were told to go: they are counted. Ended Pods stay where they
//! are. Pods are made in batches of 1, 2, 4, … so that a template which the API server refuses
//! costs one request, not thousands.

use crate::{
    ctx::{Action, Ctx, Key},
    error::Error,
    owners, pods,
    selector::Selector,
};
use client::Kind;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use std::{collections::HashMap, sync::Arc};

/// Most Pods made or removed for one object in one go.
const BURST: usize = 500;

/// What is to be kept.
pub(crate) struct Wanted<'a> {
    /// How many Pods.
    pub replicas: i32,
    /// Made from this.
    pub template: &'a PodTemplateSpec,
    /// Seconds after which a ready Pod counts as available.
    pub min_ready_seconds: i32,
}

/// What is kept, after one reconciliation.
pub(crate) struct Kept {
    /// Numbers for the status.
    pub counts: Counts,
    /// Why Pods could not be made or removed.
    failure: Option<Failure>,
    /// When to look again if nothing failed.
    next: Action,
}

impl Kept {
    /// Reason and message of the ReplicaFailure condition.
    pub(crate) fn reason(&self) -> Option<(&'static str, String)> {
        self.failure.as_ref().map(|(reason, error)| (*reason, error.to_string()))
    }

    /// Fails the reconciliation, after the status was written, when Pods could not be made or
    /// removed.
    pub(crate) fn outcome(self) -> Result<Action, Error> {
        match self.failure {
            None => Ok(self.next),
            Some((_, source)) => Err(Error::Request { doing: "keep the number of pods", source }),
        }
    }
}

/// What is to be done about the number of Pods.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Make so many.
    Create(usize),
    /// Remove these.
    Delete(Vec<Arc<Pod>>),
}

/// Numbers for the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Active Pods.
    pub replicas: i32,
    /// Those with all labels of the template.
    pub fully_labeled: i32,
    /// Those that are ready.
    pub ready: i32,
    /// Those that are ready for long enough.
    pub available: i32,
}

/// A count for JSON: the API leaves out zeros.
pub(crate) fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Decides how many Pods to make or which to remove. `related` are the Pods whose crowding matters.
pub(crate) fn plan(
    wanted: i32,
    active: &[Arc<Pod>],
    related: &[Arc<Pod>],
    now: Timestamp,
) -> Option<Change> {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active.len() < wanted {
        return Some(Change::Create((wanted - active.len()).min(BURST)));
    }
    let surplus = (active.len() - wanted).min(BURST);
    if surplus == 0 {
        return None;
    }
    let mut crowds: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *crowds.entry(pods::node(pod)).or_default() += 1;
    }
    let crowd = |pod: &Arc<Pod>| crowds.get(pods::node(pod)).copied().unwrap_or(0);
    let mut order = active.to_vec();
    order.sort_by(|a, b| pods::deletion_order((a, crowd(a)), (b, crowd(b)), now));
    order.truncate(surplus);
    Some(Change::Delete(order))
}

/// Counts Pods for the status.
pub(crate) fn count(
    active: &[Arc<Pod>],
    template: &PodTemplateSpec,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Counts {
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    let full = Selector::equal(labels);
    let number = |test: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX)
    };
    Counts {
        replicas: number(&|_| true),
        fully_labeled: number(&|pod| full.matches(pod.metadata.labels.as_ref())),
        ready: number(&pods::is_ready),
        available: number(&|pod| pods::is_available(pod, min_ready_seconds, now)),
    }
}

/// Why Pods could not be made or removed: reason and message of the ReplicaFailure condition.
pub(crate) type Failure = (&'static str, client::Error);

/// Makes or removes Pods as needed (unless the owner is on its way out) and counts what there was.
/// `related` are the Pods whose crowding matters.
pub(crate) async fn keep<K: Kind>(
    ctx: &Ctx,
    key: &Key,
    owner: &K,
    wanted: &Wanted<'_>,
    (active, related): (&[Arc<Pod>], &[Arc<Pod>]),
) -> Kept {
    let now = ctx.now();
    let mut failure = None;
    if owner.metadata().deletion_timestamp.is_none()
        && let Some(change) = plan(wanted.replicas, active, related, now)
    {
        failure = apply(ctx, key, owner, wanted, change).await.err();
    }
    Kept {
        counts: count(active, wanted.template, wanted.min_ready_seconds, now),
        failure,
        next: next_look(active, wanted.min_ready_seconds, now),
    }
}

/// The objects that may want a Pod which nobody controls.
pub(crate) fn adopters<K: Kind>(ctx: &Ctx, pod: &Pod, wants: impl Fn(&K) -> bool) -> Vec<Key> {
    if owners::controller(&pod.metadata).is_some() {
        return Vec::new();
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let all = ctx.cache::<K>().list_ns(namespace);
    all.iter().filter(|one| wants(one)).map(|one| Key::of(&**one)).collect()
}

/// The conditions of a status with ReplicaFailure (which `is` knows and `make` makes from reason
/// and message) as it now is. A failure that goes on keeps its condition.
pub(crate) fn conditions<C>(
    before: Option<Vec<C>>,
    failure: Option<(&'static str, String)>,
    is: impl Fn(&C) -> bool,
    make: impl FnOnce(&'static str, String) -> C,
) -> Option<Vec<C>> {
    let mut all = before.unwrap_or_default();
    match failure {
        None => all.retain(|one| !is(one)),
        Some((reason, message)) if !all.iter().any(&is) => all.push(make(reason, message)),
        Some(_) => {}
    }
    (!all.is_empty()).then_some(all)
}

/// Does what [`plan`] decided.
async fn apply<K: Kind>(
    ctx: &Ctx,
    key: &Key,
    owner: &K,
    wanted: &Wanted<'_>,
    change: Change,
) -> Result<(), Failure> {
    match change {
        Change::Create(number) => {
            let reference = crate::ctx::controller_of(owner);
            let pod = pods::from_template(wanted.template, &key.namespace, &key.name, reference);
            let all = vec![pod; number];
            create(ctx, key, owner, &all).await.map_err(|error| ("FailedCreate", error))
        }
        Change::Delete(all) => {
            delete(ctx, key, owner, &all).await.map_err(|error| ("FailedDelete", error))
        }
    }
}

/// Creates Pods in growing batches; a batch with an error is the last. Tells of every Pod.
pub(crate) async fn create<K: Kind>(
    ctx: &Ctx,
    key: &Key,
    owner: &K,
    all: &[Pod],
) -> Result<(), client::Error> {
    let mut rest = all;
    let mut size = 1;
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        size *= 2;
        let sent = batch.iter().map(|pod| async move { ctx.create(key, pod).await });
        let mut failed = None;
        for made in join_all(sent).await {
            match made {
                Ok(pod) => {
                    let note = format!("Created pod: {}", pods::name(&pod));
                    ctx.normal(owner, "SuccessfulCreate", &note);
                }
                // In a namespace that is going away nothing can be made, and nothing needs to.
                Err(error) if in_terminating_namespace(&error) => return Ok(()),
                Err(error) => {
                    let note = format!("Error creating: {error}");
                    ctx.warning(owner, "FailedCreate", &note);
                    failed = Some(error);
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

/// Whether a create was refused because its namespace goes away.
pub(crate) fn in_terminating_namespace(error: &client::Error) -> bool {
    error.is_forbidden() && error.to_string().contains("because it is being terminated")
}

/// Deletes Pods, all at once. Tells of every Pod.
pub(crate) async fn delete<K: Kind>(
    ctx: &Ctx,
    key: &Key,
    owner: &K,
    all: &[Arc<Pod>],
) -> Result<(), client::Error> {
    let sent = all.iter().map(|pod| async move { (pod, ctx.delete(key, &**pod).await) });
    let mut failed = None;
    for (pod, deleted) in join_all(sent).await {
        match deleted {
            Ok(()) => {
                let note = format!("Deleted pod: {}", pods::name(pod));
                ctx.normal(owner, "SuccessfulDelete", &note);
            }
            Err(error) => {
                ctx.warning(owner, "FailedDelete", &format!("Error deleting: {error}"));
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// When to look again because a Pod becomes available by time alone.
pub(crate) fn next_look(active: &[Arc<Pod>], min_ready_seconds: i32, now: Timestamp) -> Action {
    pods::next_available(active, min_ready_seconds, now).map_or(Action::Done, Action::After)
}

/// Pods that a controller should look at: its own and the orphans of its namespace; ended ones are
/// not adopted.
pub(crate) fn candidates(ctx: &Ctx, namespace: &str, uid: &str) -> Vec<Arc<Pod>> {
    let mut all = owners::candidates(&ctx.cache::<Pod>(), namespace, uid);
    all.retain(|pod| pods::is_active(pod));
    all
}

/// How many of a controller's Pods are on their way out.
pub(crate) fn terminating(ctx: &Ctx, uid: &str) -> i32 {
    let all = owners::owned(&ctx.cache::<Pod>(), uid);
    let leaving = |pod: &&Arc<Pod>| pods::is_terminating(pod) && !pods::is_finished(pod);
    i32::try_from(all.iter().filter(leaving).count()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use serde_json::json;

    fn all(names: &[&str]) -> Vec<Arc<Pod>> {
        let one = |name: &&str| Arc::new(pod(name, json!({"status": {"phase": "Running"}})));
        names.iter().map(one).collect()
    }

    #[test]
    fn too_few_pods_are_made_and_too_many_removed() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(plan(3, &all(&["a"]), &[], now), Some(Change::Create(2)));
        assert_eq!(plan(1, &all(&["a"]), &[], now), None);
        let removed = plan(0, &all(&["a", "b"]), &[], now);
        assert!(matches!(removed, Some(Change::Delete(list)) if list.len() == 2));
        assert_eq!(plan(9999, &[], &[], now), Some(Change::Create(BURST)));
    }

    #[test]
    fn a_crowded_node_gives_up_a_pod_first() {
        let on = |name: &str, node: &str| {
            Arc::new(pod(name, json!({"spec": {"nodeName": node}, "status": {"phase": "Running"}})))
        };
        let list = vec![on("alone", "y"), on("one", "x"), on("two", "x")];
        let Some(Change::Delete(gone)) = plan(2, &list, &list, Timestamp::UNIX_EPOCH) else {
            panic!("one too many")
        };
        assert_eq!(pods::node(&gone[0]), "x");
    }

    #[test]
    fn counts_tell_labels_and_readiness() {
        let template: PodTemplateSpec =
            crate::testing::object(json!({"metadata": {"labels": {"a": "1"}}}));
        let list = vec![
            Arc::new(pod(
                "a",
                json!({"metadata": {"labels": {"a": "1"}}, "status": {"conditions": [
                    {"type": "Ready", "status": "True",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}
                ]}}),
            )),
            Arc::new(pod("b", json!({}))),
        ];
        let now = "2026-01-01T00:00:05Z".parse().expect("a time");
        let wanted = Counts { replicas: 2, fully_labeled: 1, ready: 1, available: 0 };
        assert_eq!(count(&list, &template, 10, now), wanted);
    }
}
