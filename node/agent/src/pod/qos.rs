//! Quality of service of a Pod and what the kernel is told about it: cgroup, weights, limits,
//! out-of-memory score.
//!
//! A Pod is *Guaranteed* when every container limits cpu and memory and asks for just that,
//! *BestEffort* when no container says anything about cpu or memory, *Burstable* else. Pod-level
//! resources count first.

use super::amount::{List, milli_of, whole_of};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use runtime::Resources;

/// The smallest weight the kernel takes.
const MIN_SHARES: i64 = 2;
/// Weight of one processor.
const SHARES_PER_CPU: i64 = 1024;
/// Microseconds of a scheduling period.
const PERIOD: i64 = 100_000;
/// The smallest quota the kernel takes.
const MIN_QUOTA: i64 = 1000;

/// Quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Limits equal requests.
    Guaranteed,
    /// Something is asked for.
    Burstable,
    /// Nothing is asked for.
    BestEffort,
}

impl Class {
    /// The API's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The class of a Pod: as the API server has written it, else worked out.
pub(crate) fn class(pod: &Pod) -> Class {
    let stored = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
    match stored {
        Some("Guaranteed") => Class::Guaranteed,
        Some("Burstable") => Class::Burstable,
        Some("BestEffort") => Class::BestEffort,
        _ => computed(pod),
    }
}

/// The class that follows from a Pod's resources.
fn computed(pod: &Pod) -> Class {
    let Some(spec) = &pod.spec else { return Class::BestEffort };
    if let Some(resources) = &spec.resources {
        return of([Some(resources)].into_iter());
    }
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    of(containers.map(|container| container.resources.as_ref()))
}

/// The class of several requirements together.
fn of<'a>(all: impl Iterator<Item = Option<&'a ResourceRequirements>>) -> Class {
    let (mut any, mut exact) = (false, true);
    for resources in all {
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        let limits = resources.and_then(|resources| resources.limits.as_ref());
        for name in ["cpu", "memory"] {
            let (request, limit) = (milli_of(requests, name), milli_of(limits, name));
            any |= request.unwrap_or(0) > 0 || limit.unwrap_or(0) > 0;
            exact &= limit.is_some_and(|limit| limit > 0 && request.unwrap_or(limit) == limit);
        }
    }
    match (any, exact) {
        (false, _) => Class::BestEffort,
        (true, true) => Class::Guaranteed,
        (true, false) => Class::Burstable,
    }
}

/// A Pod's cgroup below the node's.
pub(crate) fn cgroup(pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match class(pod) {
        Class::Guaranteed => format!("pod{uid}"),
        Class::Burstable => format!("burstable/pod{uid}"),
        Class::BestEffort => format!("besteffort/pod{uid}"),
    }
}

/// Limits of one container. `memory_capacity` is the node's, for the out-of-memory score.
pub(crate) fn container(pod: &Pod, container: &Container, memory_capacity: i64) -> Resources {
    let resources = container.resources.as_ref();
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let mut made = limited(requests, limits);
    made.oom_score_adj = Some(match class(pod) {
        Class::Guaranteed => -997,
        Class::BestEffort => 1000,
        Class::Burstable => {
            let request = whole_of(requests, "memory").unwrap_or(0);
            let share = 1000 * request / memory_capacity.max(1);
            i32::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
    });
    made
}

/// Limits of a whole Pod: sums, where every container has one.
pub(crate) fn pod(pod: &Pod) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    if let Some(resources) = &spec.resources {
        return limited(resources.requests.as_ref(), resources.limits.as_ref());
    }
    let sidecars = spec.init_containers.iter().flatten().filter(|init| super::spec::restarts(init));
    let all: Vec<&Container> = spec.containers.iter().chain(sidecars).collect();
    let plain = spec.init_containers.iter().flatten().filter(|init| !super::spec::restarts(init));
    let plain: Vec<&Container> = plain.collect();
    let limit = |name: &str| -> Option<i64> {
        let one = |container: &&Container| {
            let limits = container.resources.as_ref()?.limits.as_ref();
            milli_of(limits, name).filter(|limit| *limit > 0)
        };
        let sum: i64 = all.iter().map(one).sum::<Option<i64>>()?;
        let largest = plain.iter().map(one).try_fold(0, |most: i64, one| Some(most.max(one?)))?;
        Some(sum.max(largest))
    };
    let request = |container: &&Container| {
        let requests = container.resources.as_ref().and_then(|all| all.requests.as_ref());
        milli_of(requests, "cpu").unwrap_or(0)
    };
    let sum: i64 = all.iter().map(request).sum();
    let requests = sum.max(plain.iter().map(request).max().unwrap_or(0));
    Resources {
        cpu_shares: shares(requests),
        cpu_quota: limit("cpu").map_or(0, quota),
        cpu_period: u64::try_from(PERIOD).unwrap_or_default(),
        memory_bytes: limit("memory").map_or(0, |milli| milli / 1000),
        ..Resources::default()
    }
}

/// Limits that follow from requests and limits.
fn limited(requests: Option<&List>, limits: Option<&List>) -> Resources {
    let limit = milli_of(limits, "cpu").filter(|limit| *limit > 0);
    let request = milli_of(requests, "cpu").or(limit).unwrap_or(0);
    Resources {
        cpu_shares: shares(request),
        cpu_quota: limit.map_or(0, quota),
        cpu_period: u64::try_from(PERIOD).unwrap_or_default(),
        memory_bytes: whole_of(limits, "memory").unwrap_or(0),
        ..Resources::default()
    }
}

/// The weight of so many thousandths of a processor.
fn shares(milli: i64) -> u64 {
    let shares = (milli * SHARES_PER_CPU / 1000).clamp(MIN_SHARES, 262_144);
    u64::try_from(shares).unwrap_or_default()
}

/// The quota of so many thousandths of a processor.
fn quota(milli: i64) -> i64 {
    (milli * PERIOD / 1000).max(MIN_QUOTA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod_of(resources: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_class_follows_from_requests_and_limits() {
        assert_eq!(class(&pod_of(json!({}))), Class::BestEffort);
        assert_eq!(class(&pod_of(json!({"requests": {"cpu": "1"}}))), Class::Burstable);
        let exact = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(class(&pod_of(exact.clone())), Class::Guaranteed);
        assert_eq!(cgroup(&pod_of(exact)), "podu");
        assert_eq!(cgroup(&pod_of(json!({}))), "besteffort/podu");
    }

    #[test]
    fn limits_become_weight_quota_and_bytes() {
        let wanted = json!({
            "requests": {"cpu": "250m", "memory": "32Mi"},
            "limits": {"cpu": "500m", "memory": "64Mi"},
        });
        let pod = pod_of(wanted);
        let made = container(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30);
        assert_eq!((made.cpu_shares, made.cpu_quota), (256, 50_000));
        assert_eq!(made.memory_bytes, 64 << 20);
        assert_eq!(made.oom_score_adj, Some(1000 - 31));
    }
}
