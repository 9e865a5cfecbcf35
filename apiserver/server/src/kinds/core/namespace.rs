//! Namespaces: they end in two steps. A deletion marks them; they go when the last of their own finalizers has
//! been taken out through the `finalize` subresource.

use api::status::FieldError;
use serde_json::{Value, json};

use crate::fields;
use crate::strategy::{Ctx, Rules, Strategy};

/// The finalizer that every namespace has while its content is there.
const FINALIZER: &str = "kubernetes";
/// The label that always holds the name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The strategy.
pub struct Namespace;

impl Strategy for Namespace {
    fn rules(&self) -> Rules {
        Rules { returns_deleted: true, ..Rules::DEFAULT }
    }

    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        fields::set(object, "/status", json!({"phase": "Active"}));
        let mut finalizers = fields::list(object, "/spec/finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        fields::set(object, "/spec/finalizers", finalizers);
        label(object);
    }

    fn prepare_update(&self, ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        if ctx.subresource != "finalize" {
            fields::copy(object, old, "/spec/finalizers");
        }
        label(object);
    }

    fn validate(&self, ctx: &Ctx<'_>, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        if ctx.subresource != "finalize" {
            return Vec::new();
        }
        let names = fields::texts(object, "/spec/finalizers").into_iter().enumerate();
        let bad = names.filter(|(_, name)| *name != FINALIZER && !name.contains('/'));
        bad.map(|(at, name)| {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            FieldError::invalid(&format!("spec.finalizers[{at}]"), name, text)
        })
        .collect()
    }

    fn may_go(&self, object: &Value) -> bool {
        fields::list(object, "/spec/finalizers").is_empty()
    }

    fn two_step(&self) -> bool {
        true
    }

    fn mark_deleted(&self, object: &mut Value) {
        fields::set(object, "/status/phase", "Terminating");
        fields::remove(object, "/metadata/deletionGracePeriodSeconds");
    }
}

fn label(object: &mut Value) {
    let name = fields::text(object, "/metadata/name").to_owned();
    if name.is_empty() {
        return;
    }
    if !object.pointer("/metadata/labels").is_some_and(Value::is_object) {
        fields::set(object, "/metadata/labels", json!({}));
    }
    if let Some(labels) = object.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.insert(NAME_LABEL.to_owned(), name.into());
    }
}
