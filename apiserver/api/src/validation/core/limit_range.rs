//! LimitRanges: least, default request, default limit, most, in this order.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::check::{Errors, Path, entries, get, list, text},
    pod::{container_resource_name, resource_name},
};
use crate::{meta, quantity::Quantity};

/// A new LimitRange.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let path = path.child("limits");
    let mut seen = BTreeSet::new();
    for (at, item) in list(get(object, "spec"), "limits").iter().enumerate() {
        let path = path.index(at);
        let kind = text(item, "type");
        let at_kind = path.child("type");
        errors.complaints(&at_kind, kind, limit_type(kind));
        if !seen.insert(kind) {
            errors.duplicate(&at_kind, kind);
        }
        self::item(item, kind, &path, errors);
    }
}

fn limit_type(kind: &str) -> Vec<String> {
    let complaints = meta::qualified_name(kind);
    if !complaints.is_empty() {
        return complaints;
    }
    let standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
    if !kind.contains('/') && !standard {
        return vec!["must be a standard limit type or fully qualified".to_owned()];
    }
    Vec::new()
}

fn resource(name: &str, kind: &str) -> Vec<String> {
    match kind {
        "Pod" | "Container" => container_resource_name(name),
        _ => resource_name(name),
    }
}

fn item(item: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for key in ["max", "min"] {
        let under = path.child(key);
        for (name, _) in entries(item, key) {
            errors.complaints(&under.key(name), name, resource(name, kind));
            keys.insert(name);
        }
    }
    let defaults = ["default", "defaultRequest"];
    for key in defaults {
        let under = path.child(key);
        if kind == "Pod" {
            if entries(item, key).next().is_some() {
                let why = "may not be specified when `type` is 'Pod'";
                errors.forbidden(&under, why);
            }
            continue;
        }
        for (name, _) in entries(item, key) {
            errors.complaints(&under.key(name), name, resource(name, kind));
            keys.insert(name);
        }
    }
    if kind == "PersistentVolumeClaim" {
        let has = |key: &str| get(get(item, key), "storage").is_string();
        if !has("min") && !has("max") {
            let why =
                "either minimum or maximum storage value is required, but neither was provided";
            errors.required(&path.child("limits"), why);
        }
    }
    let under = path.child("maxLimitRequestRatio");
    for (name, _) in entries(item, "maxLimitRequestRatio") {
        errors.complaints(&under.key(name), name, resource(name, kind));
        keys.insert(name);
    }
    for name in keys {
        order(item, kind, name, path, errors);
    }
}

fn order(item: &Value, kind: &str, name: &str, path: &Path<'_>, errors: &mut Errors) {
    let amount = |key: &str| {
        get(get(item, key), name).as_str().and_then(|text| text.parse::<Quantity>().ok())
    };
    let pod = kind == "Pod";
    let (least, most) = (amount("min"), amount("max"));
    let wanted = amount("defaultRequest").filter(|_| !pod);
    let given = amount("default").filter(|_| !pod);
    let mut above = |key: &str, shown: Quantity, low: (&str, Quantity), high: (&str, Quantity)| {
        if low.1 > high.1 {
            let why =
                format!("{} value {} is greater than {} value {}", low.0, low.1, high.0, high.1);
            let under = path.child(key);
            errors.invalid(&under.key(name), shown.to_string(), &why);
        }
    };
    if let (Some(least), Some(most)) = (least, most) {
        above("min", least, ("min", least), ("max", most));
    }
    if let (Some(least), Some(wanted)) = (least, wanted) {
        above("defaultRequest", wanted, ("min", least), ("default request", wanted));
    }
    if let (Some(least), Some(given)) = (least, given) {
        above("default", least, ("min", least), ("default", given));
    }
    if let (Some(wanted), Some(most)) = (wanted, most) {
        above("defaultRequest", wanted, ("default request", wanted), ("max", most));
    }
    if let (Some(wanted), Some(given)) = (wanted, given) {
        above("defaultRequest", wanted, ("default request", wanted), ("default limit", given));
    }
    if let (Some(given), Some(most)) = (given, most) {
        above("default", most, ("default", given), ("max", most));
    }
    ratio(amount("maxLimitRequestRatio"), least, most, name, path, errors);
    let fixed = name.contains('/') && !name.contains("kubernetes.io/");
    if let (Some(wanted), Some(given)) = (wanted, given)
        && fixed
        && wanted != given
    {
        let under = path.child("defaultRequest");
        let why =
            format!("default value {given} must equal to defaultRequest value {wanted} in {name}");
        errors.invalid(&under.key(name), wanted.to_string(), &why);
    }
}

fn ratio(
    ratio: Option<Quantity>,
    least: Option<Quantity>,
    most: Option<Quantity>,
    name: &str,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let Some(ratio) = ratio else { return };
    let under = path.child("maxLimitRequestRatio");
    let at = under.key(name);
    if ratio.milli_value() < 1000 {
        errors.invalid(&at, ratio.to_string(), &format!("ratio {ratio} is less than 1"));
    }
    let (Some(least), Some(most)) = (least, most) else { return };
    #[expect(clippy::cast_precision_loss, reason = "the original compares floats too")]
    let quotient = most.milli_value() as f64 / least.milli_value().max(1) as f64;
    #[expect(clippy::cast_precision_loss, reason = "the original compares floats too")]
    let wanted = ratio.milli_value() as f64 / 1000.0;
    if wanted > quotient {
        let why = format!("ratio {ratio} is greater than max/min = {quotient:.6}");
        errors.invalid(&at, ratio.to_string(), &why);
    }
}

/// A changed LimitRange.
pub(in crate::validation) fn update(new: &Value, _old: &Value, errors: &mut Errors) {
    create(new, errors);
}
