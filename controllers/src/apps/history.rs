//! Revisions of a template, kept as ControllerRevision objects by DaemonSets and StatefulSets.
//!
//! A revision's data is the patch that brings its template back. Equal data is the same revision:
//! going back to an old template gives the old revision the highest number instead of making a new
//! one.

use crate::{
    ctx::{Ctx, Key, controller_of},
    error::{Doing, Error},
    hash, owners,
    selector::Labels,
};
use client::Kind;
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Label of revisions and Pods: the hash of the template.
pub(crate) const HASH: &str = "controller-revision-hash";

/// What revisions are made for.
pub(crate) struct Subject<'a, K> {
    /// The DaemonSet or StatefulSet.
    pub owner: &'a K,
    /// Its template.
    pub template: &'a PodTemplateSpec,
    /// Labels of its revisions.
    pub labels: Labels,
    /// Hash collisions seen so far.
    pub collisions: Option<i32>,
}

/// The patch that brings a template back.
pub(crate) fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).expect("API types have string keys only");
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// A revision's number.
pub(crate) fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

/// A revision's name.
pub(crate) fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

/// The hash that a revision's Pods are labelled with.
pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(HASH)).map_or("", String::as_str)
}

/// Oldest first.
pub(crate) fn sorted(mut all: Vec<Arc<ControllerRevision>>) -> Vec<Arc<ControllerRevision>> {
    all.sort_by(|one, two| {
        let key = |revision: &ControllerRevision| {
            (
                number(revision),
                revision.metadata.creation_timestamp.clone(),
                name(revision).to_owned(),
            )
        };
        key(one).cmp(&key(two))
    });
    all
}

/// What makes the newest revision the template's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// It is already.
    Keep(Arc<ControllerRevision>),
    /// An older revision gets the highest number.
    Renumber(ControllerRevision),
    /// There is none of this template.
    Create(ControllerRevision),
}

/// Plans that, given the revisions, oldest first.
pub(crate) fn plan<K: Kind>(subject: &Subject<'_, K>, all: &[Arc<ControllerRevision>]) -> Step {
    let data = data(subject.template);
    let next = all.last().map_or(0, |newest| number(newest)) + 1;
    let equal = all.iter().rev().find(|one| one.data.0 == data);
    match equal {
        Some(found) if number(found) == next - 1 => Step::Keep(found.clone()),
        Some(found) => {
            let mut again = ControllerRevision::clone(found);
            again.revision = Some(next);
            Step::Renumber(again)
        }
        None => Step::Create(make(subject, data, next)),
    }
}

fn make<K: Kind>(subject: &Subject<'_, K>, data: Value, number: i64) -> ControllerRevision {
    let meta = subject.owner.metadata();
    let hash = hash::of(&data, subject.collisions);
    let mut labels = subject.labels.clone();
    labels.insert(HASH.into(), hash.clone());
    let name = meta.name.as_deref().unwrap_or_default();
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations.clone(),
            owner_references: Some(vec![controller_of(subject.owner)]),
            ..ObjectMeta::default()
        },
        data: RawExtension(data),
        revision: Some(number),
    }
}

/// What came of bringing the history up to date.
pub(crate) enum Updated {
    /// The revision of the template.
    Revision(Arc<ControllerRevision>),
    /// Another template has the same hash: the owner's collision count is to be raised.
    Collision,
}

/// Does what [`plan`] says.
pub(crate) async fn update<K: Kind>(
    ctx: &Ctx,
    key: &Key,
    subject: &Subject<'_, K>,
    all: &[Arc<ControllerRevision>],
) -> Result<Updated, Error> {
    let made = match plan(subject, all) {
        Step::Keep(found) => return Ok(Updated::Revision(found)),
        Step::Renumber(again) => ctx.update(key, &again).await?,
        Step::Create(new) => match ctx.create(key, &new).await {
            Ok(made) => made,
            Err(error) if error.is_already_exists() => {
                let there = ctx.client.get::<ControllerRevision>(&key.namespace, name(&new)).await;
                let there = there.doing("look at the revision of that name")?;
                let uid = subject.owner.metadata().uid.as_deref().unwrap_or_default();
                if !owners::is_controlled_by(&there.metadata, uid) || there.data.0 != new.data.0 {
                    return Ok(Updated::Collision);
                }
                ctx.wrote(key, &there);
                there
            }
            Err(source) => return Err(Error::Request { doing: "make a revision", source }),
        },
    };
    Ok(Updated::Revision(Arc::new(made)))
}

/// The oldest revisions beyond the limit whose hash or name nobody uses.
pub(crate) fn surplus(
    all: &[Arc<ControllerRevision>],
    limit: i32,
    is_used: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Arc<ControllerRevision>> {
    let unused: Vec<_> = all.iter().filter(|one| !is_used(one)).cloned().collect();
    let keep = usize::try_from(limit).unwrap_or(0);
    let count = unused.len().saturating_sub(keep);
    unused.into_iter().take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use k8s_openapi::api::apps::v1::DaemonSet;

    fn set(version: &str) -> DaemonSet {
        object(json!({"metadata": {"name": "d", "uid": "u"}, "spec": {"selector": {},
            "template": {"metadata": {"labels": {"v": version}}, "spec": {"containers": []}}}}))
    }

    fn step(set: &DaemonSet, all: &[Arc<ControllerRevision>]) -> Step {
        let labels = Labels::new();
        plan(&Subject { owner: set, template: &set.spec.template, labels, collisions: None }, all)
    }

    #[test]
    fn an_old_template_gets_the_highest_number_again() {
        let Step::Create(first) = step(&set("1"), &[]) else { panic!("new") };
        assert_eq!(first.revision, Some(1));
        let mut all = vec![Arc::new(first)];
        let Step::Create(second) = step(&set("2"), &all) else { panic!("new") };
        assert_eq!(second.revision, Some(2));
        assert_ne!(hash_of(&second), hash_of(&all[0]));
        all.push(Arc::new(second));
        assert!(matches!(step(&set("2"), &all), Step::Keep(_)));
        let Step::Renumber(again) = step(&set("1"), &all) else { panic!("old") };
        assert_eq!((again.revision, name(&again)), (Some(3), name(&all[0])));
        assert_eq!(surplus(&all, 1, |_| false).len(), 1);
        assert_eq!(surplus(&all, 1, |one| number(one) == 1).len(), 0);
    }
}
