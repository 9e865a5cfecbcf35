//! Namespaces that go away: their content goes first, Pods before everything else, and then the
//! namespace.
//!
//! What there may be follows from the facts registry and the custom resource definitions, not from
//! discovery. What has finalizers stays until their owners are done; the conditions tell what is
//! waited for.

use crate::{
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use client::{Client, DeleteOptions, ListOptions, Partial, Propagation, Resource};
use futures::future::join_all;
use http::Method;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Namespace, NamespaceCondition},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The finalizer of this controller, in `spec.finalizers`.
const FINALIZER: &str = "kubernetes";
/// How often a namespace that still has content is looked at.
const AGAIN: Duration = Duration::from_millis(400);

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "namespace-controller",
    component: "namespace-controller",
    account: Some("namespace-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.reads::<CustomResourceDefinition>();
    watch.maps::<Namespace>(|_, namespace| {
        let leaving = namespace.metadata.deletion_timestamp.is_some();
        leaving.then(|| Key::of(namespace)).into_iter().collect()
    });
}

/// A kind of content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    /// What and where.
    pub resource: Resource,
    /// All of one namespace can be deleted at once.
    pub collection: bool,
}

/// What can be in a namespace and be deleted.
fn contents(definitions: &[Arc<CustomResourceDefinition>]) -> Vec<Content> {
    let mut all: Vec<Content> = api::facts::registry()
        .resources()
        .iter()
        .filter(|one| one.namespaced && one.allows("list") && one.allows("delete"))
        .map(|one| Content {
            resource: Resource {
                group: one.group.into(),
                version: one.version.into(),
                plural: one.plural.into(),
                namespaced: true,
            },
            collection: one.allows("deletecollection"),
        })
        .collect();
    for definition in definitions {
        let spec = &definition.spec;
        let served = spec.versions.iter().find(|version| version.served);
        let Some(version) = served.filter(|_| spec.scope == "Namespaced") else { continue };
        all.push(Content {
            resource: Resource {
                group: spec.group.clone().into(),
                version: version.name.clone().into(),
                plural: spec.names.plural.clone().into(),
                namespaced: true,
            },
            collection: true,
        });
    }
    all
}

/// What is left of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
struct Left {
    /// How many objects.
    count: usize,
    /// How many of them wait for each finalizer.
    finalizers: BTreeMap<String, usize>,
}

/// What removing the content came to.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    /// What is left, by kind, written as in the conditions.
    left: BTreeMap<String, Left>,
    /// What went wrong.
    failures: Vec<String>,
    /// Whether anything is there that can't be told yet.
    waiting: bool,
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(namespace) = ctx.client.find::<Namespace>("", &key.name).await.doing("read")? else {
        return Ok(Action::Done);
    };
    if namespace.metadata.deletion_timestamp.is_none() {
        return Ok(Action::Done);
    }
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone());
    let finalizers = finalizers.unwrap_or_default();
    if !finalizers.iter().any(|one| one == FINALIZER) {
        return Ok(Action::Done);
    }
    let outcome = empty(&ctx, &key.name).await?;
    let now = ctx.now();
    let conditions = conditions(&namespace, &outcome, now);
    let current = namespace.status.as_ref().and_then(|status| status.conditions.clone());
    let mut namespace = namespace;
    if current.as_ref() != Some(&conditions) {
        let status = namespace.status.get_or_insert_default();
        status.conditions = Some(conditions);
        status.phase = Some("Terminating".into());
        match ctx.update_status(&key, &namespace).await {
            Ok(written) => namespace = written,
            Err(error) if error.is_expected() => return Ok(Action::After(AGAIN)),
            Err(error) => return Err(error),
        }
    }
    if outcome.waiting || !outcome.left.is_empty() || !outcome.failures.is_empty() {
        return Ok(Action::After(AGAIN));
    }
    finalize(&ctx, &key, namespace, finalizers).await?;
    Ok(Action::Done)
}

/// Takes the finalizer away; with the last one the namespace is gone.
async fn finalize(
    ctx: &Ctx,
    key: &Key,
    mut namespace: Namespace,
    finalizers: Vec<String>,
) -> Result<(), Error> {
    let rest: Vec<String> = finalizers.into_iter().filter(|one| one != FINALIZER).collect();
    namespace.spec.get_or_insert_default().finalizers = Some(rest);
    let path = format!("/api/v1/namespaces/{}/finalize", key.name);
    let body = serde_json::to_value(&namespace).expect("API types have string keys only");
    let sent = ctx.client.request(Method::PUT, &path, Some(&body)).await;
    sent.gone_is_done("finalize")?;
    Ok(())
}

/// Deletes the content; Pods first, and the rest only once they are gone.
async fn empty(ctx: &Ctx, namespace: &str) -> Result<Outcome, Error> {
    let definitions = ctx.cache::<CustomResourceDefinition>().list();
    let all = contents(&definitions);
    let (pods, rest): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|one| one.resource.plural == "pods" && one.resource.group.is_empty());
    let mut outcome = Outcome::default();
    for content in &pods {
        let left = clear(&ctx.client, content, namespace).await.doing("remove the pods")?;
        if left.count > 0 {
            outcome.waiting = true;
            if left.finalizers.is_empty() {
                outcome.failures.push(format!(
                    "unexpected items still remain in namespace: {namespace} for gvr: /v1, \
                     Resource=pods"
                ));
            }
            return Ok(outcome);
        }
    }
    let cleared = rest.iter().map(|content| clear(&ctx.client, content, namespace));
    for (content, left) in rest.iter().zip(join_all(cleared).await) {
        let resource = &content.resource;
        match left {
            Ok(left) if left.count == 0 => {}
            Ok(left) => {
                outcome.left.insert(format!("{}.{}", resource.plural, resource.group), left);
            }
            // A custom resource whose definition has just gone.
            Err(error) if error.is_not_found() => {}
            Err(error) => outcome.failures.push(error.to_string()),
        }
    }
    Ok(outcome)
}

/// Deletes all objects of a kind, and counts what stays.
async fn clear(client: &Client, content: &Content, namespace: &str) -> Result<Left, client::Error> {
    let resource = &content.resource;
    let all = ListOptions::default();
    let there = client.list_of::<Partial>(resource, namespace, &all).await?;
    if there.items.is_empty() {
        return Ok(Left::default());
    }
    let fresh = |one: &&Partial| one.metadata.deletion_timestamp.is_none();
    if there.items.iter().any(|one| fresh(&one)) {
        let policy = Some(Propagation::Background);
        let options = DeleteOptions { propagation_policy: policy, ..DeleteOptions::default() };
        if content.collection {
            client.delete_collection(resource, namespace, &all, &options).await?;
        } else {
            for one in there.items.iter().filter(fresh) {
                let name = one.metadata.name.as_deref().unwrap_or_default();
                match client.delete_of(resource, namespace, name, &options).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
        }
    }
    let left = client.list_of::<Partial>(resource, namespace, &all).await?;
    Ok(count(&left.items))
}

fn count(all: &[Partial]) -> Left {
    let mut left = Left { count: all.len(), ..Left::default() };
    for finalizer in all.iter().flat_map(|one| one.metadata.finalizers.iter().flatten()) {
        *left.finalizers.entry(finalizer.clone()).or_default() += 1;
    }
    left
}

/// The conditions that tell what is waited for.
fn conditions(namespace: &Namespace, outcome: &Outcome, now: Timestamp) -> Vec<NamespaceCondition> {
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, count) in outcome.left.values().flat_map(|left| &left.finalizers) {
        *finalizers.entry(name).or_default() += count;
    }
    let remaining: Vec<String> = outcome
        .left
        .iter()
        .map(|(name, left)| format!("{name} has {} resource instances", left.count))
        .collect();
    let waiting: Vec<String> = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    let failures = &outcome.failures;
    let rows = [
        row("NamespaceDeletionDiscoveryFailure", None, "ResourcesDiscovered", DISCOVERED),
        row("NamespaceDeletionGroupVersionParsingFailure", None, "ParsedGroupVersions", PARSED),
        row(
            "NamespaceDeletionContentFailure",
            (!failures.is_empty()).then(|| {
                let (count, text) = (failures.len(), failures.join(", "));
                let text =
                    format!("Failed to delete all resource types, {count} remaining: {text}");
                ("ContentDeletionFailed", text)
            }),
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        row(
            "NamespaceContentRemaining",
            (!remaining.is_empty()).then(|| {
                let text = format!("Some resources are remaining: {}", remaining.join(", "));
                ("SomeResourcesRemain", text)
            }),
            "ContentRemoved",
            "All content successfully removed",
        ),
        row(
            "NamespaceFinalizersRemaining",
            (!waiting.is_empty()).then(|| {
                let list = waiting.join(", ");
                let text =
                    format!("Some content in the namespace has finalizers remaining: {list}");
                ("SomeFinalizersRemain", text)
            }),
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    let old = namespace.status.as_ref().and_then(|status| status.conditions.clone());
    rows.into_iter().map(|new| keep_time(old.as_deref().unwrap_or_default(), new, now)).collect()
}

/// Nothing is discovered at run time here, so nothing can fail.
const DISCOVERED: &str = "All resources successfully discovered";
/// The same for names of groups.
const PARSED: &str = "All legacy kube types successfully parsed";

/// A condition that is true for a bad reason, or false for a good one.
fn row(
    kind: &str,
    bad: Option<(&str, String)>,
    good_reason: &str,
    good: &str,
) -> NamespaceCondition {
    let (status, reason, message) = match bad {
        Some((reason, message)) => ("True", reason, message),
        None => ("False", good_reason, good.to_owned()),
    };
    NamespaceCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: None,
    }
}

/// The time of a condition is that of its last change of status.
fn keep_time(
    old: &[NamespaceCondition],
    mut new: NamespaceCondition,
    now: Timestamp,
) -> NamespaceCondition {
    let before = old.iter().find(|one| one.type_ == new.type_ && one.status == new.status);
    let kept = before.and_then(|before| before.last_transition_time.clone());
    new.last_transition_time = Some(kept.unwrap_or(Time(now)));
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn conditions_name_what_is_left_and_for_whom() {
        let held =
            |names: &[&str]| -> Partial { object(json!({"metadata": {"finalizers": names}})) };
        let mut outcome = Outcome::default();
        outcome.left.insert("configmaps.".into(), count(&[held(&["example.com/hold"])]));
        let secrets =
            [held(&["example.com/other"]), held(&["example.com/other", "example.com/hold"])];
        outcome.left.insert("secrets.".into(), count(&secrets));
        let namespace = object(json!({"metadata": {"name": "n"}}));
        let now = Timestamp::UNIX_EPOCH;
        let all = conditions(&namespace, &outcome, now);
        let message = |kind: &str| {
            let one = all.iter().find(|one| one.type_ == kind).expect("it is there");
            one.message.clone().unwrap_or_default()
        };
        assert_eq!(
            message("NamespaceContentRemaining"),
            "Some resources are remaining: configmaps. has 1 resource instances, \
             secrets. has 2 resource instances"
        );
        assert_eq!(
            message("NamespaceFinalizersRemaining"),
            "Some content in the namespace has finalizers remaining: example.com/hold in 2 \
             resource instances, example.com/other in 2 resource instances"
        );
        assert_eq!(all[2].status, "False");
    }

    #[test]
    fn contents_are_the_namespaced_kinds_and_custom_ones() {
        let definition: CustomResourceDefinition = object(json!({"spec": {"group": "example.com",
            "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true}]}}));
        let all = contents(&[Arc::new(definition)]);
        let has = |group: &str, plural: &str| {
            all.iter().any(|one| one.resource.group == group && one.resource.plural == plural)
        };
        assert!(has("", "pods") && has("apps", "deployments") && has("example.com", "foos"));
        assert!(!has("", "nodes") && !has("", "bindings"));
    }
}
