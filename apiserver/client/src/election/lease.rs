//! What electors read from a Lease and write into it.

use super::Config;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use std::time::Duration;
use tokio::time::Instant;

/// Since when a state of the Lease has been seen, by our own clock.
#[derive(Default)]
pub(super) struct Observed {
    revision: String,
    since: Option<Instant>,
}

impl Observed {
    /// How long the holder still has; zero when there is none or its time is over.
    pub(super) fn left(&mut self, lease: &Lease, usual: Duration) -> Duration {
        let revision = lease.metadata.resource_version.as_deref().unwrap_or_default();
        let now = Instant::now();
        if self.revision != revision {
            revision.clone_into(&mut self.revision);
            self.since = None;
        }
        let since = *self.since.get_or_insert(now);
        if holder(lease).is_empty() {
            return Duration::ZERO;
        }
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(usual, Duration::from_secs);
        (since + duration).saturating_duration_since(now)
    }
}

/// Who holds a Lease; empty for nobody.
pub(super) fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// The Lease with us as its holder.
pub(super) fn taken(config: &Config, current: Option<&Lease>, identity: &str) -> Lease {
    let mut lease = current.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            namespace: Some(config.namespace.clone()),
            name: Some(config.name.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let now = MicroTime(Timestamp::now());
    let before = lease.spec.take().unwrap_or_default();
    let transitions = current.map_or(0, |_| before.lease_transitions.unwrap_or(0) + 1);
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(seconds(config.lease)),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: Some(transitions),
        ..before
    });
    lease
}

/// The Lease with a new renew time.
pub(super) fn renewed(config: &Config, lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    let spec = lease.spec.get_or_insert_default();
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    spec.lease_duration_seconds = Some(seconds(config.lease));
    lease
}

/// The Lease without holder.
pub(super) fn released(lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    let now = MicroTime(Timestamp::now());
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
    spec.lease_duration_seconds = Some(1);
    spec.acquire_time = Some(now.clone());
    spec.renew_time = Some(now);
    lease
}

/// What the writes of this term are fenced with.
pub(super) fn fence(lease: &Lease) -> String {
    let namespace = lease.metadata.namespace.as_deref().unwrap_or_default();
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
    format!("{namespace}/{name};{};{transitions}", holder(lease))
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}
