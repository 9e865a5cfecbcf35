//! The priority of a Pod comes from its PriorityClass; one class at most is the default.

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::{Operation, Plugin, Review, lookup};
use crate::fields;

/// Group of PriorityClasses.
const GROUP: &str = "scheduling.k8s.io";
/// Classes that exist even before anybody made them.
const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
/// The preemption policy of a class that names none.
const PREEMPT: &str = "PreemptLowerPriority";

/// The plugin.
pub(super) struct Priority;

/// What a class gives to a Pod.
struct Class {
    name: String,
    value: i64,
    preemption: String,
}

#[async_trait]
impl Plugin for Priority {
    fn handles(&self, review: &Review<'_>) -> bool {
        let resource = review.is("", "pods") || review.is(GROUP, "priorityclasses");
        resource && review.operation != Operation::Delete
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let Some(pod) = object.filter(|_| review.is("", "pods")) else { return Ok(()) };
        if let Some(old) = review.old {
            for path in ["/spec/priority", "/spec/preemptionPolicy"] {
                if !fields::has(pod, path) {
                    fields::copy(pod, old, path);
                }
            }
            return Ok(());
        }
        let class = class(review, pod).await?;
        if let Some(given) = fields::integer(pod, "/spec/priority").filter(|n| *n != class.value) {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority \
                 admission controller computed {} from the given PriorityClass name",
                class.value
            );
            return Err(review.forbidden(Some(pod), &why));
        }
        let given = fields::text(pod, "/spec/preemptionPolicy");
        if !given.is_empty() && given != class.preemption {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
                 priority admission controller computed {} from the given PriorityClass name",
                class.preemption
            );
            return Err(review.forbidden(Some(pod), &why));
        }
        if !class.name.is_empty() {
            fields::set(pod, "/spec/priorityClassName", class.name);
        }
        fields::set(pod, "/spec/priority", class.value);
        fields::set(pod, "/spec/preemptionPolicy", class.preemption);
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(class) = object.filter(|_| review.is(GROUP, "priorityclasses")) else {
            return Ok(());
        };
        if !fields::flag(class, "/globalDefault") {
            return Ok(());
        }
        let Some(default) = default(review).await? else { return Ok(()) };
        let name = fields::text(&default, "/metadata/name");
        if review.operation == Operation::Update && name == fields::text(class, "/metadata/name") {
            return Ok(());
        }
        let why = format!(
            "PriorityClass {name} is already marked as default. Only one default can exist"
        );
        Err(review.forbidden(Some(class), &why))
    }
}

/// The class that a new Pod names, or the default.
async fn class(review: &Review<'_>, pod: &Value) -> Result<Class, Status> {
    let name = fields::text(pod, "/spec/priorityClassName");
    if name.is_empty() {
        let default = default(review).await?;
        return Ok(default.map_or_else(
            || Class { name: String::new(), value: 0, preemption: PREEMPT.to_owned() },
            |default| read(&default),
        ));
    }
    if let Some(class) = lookup::object(review.call, GROUP, "priorityclasses", "", name).await? {
        return Ok(read(&class));
    }
    match SYSTEM.iter().find(|(system, _)| *system == name) {
        Some((name, value)) => {
            Ok(Class { name: (*name).to_owned(), value: *value, preemption: PREEMPT.to_owned() })
        }
        None => {
            let why = format!("no PriorityClass with name {name} was found");
            Err(review.forbidden(Some(pod), &why))
        }
    }
}

fn read(class: &Value) -> Class {
    let preemption = match fields::text(class, "/preemptionPolicy") {
        "" => PREEMPT,
        policy => policy,
    };
    Class {
        name: fields::text(class, "/metadata/name").to_owned(),
        value: fields::integer(class, "/value").unwrap_or(0),
        preemption: preemption.to_owned(),
    }
}

/// The default class: the lowest, should there be several.
async fn default(review: &Review<'_>) -> Result<Option<Value>, Status> {
    let classes = lookup::all(review.call, GROUP, "priorityclasses", "").await?;
    let defaults = classes.into_iter().filter(|class| fields::flag(class, "/globalDefault"));
    Ok(defaults.min_by_key(|class| fields::integer(class, "/value").unwrap_or(0)))
}
