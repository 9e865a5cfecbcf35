//! Generic ephemeral volumes: every Pod that has one gets a claim of its own, which goes with it.

use crate::{
    ctx::{Action, Ctx, Key, controller_of},
    error::Error,
    manager::{Controller, Kind},
    owners, pods,
    watch::Watch,
};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::sync::Arc;

/// The controller. Its keys are Pods.
pub(crate) const DEF: Controller = Controller {
    name: "ephemeral-volume-controller",
    component: "ephemeral_volume",
    account: Some("ephemeral-volume-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.owned::<PersistentVolumeClaim>("Pod");
    watch.changes::<Pod>(|_, old, new| match (old, new) {
        (None, Some(pod)) if !claims(pod).is_empty() => vec![Key::of(pod)],
        _ => Vec::new(),
    });
}

/// The claims that a Pod needs.
fn claims(pod: &Pod) -> Vec<PersistentVolumeClaim> {
    if !pods::is_active(pod) {
        return Vec::new();
    }
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let of = |volume: &Volume| {
        let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
        let meta = template.metadata.clone().unwrap_or_default();
        Some(PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(format!("{}-{}", pods::name(pod), volume.name)),
                namespace: pod.metadata.namespace.clone(),
                labels: meta.labels,
                annotations: meta.annotations,
                owner_references: Some(vec![controller_of(pod)]),
                ..ObjectMeta::default()
            },
            spec: Some(template.spec.clone()),
            status: None,
        })
    };
    volumes.iter().filter_map(of).collect()
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(pod) = ctx.cache::<Pod>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let cache = ctx.cache::<PersistentVolumeClaim>();
    for claim in claims(&pod) {
        let name = claim.metadata.name.clone().unwrap_or_default();
        if let Some(there) = cache.get(&key.namespace, &name) {
            if !owners::is_controlled_by(&there.metadata, uid) {
                let why = format!("PVC {key} was not created for pod (pod is not owner)");
                return Err(Error::State(why));
            }
            continue;
        }
        match ctx.create(&key, &claim).await {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => {}
            Err(source) => {
                let note = format!("ephemeral volume controller failed to create: {source}");
                ctx.warning(&*pod, "FailedCreate", &note);
                return Err(Error::Request { doing: "make a claim", source });
            }
        }
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use serde_json::json;

    #[test]
    fn a_claim_is_named_after_pod_and_volume() {
        let pod = pod(
            "p",
            json!({"spec": {"volumes": [{"name": "v", "ephemeral":
            {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}}]}}),
        );
        let claim = claims(&pod).remove(0);
        assert_eq!(claim.metadata.name.as_deref(), Some("p-v"));
        assert!(owners::is_controlled_by(&claim.metadata, "uid-p"));
    }
}
