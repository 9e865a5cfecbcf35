//! Evicts Pods from nodes with NoExecute taints that they don't tolerate, or no longer.
//!
//! A Pod that tolerates every such taint stays, for the shortest `tolerationSeconds` that it names,
//! counted from the moment the last of the taints was added. In the `fast` profile the 300 seconds
//! that admission gives every Pod by default are cut short, because there silence is noticed in
//! seconds, too.

use super::{name, taints};
use crate::{
    ctx::Ctx,
    error::{Doing, Error},
    manager::{Controller, Kind},
    pods,
    watch::Watch,
};
use client::{DeleteOptions, Patch};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use serde_json::json;
use std::{collections::HashMap, sync::Arc, time::Duration};
use stdx::Shutdown;
use tokio::sync::Notify;

/// What admission gives every Pod.
const DEFAULT_SECONDS: i64 = 300;
/// How soon a failed eviction is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// Index of Pods by node.
pub(crate) const BY_NODE: &str = "node";

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "taint-eviction-controller",
    component: "taint-eviction-controller",
    account: Some("node-controller"),
    kind: Kind::Loop { watch, run: |ctx, shutdown| Box::pin(run(ctx, shutdown)) },
};

fn watch(watch: &mut Watch<'_>) {
    index(&watch.reads::<Pod>());
    watch.reads::<Node>();
}

/// Lets Pods be found by node.
pub(crate) fn index(informer: &client::Informer<Pod>) {
    informer.index(BY_NODE, |pod| {
        let node = pods::node(pod);
        if node.is_empty() { Vec::new() } else { vec![node.to_owned()] }
    });
}

/// When a Pod must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Not because of taints.
    Stay,
    /// At this time.
    At(Timestamp),
}

/// Judges one Pod. `since` is when taints without a time were seen first.
fn judge(
    tolerations: &[Toleration],
    node: &[Taint],
    since: Timestamp,
    default_seconds: Option<i64>,
) -> Verdict {
    let evicting = node.iter().filter(|taint| taint.effect == taints::NO_EXECUTE);
    let mut shortest: Option<i64> = None;
    let mut last: Option<Timestamp> = None;
    for taint in evicting {
        let added = taint.time_added.as_ref().map_or(since, |time| time.0);
        last = last.max(Some(added));
        let matching: Vec<&Toleration> =
            tolerations.iter().filter(|one| taints::tolerates(one, taint)).collect();
        if matching.is_empty() {
            return Verdict::At(added);
        }
        for seconds in matching.into_iter().filter_map(|one| limit(one, default_seconds)) {
            shortest = Some(shortest.map_or(seconds, |before| before.min(seconds)));
        }
    }
    match (last, shortest) {
        (Some(last), Some(seconds)) => {
            Verdict::At(last + SignedDuration::from_secs(seconds.clamp(0, 1 << 40)))
        }
        _ => Verdict::Stay,
    }
}

/// How long a toleration holds; `None` for ever.
fn limit(toleration: &Toleration, default_seconds: Option<i64>) -> Option<i64> {
    let seconds = toleration.toleration_seconds?;
    let by_default = seconds == DEFAULT_SECONDS
        && toleration.effect.as_deref() == Some(taints::NO_EXECUTE)
        && matches!(toleration.key.as_deref(), Some(taints::NOT_READY | taints::UNREACHABLE));
    Some(default_seconds.filter(|_| by_default).map_or(seconds, |most| most.min(seconds)))
}

/// Evictions that are planned: when the taints were seen first, by the Pod's uid.
type Planned = HashMap<String, Timestamp>;

async fn run(ctx: Arc<Ctx>, shutdown: Shutdown) -> Result<(), Error> {
    let notify = Arc::new(Notify::new());
    super::wake::<Node>(&ctx, &shutdown, &notify);
    // New Pods on tainted nodes, and Pods that are bound to them.
    let waker = notify.clone();
    ctx.cache::<Pod>().on_event_until(&shutdown, move |change| match change {
        client::Change::Updated { old, new }
            if pods::node(&old) == pods::node(&new)
                && old.spec.as_ref().map(|spec| &spec.tolerations)
                    == new.spec.as_ref().map(|spec| &spec.tolerations) => {}
        _ => waker.notify_one(),
    });
    let mut planned = Planned::new();
    loop {
        let wait = round(&ctx, &mut planned).await;
        tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            () = notify.notified() => {}
            () = sleep(wait) => {}
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Evicts what is due; tells how long until the next is.
async fn round(ctx: &Ctx, planned: &mut Planned) -> Option<Duration> {
    let now = ctx.now();
    let default_seconds = ctx.config.profile.times().default_toleration;
    let mut next: Option<Timestamp> = None;
    let mut still = Planned::new();
    let mut due = Vec::new();
    for node in ctx.cache::<Node>().list() {
        if !taints::of(&node).iter().any(|taint| taint.effect == taints::NO_EXECUTE) {
            continue;
        }
        for pod in ctx.cache::<Pod>().by_index(BY_NODE, name(&node)) {
            if pods::is_terminating(&pod) {
                continue;
            }
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let since = planned.get(&uid).copied().unwrap_or(now);
            let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
            let tolerations = tolerations.unwrap_or_default();
            match judge(tolerations, taints::of(&node), since, default_seconds) {
                Verdict::Stay => {}
                Verdict::At(at) => {
                    still.insert(uid, since);
                    if at <= now {
                        due.push(pod);
                    } else {
                        next = Some(next.map_or(at, |next| next.min(at)));
                    }
                }
            }
        }
    }
    for uid in planned.keys().filter(|uid| !still.contains_key(*uid)) {
        cancelled(ctx, uid);
    }
    *planned = still;
    let evicted = futures::future::join_all(due.iter().map(|pod| evict(ctx, pod))).await;
    if evicted.into_iter().any(|done| !done) {
        return Some(AGAIN);
    }
    let wait = next?.duration_since(ctx.now());
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO) + Duration::from_millis(1))
}

/// Tells of a Pod that may stay after all.
fn cancelled(ctx: &Ctx, uid: &str) {
    let all = ctx.cache::<Pod>().list();
    let pod = all.into_iter().find(|pod| pod.metadata.uid.as_deref() == Some(uid));
    if let Some(pod) = pod.filter(|pod| !pods::is_terminating(pod)) {
        let note =
            format!("Cancelling deletion of Pod {}/{}", pods::namespace(&pod), pods::name(&pod));
        ctx.normal(&*pod, "TaintManagerEviction", &note);
    }
}

/// Evicts one Pod; whether that is done.
async fn evict(ctx: &Ctx, pod: &Pod) -> bool {
    let (namespace, name) = (pods::namespace(pod), pods::name(pod));
    let note = format!("Marking for deletion Pod {namespace}/{name}");
    ctx.normal(pod, "TaintManagerEviction", &note);
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "observedGeneration": pod.metadata.generation,
        "lastTransitionTime": ctx.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let status = pods::set_condition(pod, condition);
    let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    let done = async {
        let marked = ctx.client.patch_status::<Pod>(namespace, name, Patch::Strategic(body)).await;
        if marked.gone_is_done("mark for eviction")?.is_some() {
            let options =
                DeleteOptions { uid: pod.metadata.uid.clone(), ..DeleteOptions::default() };
            let deleted = ctx.client.delete::<Pod>(namespace, name, &options).await;
            deleted.gone_is_done("evict")?;
        }
        Ok::<(), Error>(())
    };
    match done.await {
        Ok(()) => true,
        Err(error) if error.is_expected() => true,
        Err(error) => {
            let error = stdx::chain(&error);
            tracing::warn!(namespace, pod = name, error, "eviction failed");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::Value;

    const ADDED: &str = "2026-01-01T00:00:00Z";

    fn verdict(tolerations: Value, node: Value, default_seconds: Option<i64>) -> Option<i64> {
        let (tolerations, node): (Vec<Toleration>, Vec<Taint>) =
            (object(tolerations), object(node));
        let added: Timestamp = ADDED.parse().expect("a time");
        match judge(&tolerations, &node, added, default_seconds) {
            Verdict::Stay => None,
            Verdict::At(at) => Some(at.duration_since(added).as_secs()),
        }
    }

    #[test]
    fn the_shortest_toleration_counts_and_none_means_now() {
        let taint = |key: &str| json!({"key": key, "effect": "NoExecute", "timeAdded": ADDED});
        let for_seconds = |key: &str, seconds: Value| {
            json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": seconds})
        };
        let both = json!([for_seconds("a", json!(1)), for_seconds("b", json!(1000))]);
        assert_eq!(verdict(both, json!([taint("a"), taint("b")]), None), Some(1));
        let one = json!([for_seconds("a", Value::Null)]);
        assert_eq!(verdict(one.clone(), json!([taint("a")]), None), None);
        assert_eq!(verdict(one, json!([taint("a"), taint("b")]), None), Some(0));
        assert_eq!(verdict(json!([]), json!([{"key": "a", "effect": "NoSchedule"}]), None), None);
    }

    #[test]
    fn only_the_default_of_admission_is_cut_short() {
        let node = json!([{"key": taints::UNREACHABLE, "effect": "NoExecute", "timeAdded": ADDED}]);
        let of = |seconds: i64| {
            json!([{"key": taints::UNREACHABLE, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": seconds}])
        };
        assert_eq!(verdict(of(300), node.clone(), Some(4)), Some(4));
        assert_eq!(verdict(of(300), node.clone(), None), Some(300));
        assert_eq!(verdict(of(301), node, Some(4)), Some(301));
    }
}
