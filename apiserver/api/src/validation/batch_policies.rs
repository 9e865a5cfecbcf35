//! What a Job makes of failures and successes of single pods.

use serde_json::Value;

use super::check::{Errors, Path, at, get, has, int, list, text};
use crate::meta;

/// What a rule may do.
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
/// Rules of a policy.
const MOST_RULES: usize = 20;
/// Values of a rule.
const MOST_VALUES: usize = 255;

/// `podFailurePolicy`.
pub(super) fn failure(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rules = list(get(spec, "podFailurePolicy"), "rules");
    let path = path.child("podFailurePolicy");
    let path = path.child("rules");
    if rules.len() > MOST_RULES {
        errors.too_many(&path, rules.len(), MOST_RULES);
    }
    let names: Vec<&str> = ["/template/spec/containers", "/template/spec/initContainers"]
        .iter()
        .flat_map(|pointer| at(spec, pointer).as_array().into_iter().flatten())
        .map(|container| text(container, "name"))
        .collect();
    for (at, rule) in rules.iter().enumerate() {
        failure_rule(spec, rule, &names, &path.index(at), errors);
    }
}

fn failure_rule(spec: &Value, rule: &Value, names: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let action = text(rule, "action");
    let at_action = path.child("action");
    if action.is_empty() {
        errors.required(&at_action, &format!("valid values: {}", go_list(&ACTIONS)));
    } else if action == "FailIndex" && !has(spec, "backoffLimitPerIndex") {
        errors.invalid(&at_action, action, "requires the backoffLimitPerIndex to be set");
    } else {
        errors.one_of(&at_action, action, &ACTIONS);
    }
    let codes = get(rule, "onExitCodes");
    if !codes.is_null() {
        exit_codes(codes, names, &path.child("onExitCodes"), errors);
    }
    let patterns = list(rule, "onPodConditions");
    if !patterns.is_empty() {
        pod_conditions(patterns, &path.child("onPodConditions"), errors);
    }
    let why = match (codes.is_null(), patterns.is_empty()) {
        (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        _ => return,
    };
    errors.0.push(omitted(path, why));
}

/// An invalid value that is not shown.
pub(super) fn omitted(path: &Path<'_>, why: &str) -> crate::status::FieldError {
    let mut error = crate::status::FieldError::invalid(&path.to_string(), Value::Null, why);
    error.bad = crate::status::Bad::Omitted;
    error
}

fn go_list(items: &[&str]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

fn exit_codes(codes: &Value, names: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let operator = text(codes, "operator");
    match operator {
        "" => {
            let why = format!("valid values: {}", go_list(&["In", "NotIn"]));
            errors.required(&path.child("operator"), &why);
        }
        operator => errors.one_of(&path.child("operator"), operator, &["In", "NotIn"]),
    }
    if let Some(name) = get(codes, "containerName").as_str()
        && !names.contains(&name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, why);
    }
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    let path = path.child("values");
    if values.is_empty() {
        errors.invalid(&path, Value::Array(Vec::new()), "at least one value is required");
    } else if values.len() > MOST_VALUES {
        errors.too_many(&path, values.len(), MOST_VALUES);
    }
    let mut seen = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let path = path.index(at);
        if operator == "In" && *value == 0 {
            errors.invalid(&path, 0, "must not be 0 for the In operator");
        }
        if seen.contains(value) {
            errors.duplicate(&path, *value);
        }
        seen.push(*value);
    }
    if !values.is_sorted() {
        errors.invalid(&path, get(codes, "values").clone(), "must be ordered");
    }
}

fn pod_conditions(patterns: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if patterns.len() > MOST_RULES {
        errors.too_many(path, patterns.len(), MOST_RULES);
    }
    for (at, pattern) in patterns.iter().enumerate() {
        let path = path.index(at);
        let kind = text(pattern, "type");
        errors.complaints(&path.child("type"), kind, meta::qualified_name(kind));
        let known = ["False", "True", "Unknown"];
        match text(pattern, "status") {
            "" => {
                let why = format!("valid values: {}", go_list(&known));
                errors.required(&path.child("status"), &why);
            }
            status => errors.one_of(&path.child("status"), status, &known),
        }
    }
}

/// `successPolicy`.
pub(super) fn success(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let policy = get(spec, "successPolicy");
    let path = path.child("successPolicy");
    if text(spec, "completionMode") != "Indexed" {
        errors.invalid_raw(&path, go_policy(policy), "requires indexed completion mode");
        return;
    }
    let rules = list(policy, "rules");
    let path = path.child("rules");
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.required(&path, why);
    }
    if rules.len() > MOST_RULES {
        errors.too_many(&path, rules.len(), MOST_RULES);
    }
    for (at, rule) in rules.iter().enumerate() {
        success_rule(spec, rule, &path.index(at), errors);
    }
}

fn go_policy(policy: &Value) -> String {
    let rules = list(policy, "rules").iter().map(|rule| {
        format!(
            "{{\"SucceededIndexes\":{},\"SucceededCount\":{}}}",
            get(rule, "succeededIndexes"),
            get(rule, "succeededCount")
        )
    });
    format!("{{\"Rules\":[{}]}}", rules.collect::<Vec<_>>().join(","))
}

fn success_rule(spec: &Value, rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let completions = int(spec, "completions").unwrap_or(0);
    let indexes = get(rule, "succeededIndexes").as_str();
    let count = int(rule, "succeededCount");
    if indexes.is_none() && count.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.required(path, why);
    }
    let at_count = path.child("succeededCount");
    errors.not_negative(&at_count, count);
    let mut total = None;
    if let Some(text) = indexes {
        match count_indexes(text, completions) {
            Ok(number) => total = Some(number),
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                errors.invalid(&path.child("succeededIndexes"), text, &why);
            }
        }
    }
    let Some(count) = count else { return };
    if count > completions {
        let why = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        errors.invalid(&at_count, count, &why);
    }
    if let Some(total) = total.filter(|total| count > *total) {
        let why = format!(
            "must be less than or equal to {total} (the number of indexes in the specified \
             succeededIndexes field)"
        );
        errors.invalid(&at_count, count, &why);
    }
}

/// How many indexes a list such as `0,2-4` has.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let mut total = 0;
    let mut previous: Option<i64> = None;
    if text.is_empty() {
        return Ok(0);
    }
    let number = |text: &str| {
        text.parse::<i64>()
            .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))
    };
    for part in text.split(',') {
        let ends: Vec<&str> = part.split('-').collect();
        if ends.len() > 2 {
            return Err(format!(
                "the fragment {part:?} violates the requirement that an index \
                                interval can have at most two parts separated by '-'"
            ));
        }
        let first = number(ends[0])?;
        if let Some(previous) = previous.filter(|previous| *previous >= first) {
            return Err(format!("non-increasing order, previous: {previous}, current: {first}"));
        }
        if first >= completions {
            return Err(format!("too large index: {:?}", ends[0]));
        }
        let mut last = first;
        if let Some(end) = ends.get(1) {
            last = number(end)?;
            if last >= completions {
                return Err(format!("too large index: {end:?}"));
            }
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
        }
        total += last - first + 1;
        previous = Some(last);
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted_or_refused() {
        assert_eq!(count_indexes("0,2-4", 5), Ok(4));
        assert_eq!(count_indexes("1,9", 5), Err("too large index: \"9\"".to_owned()));
        let why = "non-increasing order, previous: 2, current: 1";
        assert_eq!(count_indexes("2,1", 5), Err(why.to_owned()));
    }
}
