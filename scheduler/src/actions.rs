//! What the scheduler writes: bindings, refusals, evictions for preemption, and the events that
//! tell of them.

use crate::{
    config::Config,
    pod_info::PodInfo,
    service::Shared,
    state::Outcome,
    volumes::{Plan, SELECTED_NODE, Volumes, annotation, is_bound},
};
use client::{Client, DeleteOptions, Patch, events};
use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod, PodCondition,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Message of the condition on Pods that are ended for others.
const PREEMPTING: &str = "preempting to accommodate a higher priority pod";

/// How long the claims of a Pod may take to be bound.
const BINDING: Duration = Duration::from_secs(600);
/// Time between two looks at a claim.
const LOOK: Duration = Duration::from_millis(50);
/// Annotation of volumes that a controller (and not a person) has reserved.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// Writes outcomes.
pub(crate) struct Actions {
    scheduler_name: String,
    client: Client,
    recorder: events::Recorder,
    shared: Arc<Shared>,
    volumes: Arc<dyn Volumes>,
}

impl Actions {
    /// Writes as this client.
    pub(crate) fn new(
        config: &Config,
        client: Client,
        shared: Arc<Shared>,
        volumes: Arc<dyn Volumes>,
    ) -> Self {
        let name = &config.scheduler_name;
        let recorder = events::Recorder::new(client.clone(), name, &config.instance);
        Self { scheduler_name: name.clone(), client, recorder, shared, volumes }
    }

    /// Writes one outcome. Errors end here: the Pod is tried again.
    pub(crate) async fn perform(&self, outcome: Outcome) {
        match outcome {
            Outcome::Bind { info, node, volumes } => {
                let bound = self.bind_volumes(&info, &node, &volumes).await;
                self.shared.state.lock().kept(&volumes);
                match bound {
                    Ok(()) => self.bind(&info, &node).await,
                    Err(why) => self.give_up(&info, &node, &why).await,
                }
            }
            Outcome::Refuse { info, message, nominated, victims, displaced } => {
                let event = events::Type::Warning;
                self.tell(&info, event, "FailedScheduling", &message, "Scheduling");
                self.refuse(&info, &message, nominated.as_deref()).await;
                for one in displaced {
                    self.patch_status(&one, json!({"nominatedNodeName": null})).await;
                }
                for victim in victims {
                    self.preempt(&info, &victim, nominated.as_deref().unwrap_or_default()).await;
                }
            }
        }
    }

    /// Binds a Pod, and takes the decision back when the API server refuses.
    async fn bind(&self, info: &Arc<PodInfo>, node: &str) {
        let path = format!("/api/v1/namespaces/{}/pods/{}/binding", info.namespace, info.name);
        let body = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": info.name, "namespace": info.namespace, "uid": info.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        match self.client.request(http::Method::POST, &path, Some(&body)).await {
            Ok(_) => {
                self.shared.state.lock().bound(&info.uid);
                let note = format!("Successfully assigned {} to {node}", info.key());
                self.tell(info, events::Type::Normal, "Scheduled", &note, "Binding");
                tracing::debug!(pod = info.key(), node, "bound");
            }
            Err(error) => {
                let retry = !error.is_not_found();
                self.shared.state.lock().unbound(info, retry, Instant::now());
                self.shared.changed.notify_one();
                if retry {
                    let error = stdx::chain(&error);
                    tracing::warn!(pod = info.key(), node, error, "binding refused");
                }
            }
        }
    }

    /// Binds the claims that wait for the Pod's node, and waits until they are bound.
    async fn bind_volumes(&self, info: &PodInfo, node: &str, plan: &Plan) -> Result<(), String> {
        if plan.is_empty() {
            return Ok(());
        }
        if !plan.provision.is_empty() {
            // Making a volume takes a while: others shall see where the Pod will be.
            self.patch_status(info, json!({"nominatedNodeName": node})).await;
        }
        for (volume, claim) in &plan.bind {
            let written = self.client.update(&reserved(volume, claim)).await;
            written.map_err(|error| stdx::chain(&error))?;
        }
        for claim in &plan.provision {
            let meta = &claim.metadata;
            let annotations = json!({SELECTED_NODE: node});
            let patch = json!({"metadata": {
                "resourceVersion": meta.resource_version, "annotations": annotations}});
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            let name = meta.name.as_deref().unwrap_or_default();
            let patched = self
                .client
                .patch::<PersistentVolumeClaim>(namespace, name, Patch::Merge(patch))
                .await;
            patched.map_err(|error| stdx::chain(&error))?;
        }
        self.until_bound(plan, node).await
    }

    /// Waits until all claims of a plan are bound; `Err` when that won't happen any more.
    async fn until_bound(&self, plan: &Plan, node: &str) -> Result<(), String> {
        let end = Instant::now() + BINDING;
        for claim in plan.claims() {
            let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let mut was_selected = false;
            loop {
                let now = self.volumes.claim(namespace, name);
                let now = now.ok_or_else(|| format!("claim {namespace}/{name} is gone"))?;
                if is_bound(&now) {
                    break;
                }
                let selected = annotation(&now, SELECTED_NODE) == Some(node);
                if was_selected && !selected {
                    return Err(format!("no volume could be made for {namespace}/{name}"));
                }
                was_selected |= selected;
                if Instant::now() > end {
                    return Err(format!("claim {namespace}/{name} was not bound in time"));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// The Pod's claims could not be bound: it is tried again.
    async fn give_up(&self, info: &Arc<PodInfo>, node: &str, why: &str) {
        tracing::warn!(pod = info.key(), node, why, "volumes not bound");
        self.shared.state.lock().unbound(info, true, Instant::now());
        self.shared.changed.notify_one();
        let note = format!("running PreBind plugin \"VolumeBinding\": binding volumes: {why}");
        self.tell(info, events::Type::Warning, "FailedScheduling", &note, "Scheduling");
        self.patch_status(info, json!({"nominatedNodeName": null})).await;
    }

    /// Writes the condition that says why, unless it says so already.
    async fn refuse(&self, info: &PodInfo, message: &str, nominated: Option<&str>) {
        let condition = wanted_condition(&info.pod, message);
        let same_node = info.nominated_node() == nominated;
        let mut status = serde_json::Map::new();
        if let Some(condition) = condition {
            status.extend(conditions(&info.pod, condition));
        }
        if !same_node {
            status.insert("nominatedNodeName".into(), json!(nominated));
        }
        if !status.is_empty() {
            self.patch_status(info, Value::Object(status)).await;
        }
    }

    /// Ends a Pod to make room.
    async fn preempt(&self, winner: &PodInfo, victim: &PodInfo, node: &str) {
        if victim.terminating {
            return;
        }
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{}: {PREEMPTING}", self.scheduler_name),
            "observedGeneration": victim.pod.metadata.generation,
            "lastTransitionTime": now(),
        });
        let conditions = conditions(&victim.pod, condition);
        self.patch_status(victim, Value::Object(conditions)).await;
        let options = DeleteOptions { uid: Some(victim.uid.clone()), ..DeleteOptions::default() };
        let deleted = self.client.delete::<Pod>(&victim.namespace, &victim.name, &options).await;
        match deleted {
            Ok(_) => {
                let note = format!("Preempted by pod {} on node {node}", winner.uid);
                self.tell(victim, events::Type::Normal, "Preempted", &note, "Preempting");
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let error = stdx::chain(&error);
                tracing::warn!(pod = victim.key(), error, "preemption failed");
            }
        }
    }

    /// Changes a Pod's status. A Pod that is gone needs no status.
    async fn patch_status(&self, info: &PodInfo, status: Value) {
        let patch = json!({"metadata": {"uid": info.uid}, "status": status});
        let written = self
            .client
            .patch_status::<Pod>(&info.namespace, &info.name, Patch::Strategic(patch))
            .await;
        match written {
            Err(error) if !error.is_not_found() && !error.is_conflict() => {
                let error = stdx::chain(&error);
                tracing::warn!(pod = info.key(), error, "status not written");
            }
            _ => {}
        }
    }

    fn tell(&self, info: &PodInfo, kind: events::Type, reason: &str, note: &str, action: &str) {
        let object = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(info.namespace.clone()),
            name: Some(info.name.clone()),
            uid: Some(info.uid.clone()),
            resource_version: info.pod.metadata.resource_version.clone(),
            field_path: None,
        };
        self.recorder.event(object, kind, reason, note, action);
    }
}

/// A condition in a patch, with the order that the Pod's conditions shall have: a new one is last.
fn conditions(pod: &Pod, condition: Value) -> serde_json::Map<String, Value> {
    let there = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let types = there.into_iter().flatten().map(|one| one.type_.as_str());
    let mut order: Vec<Value> = types.map(|one| json!({"type": one})).collect();
    let this = json!({"type": condition["type"]});
    if !order.contains(&this) {
        order.push(this);
    }
    let mut patch = serde_json::Map::new();
    patch.insert("$setElementOrder/conditions".into(), order.into());
    patch.insert("conditions".into(), json!([condition]));
    patch
}

/// The PodScheduled condition to write; `None` when the Pod has it already.
fn wanted_condition(pod: &Pod, message: &str) -> Option<Value> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let current: Option<&PodCondition> =
        conditions.into_iter().flatten().find(|one| one.type_ == "PodScheduled");
    let same_status = current.is_some_and(|one| one.status == "False");
    let same = current.is_some_and(|one| {
        one.reason.as_deref() == Some("Unschedulable")
            && one.message.as_deref() == Some(message)
            && one.observed_generation == pod.metadata.generation
    });
    if same_status && same {
        return None;
    }
    let mut condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "observedGeneration": pod.metadata.generation,
    });
    if !same_status {
        condition["lastTransitionTime"] = json!(now());
    }
    Some(condition)
}

/// A volume, reserved for a claim.
fn reserved(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> PersistentVolume {
    let mut volume = volume.clone();
    let meta = &claim.metadata;
    volume.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    });
    let annotations = volume.metadata.annotations.get_or_insert_default();
    annotations.insert(BOUND_BY_CONTROLLER.into(), "yes".into());
    volume
}

/// The time as the API writes it.
fn now() -> String {
    api::meta::now_rfc3339()
}
