//! An Ingress that names no class gets the default one, if there is one.

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::default_storage_class::newest;
use super::{Plugin, Review, lookup};
use crate::fields;

/// Group of Ingresses and their classes.
const GROUP: &str = "networking.k8s.io";
/// Old way to name a class.
const OLD: &str = "/metadata/annotations/kubernetes.io~1ingress.class";
/// Marks the default class.
const DEFAULT: &str = "/metadata/annotations/ingressclass.kubernetes.io~1is-default-class";

/// The plugin.
pub(super) struct DefaultIngressClass;

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.creates(GROUP, "ingresses")
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let Some(ingress) = object else { return Ok(()) };
        if fields::has(ingress, "/spec/ingressClassName") || fields::has(ingress, OLD) {
            return Ok(());
        }
        let classes = lookup::all(review.call, GROUP, "ingressclasses", "").await?;
        let is_default = |class: &Value| fields::text(class, DEFAULT) == "true";
        if let Some(class) = newest(classes.into_iter().filter(is_default)) {
            fields::set(ingress, "/spec/ingressClassName", fields::text(&class, "/metadata/name"));
        }
        Ok(())
    }
}
