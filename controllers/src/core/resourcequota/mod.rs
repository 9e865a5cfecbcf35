//! Quotas: what a namespace uses of what it may.
//!
//! Admission counts up when something is created; this controller counts what is there, so that
//! what goes is given back. It looks when content comes or goes, and when a quota's limits change,
//! but not when admission has just written: the object that it counted may not be in the cache yet.

mod usage;

use crate::{
    ctx::{Action, Ctx, Key, owned},
    error::Error,
    manager::{Controller, Kind},
    pods,
    watch::Watch,
};
use client::Resource;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service,
};
use std::{sync::Arc, time::Duration};
use usage::{Content, Counts};

/// Quotas are counted anew after this time in any case.
const AGAIN: Duration = Duration::from_secs(300);
/// Kinds whose objects have events and are not counted.
const NOT_COUNTED: [&str; 1] = ["events"];

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "resourcequota-controller",
    component: "resourcequota-controller",
    account: Some("resourcequota-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.changes::<ResourceQuota>(|_, old, new| {
        let Some(new) = new else { return Vec::new() };
        let hard = |quota: &ResourceQuota| quota.spec.as_ref().and_then(|spec| spec.hard.clone());
        let shown = new.status.as_ref().and_then(|status| status.hard.clone());
        let changed = old.is_none_or(|old| hard(old) != hard(new)) || shown != hard(new);
        if changed { vec![Key::of(new)] } else { Vec::new() }
    });
    watch.changes::<Pod>(|ctx, old, new| {
        if let (Some(old), Some(new)) = (old, new)
            && pods::is_finished(old) == pods::is_finished(new)
            && old.spec == new.spec
        {
            return Vec::new();
        }
        let any = new.or(old);
        any.map(|pod| of_namespace(ctx, pods::namespace(pod))).unwrap_or_default()
    });
    watch.changes::<Service>(|ctx, old, new| {
        let same = old.map(|one| &one.spec) == new.map(|one| &one.spec);
        let namespace = new.or(old).and_then(|one| one.metadata.namespace.as_deref());
        if same { Vec::new() } else { of_namespace(ctx, namespace.unwrap_or_default()) }
    });
    watch.changes::<PersistentVolumeClaim>(|ctx, old, new| {
        let same = old.map(|one| &one.spec) == new.map(|one| &one.spec);
        let namespace = new.or(old).and_then(|one| one.metadata.namespace.as_deref());
        if same { Vec::new() } else { of_namespace(ctx, namespace.unwrap_or_default()) }
    });
    for resource in counted() {
        watch.comes_and_goes(&resource, of_namespace);
    }
}

/// The resources whose objects can be counted.
fn counted() -> Vec<Resource> {
    let all = api::facts::registry().resources().iter();
    all.filter(|one| {
        one.namespaced
            && ["create", "list", "watch", "delete"].iter().all(|verb| one.allows(verb))
            && !NOT_COUNTED.contains(&one.plural)
    })
    .map(|one| Resource {
        group: one.group.into(),
        version: one.version.into(),
        plural: one.plural.into(),
        namespaced: true,
    })
    .collect()
}

fn of_namespace(ctx: &Ctx, namespace: &str) -> Vec<Key> {
    let all = ctx.cache::<ResourceQuota>().list_ns(namespace);
    all.iter().map(|quota| Key::of(&**quota)).collect()
}

/// How many objects of each kind a namespace has, by the names that quotas count them under.
fn counts(ctx: &Ctx, namespace: &str, wanted: &[&String]) -> Counts {
    let mut counts = Counts::new();
    for resource in counted() {
        let name = if resource.group.is_empty() {
            resource.plural.to_string()
        } else {
            format!("{}.{}", resource.plural, resource.group)
        };
        let full = format!("count/{name}");
        if wanted.contains(&&full) || wanted.contains(&&name) {
            let number = ctx.informers.metadata(&resource).list_ns(namespace).len();
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            counts.insert(full, number);
            counts.insert(name, number);
        }
    }
    counts
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(quota) = ctx.cache::<ResourceQuota>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let Some(spec) = &quota.spec else { return Ok(Action::Done) };
    let hard = spec.hard.clone().unwrap_or_default();
    let names: Vec<&String> = hard.keys().collect();
    let content = Content {
        pods: ctx.cache::<Pod>().list_ns(&key.namespace),
        services: ctx.cache::<Service>().list_ns(&key.namespace),
        claims: ctx.cache::<PersistentVolumeClaim>().list_ns(&key.namespace),
        counts: counts(&ctx, &key.namespace, &names),
    };
    let used = usage::used(spec, &content, ctx.now());
    let old = quota.status.clone().unwrap_or_default();
    let same = old.hard.as_ref() == Some(&hard)
        && usage::equal(&old.used.clone().unwrap_or_default(), &used);
    if !same {
        let mut quota = owned(&quota);
        quota.status = Some(ResourceQuotaStatus { hard: Some(hard), used: Some(used) });
        ctx.update_status(&key, &quota).await?;
    }
    Ok(Action::After(AGAIN))
}
