//! The scheduler's settings.

/// The scheduler's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods with this `spec.schedulerName` are ours.
    pub scheduler_name: String,
    /// Instance written into events, for example `default-scheduler-master-1`.
    pub instance: String,
    /// How much of the cluster is scored, in percent; 0 chooses by the cluster's size, 100 scores
    /// all.
    pub percentage_of_nodes_to_score: u8,
    /// Seconds a Pod waits after its first failed attempt; doubles with each further one.
    pub pod_initial_backoff_seconds: u64,
    /// Most seconds a Pod waits.
    pub pod_max_backoff_seconds: u64,
    /// Most bindings and status writes under way at once.
    pub parallelism: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".into(),
            instance: "default-scheduler".into(),
            percentage_of_nodes_to_score: 0,
            pod_initial_backoff_seconds: 1,
            pod_max_backoff_seconds: 10,
            parallelism: 256,
        }
    }
}
