//! Certificate signing requests: who asks is written by the server; certificate and approval have doors of
//! their own.

use serde_json::{Map, Value};

use crate::fields;
use crate::strategy::{Ctx, Rules, Strategy};

/// The strategy.
pub struct SigningRequest;

impl Strategy for SigningRequest {
    fn rules(&self) -> Rules {
        Rules::DEFAULT
    }

    fn prepare_create(&self, ctx: &Ctx<'_>, object: &mut Value) {
        let user = ctx.user;
        fields::set(object, "/spec/username", user.name.as_str());
        for (path, given) in [("/spec/uid", user.uid.as_str())] {
            if given.is_empty() {
                fields::remove(object, path);
            } else {
                fields::set(object, path, given);
            }
        }
        if !user.groups.is_empty() {
            fields::set(object, "/spec/groups", user.groups.clone());
        }
        if user.extra.is_empty() {
            fields::remove(object, "/spec/extra");
        } else {
            let extra: Map<String, Value> = user
                .extra
                .iter()
                .map(|(key, values)| (key.clone(), values.clone().into()))
                .collect();
            fields::set(object, "/spec/extra", extra);
        }
    }

    fn prepare_update(&self, ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        match ctx.subresource {
            "status" => {
                fields::copy(object, old, "/spec");
                let now = fields::now();
                stamp(object, old, &now);
            }
            "approval" => {
                let conditions = object.pointer("/status/conditions").cloned();
                fields::copy(object, old, "/spec");
                fields::copy(object, old, "/status");
                if let Some(conditions) = conditions {
                    fields::set(object, "/status/conditions", conditions);
                }
                let now = fields::now();
                stamp(object, old, &now);
            }
            _ => fields::copy(object, old, "/spec"),
        }
    }
}

/// New conditions get their times.
fn stamp(object: &mut Value, old: &Value, now: &str) {
    let olds = fields::list(old, "/status/conditions").to_vec();
    for condition in fields::list_mut(object, "/status/conditions") {
        let kind = fields::text(condition, "/type").to_owned();
        let before = olds.iter().find(|c| fields::text(c, "/type") == kind);
        if fields::text(condition, "/lastUpdateTime").is_empty() {
            fields::set(condition, "/lastUpdateTime", now);
        }
        if fields::text(condition, "/lastTransitionTime").is_empty() {
            let same = before
                .filter(|old| fields::text(old, "/status") == fields::text(condition, "/status"));
            let time = same.map(|old| fields::text(old, "/lastTransitionTime").to_owned());
            let time = time.filter(|time| !time.is_empty()).unwrap_or_else(|| now.to_owned());
            fields::set(condition, "/lastTransitionTime", time);
        }
    }
}
