//! A writer that never stops: one ConfigMap after the other, each remembered once the API has acknowledged it.

use client::{Client, ListOptions};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stdx::Shutdown;
use tokio::task::JoinHandle;

/// What a writer has done.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    /// Names that were acknowledged, with the moment.
    pub acknowledged: Vec<(String, Instant)>,
    /// Errors, each with the moment.
    pub errors: Vec<(String, Instant)>,
}

impl Writes {
    /// The longest time between two acknowledged writes after a moment.
    pub fn outage_after(&self, moment: Instant) -> Duration {
        let before = self.acknowledged.iter().rev().map(|(_, at)| *at).find(|at| *at <= moment);
        let after = self.acknowledged.iter().map(|(_, at)| *at).filter(|at| *at > moment);
        let mut last = before.unwrap_or(moment);
        let mut longest = Duration::ZERO;
        for at in after {
            longest = longest.max(at - last);
            last = at;
        }
        longest
    }

    /// Writes acknowledged after a moment.
    pub fn count_after(&self, moment: Instant) -> usize {
        self.acknowledged.iter().filter(|(_, at)| *at > moment).count()
    }
}

/// A running writer.
pub struct Writer {
    client: Client,
    label: String,
    writes: Arc<Mutex<Writes>>,
    stop: Shutdown,
    task: JoinHandle<()>,
}

impl Writer {
    /// Starts to write into namespace `default`, marked with a label.
    pub fn start(client: Client, label: &str) -> Self {
        let writes = Arc::new(Mutex::new(Writes::default()));
        let stop = Shutdown::new();
        let (c, w, s, l) = (client.clone(), writes.clone(), stop.clone(), label.to_owned());
        let task = tokio::spawn(async move {
            for number in 0u64.. {
                if s.is_triggered() {
                    return;
                }
                write(&c, &w, &l, number).await;
            }
        });
        Self { client, label: label.to_owned(), writes, stop, task }
    }

    /// What was done so far.
    pub fn so_far(&self) -> Writes {
        self.writes.lock().clone()
    }

    /// Stops; gives what was done, and the acknowledged names that are not there.
    pub async fn finish(self) -> anyhow::Result<(Writes, Vec<String>)> {
        self.stop.trigger();
        self.task.await?;
        let options = ListOptions::labels(format!("writer={}", self.label));
        let there = self.client.list::<ConfigMap>("default", &options).await?;
        let there: BTreeSet<String> =
            there.items.into_iter().filter_map(|one| one.metadata.name).collect();
        let writes = self.writes.lock().clone();
        let lost = writes.acknowledged.iter().map(|(name, _)| name);
        let lost = lost.filter(|name| !there.contains(*name)).cloned().collect();
        Ok((writes, lost))
    }
}

/// Writes one; tries again until it is there.
async fn write(client: &Client, writes: &Mutex<Writes>, label: &str, number: u64) {
    let name = format!("{label}-{number}");
    let object = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some("default".into()),
            labels: Some(BTreeMap::from([("writer".into(), label.to_owned())])),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    match client.create(&object).await {
        Ok(_) => writes.lock().acknowledged.push((name, Instant::now())),
        // An earlier attempt that got no answer was carried out.
        Err(error) if error.is_already_exists() => {
            writes.lock().acknowledged.push((name, Instant::now()));
        }
        Err(error) => {
            writes.lock().errors.push((stdx::chain(&error), Instant::now()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
