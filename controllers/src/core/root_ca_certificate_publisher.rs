//! The root certificate, published as ConfigMap `kube-root-ca.crt` in every namespace, for Pods to
//! verify the API server with.

use super::serviceaccount::is_active;
use crate::{
    apps::replicas::in_terminating_namespace,
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{collections::BTreeMap, sync::Arc};

/// Name of the ConfigMap.
const NAME: &str = "kube-root-ca.crt";
/// Its only entry.
const ENTRY: &str = "ca.crt";
/// Annotation that describes it.
const DESCRIPTION: &str = "kubernetes.io/description";
/// What the annotation says.
const TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using \
    internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage \
    is guaranteed across distributions of Kubernetes clusters.";

/// The controller. Its keys are namespaces.
pub(crate) const DEF: Controller = Controller {
    name: "root-ca-certificate-publisher-controller",
    component: "root-ca-certificate-publisher",
    account: Some("root-ca-cert-publisher"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.own::<Namespace>();
    watch.changes::<ConfigMap>(|_, old, new| {
        let is_ours = |map: &&ConfigMap| map.metadata.name.as_deref() == Some(NAME);
        // One that is new was made by us, or for us to look at after it changes.
        let Some(map) = old.filter(is_ours) else { return Vec::new() };
        let namespace = new.unwrap_or(map).metadata.namespace.as_deref().unwrap_or_default();
        vec![Key::new("", namespace)]
    });
}

/// What to write.
#[derive(Debug, PartialEq)]
enum Change {
    Create(ConfigMap),
    Update(ConfigMap),
}

fn plan(namespace: &str, there: Option<&ConfigMap>, pem: &str) -> Option<Change> {
    let data: BTreeMap<String, String> = [(ENTRY.to_owned(), pem.to_owned())].into();
    let annotations: BTreeMap<String, String> = [(DESCRIPTION.to_owned(), TEXT.to_owned())].into();
    let Some(there) = there else {
        let metadata = ObjectMeta {
            name: Some(NAME.into()),
            namespace: Some(namespace.into()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        };
        return Some(Change::Create(ConfigMap {
            metadata,
            data: Some(data),
            ..ConfigMap::default()
        }));
    };
    let noted = there.metadata.annotations.as_ref().and_then(|all| all.get(DESCRIPTION));
    let same = there.data.as_ref() == Some(&data) && there.binary_data.is_none();
    if same && noted.map(String::as_str) == Some(TEXT) {
        return None;
    }
    let mut new = there.clone();
    new.data = Some(data);
    new.binary_data = None;
    new.metadata.annotations.get_or_insert_default().extend(annotations);
    Some(Change::Update(new))
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(namespace) = ctx.cache::<Namespace>().get("", &key.name) else {
        return Ok(Action::Done);
    };
    if !is_active(&namespace) || ctx.config.root_ca_pem.is_empty() {
        return Ok(Action::Done);
    }
    let there = ctx.cache::<ConfigMap>().get(&key.name, NAME);
    match plan(&key.name, there.as_deref(), &ctx.config.root_ca_pem) {
        None => {}
        Some(Change::Create(map)) => match ctx.create(&key, &map).await {
            Err(error) if error.is_already_exists() || in_terminating_namespace(&error) => {}
            made => {
                made.gone_is_done("publish the root certificate")?;
            }
        },
        Some(Change::Update(map)) => {
            ctx.update(&key, &map).await?;
        }
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_changed_is_put_right_and_labels_stay() {
        let Some(Change::Create(mut map)) = plan("ns", None, "PEM") else { panic!("missing") };
        assert_eq!(plan("ns", Some(&map), "PEM"), None);
        map.metadata.labels = Some([("l".to_owned(), "1".to_owned())].into());
        map.data.as_mut().expect("data").insert("more".into(), "x".into());
        let Some(Change::Update(fixed)) = plan("ns", Some(&map), "PEM") else { panic!("changed") };
        assert_eq!(fixed.data.as_ref().map(BTreeMap::len), Some(1));
        assert_eq!(fixed.metadata.labels.as_ref().map(BTreeMap::len), Some(1));
    }
}
