//! Jobs: unless told otherwise their selector and the labels it needs are made from their uid.

use serde_json::{Value, json};

use crate::fields;
use crate::strategy::{Ctx, Rules, Strategy};

/// Labels that a Job's pods carry: the legacy ones and today's.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
/// Those with the Job's name.
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// The strategy.
pub struct Job;

impl Strategy for Job {
    fn rules(&self) -> Rules {
        Rules { orphans: true, ..Rules::SPEC }
    }

    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        if fields::flag(object, "/spec/manualSelector") {
            return;
        }
        let uid = fields::text(object, "/metadata/uid").to_owned();
        let name = fields::text(object, "/metadata/name").to_owned();
        // Without labels of its own a Job has its template's, also those that are added here.
        let own = object.pointer("/metadata/labels").and_then(Value::as_object);
        let shares = own.is_none_or(serde_json::Map::is_empty)
            || own == object.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
        if !object.pointer("/spec/template/metadata/labels").is_some_and(Value::is_object) {
            fields::set(object, "/spec/template/metadata/labels", json!({}));
        }
        let labels = object.pointer_mut("/spec/template/metadata/labels");
        // What is there and differs is for validation to refuse.
        if let Some(labels) = labels.and_then(Value::as_object_mut) {
            for label in UID_LABELS {
                labels.entry(label).or_insert_with(|| uid.clone().into());
            }
            for label in NAME_LABELS {
                labels.entry(label).or_insert_with(|| name.clone().into());
            }
        }
        if !object.pointer("/spec/selector/matchLabels").is_some_and(Value::is_object) {
            fields::set(object, "/spec/selector/matchLabels", json!({}));
        }
        let labels = object.pointer_mut("/spec/selector/matchLabels");
        if let Some(labels) = labels.and_then(Value::as_object_mut) {
            labels.entry(UID_LABELS[1]).or_insert_with(|| uid.into());
        }
        if shares {
            let labels = object.pointer("/spec/template/metadata/labels").cloned();
            fields::set(object, "/metadata/labels", labels.unwrap_or_default());
        }
    }
}
