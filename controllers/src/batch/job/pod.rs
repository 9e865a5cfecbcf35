//! The Pods of a Job, and the index that each of an Indexed Job has.

use super::TRACKING;
use crate::{ctx::controller_of, pods};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};

/// Label and annotation with a Pod's index.
pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Annotation with how often the index failed before.
pub(crate) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// Variable with the index.
const VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// What a new Pod is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Its index, in Indexed Jobs.
    pub index: Option<i32>,
    /// How often the index failed before, where that is limited.
    pub failures: Option<i32>,
}

/// A Pod's index.
pub(crate) fn index(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

/// How often the index of a Pod had failed before it.
pub(crate) fn failures(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(FAILURES));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Makes a Pod.
pub(crate) fn make(job: &Job, slot: Slot) -> Pod {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let prefix = match slot.index {
        Some(index) => format!("{name}-{index}"),
        None => name.to_owned(),
    };
    let mut pod = pods::from_template(&template, namespace, &prefix, controller_of(job));
    pod.metadata.finalizers.get_or_insert_default().push(TRACKING.into());
    let Some(index) = slot.index else { return pod };
    pod.metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), index.to_string());
    if let Some(failures) = slot.failures {
        annotations.insert(FAILURES.into(), failures.to_string());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(prefix);
    let init = spec.init_containers.iter_mut().flatten();
    for container in init.chain(spec.containers.iter_mut()) {
        tell_index(container);
    }
    pod
}

/// Gives a container the index as a variable, unless it has such a variable.
fn tell_index(container: &mut Container) {
    let env = container.env.get_or_insert_default();
    if env.iter().any(|one| one.name == VARIABLE) {
        return;
    }
    let field_ref = ObjectFieldSelector {
        api_version: None,
        field_path: format!("metadata.labels['{INDEX}']"),
    };
    env.push(EnvVar {
        name: VARIABLE.into(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() }),
    });
}
