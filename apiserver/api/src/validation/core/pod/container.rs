//! Containers of all three sorts.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::super::check::{Errors, Path, get, has, int, list, text},
    Context, env, mounts, ports, probe, resources, security,
};
use crate::meta;

/// Handlers of a lifecycle hook.
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];
/// Fields that an ephemeral container can't have.
const NOT_EPHEMERAL: [&str; 8] = [
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
];

/// The containers that run.
pub(super) fn containers(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("containers");
    let all = list(ctx.spec, "containers");
    if all.is_empty() {
        errors.required(&path, "");
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, container) in all.iter().enumerate() {
        let path = path.index(at);
        common(ctx, container, &path, errors);
        let name = text(container, "name");
        if !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        lifecycle(ctx, container, &path, errors);
        probe::probes(container, &path, errors);
        restart(container, &path, errors);
    }
    ports::host_conflicts(all, &path, errors);
}

/// The containers that prepare, or accompany.
pub(super) fn init_containers(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("initContainers");
    let running = list(ctx.spec, "containers").iter().map(|c| text(c, "name"));
    let mut seen: BTreeSet<&str> = running.collect();
    for (at, container) in list(ctx.spec, "initContainers").iter().enumerate() {
        let path = path.index(at);
        common(ctx, container, &path, errors);
        let name = text(container, "name");
        if !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        restart(container, &path, errors);
        if text(container, "restartPolicy") == "Always" {
            lifecycle(ctx, container, &path, errors);
            probe::probes(container, &path, errors);
        } else {
            for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if has(container, key) {
                    let why = "may not be set for init containers without restartPolicy=Always";
                    errors.forbidden(&path.child(key), why);
                }
            }
        }
        let alone = std::slice::from_ref(container);
        ports::host_conflicts_at(alone, &path, errors);
    }
}

/// The containers that look into a running pod.
pub(super) fn ephemeral_containers(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("ephemeralContainers");
    let others = ["containers", "initContainers"];
    let others = others.iter().flat_map(|key| list(ctx.spec, key)).map(|c| text(c, "name"));
    let mut seen: BTreeSet<&str> = others.collect();
    for (at, container) in list(ctx.spec, "ephemeralContainers").iter().enumerate() {
        let path = path.index(at);
        common(ctx, container, &path, errors);
        let name = text(container, "name");
        if !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        let target = text(container, "targetContainerName");
        let exists = list(ctx.spec, "containers")
            .iter()
            .chain(list(ctx.spec, "initContainers"))
            .any(|c| text(c, "name") == target);
        if !target.is_empty() && !exists {
            errors.not_found(&path.child("targetContainerName"), target, "");
        }
        for key in NOT_EPHEMERAL {
            let value = get(container, key);
            let empty = value.is_null()
                || value.as_object().is_some_and(serde_json::Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty);
            if !empty {
                let why = "cannot be set for an Ephemeral Container";
                errors.forbidden(&path.child(key), why);
            }
        }
        let mounts = path.child("volumeMounts");
        for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
            for key in ["subPath", "subPathExpr"] {
                if !text(mount, key).is_empty() {
                    let path = mounts.index(index);
                    let why = "cannot be set for an Ephemeral Container";
                    errors.forbidden(&path.child(key), why);
                }
            }
        }
    }
}

/// What holds for all sorts.
fn common(ctx: &Context<'_>, container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.complaints(&path.child("name"), name, meta::dns1123_label(name));
    }
    let image = text(container, "image");
    if image.is_empty() {
        // A template may leave the image to whoever makes pods of it; a pod may not.
        errors.required(&path.child("image"), "");
    }
    let policy = path.child("terminationMessagePolicy");
    match text(container, "terminationMessagePolicy") {
        "" => errors.required(&policy, ""),
        other => errors.one_of(&policy, other, &["File", "FallbackToLogsOnError"]),
    }
    ports::ports(container, path, errors);
    env::env(ctx, container, path, errors);
    env::env_from(container, path, errors);
    mounts::mounts(ctx, container, path, errors);
    mounts::devices(ctx, container, path, errors);
    let policy = path.child("imagePullPolicy");
    match text(container, "imagePullPolicy") {
        "" => errors.required(&policy, ""),
        other => errors.one_of(&policy, other, &["Always", "IfNotPresent", "Never"]),
    }
    resources::requirements(ctx, get(container, "resources"), &path.child("resources"), errors);
    resize(container, path, errors);
    security::container(container, path, errors);
}

fn resize(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("resizePolicy");
    let mut seen = BTreeSet::new();
    for (at, policy) in list(container, "resizePolicy").iter().enumerate() {
        let path = path.index(at);
        let resource = text(policy, "resourceName");
        if !seen.insert(resource) {
            errors.duplicate(&path, resource);
        }
        errors.one_of(&path.child("resourceName"), resource, &["cpu", "memory"]);
        let known = ["NotRequired", "RestartContainer"];
        errors.one_of(&path.child("restartPolicy"), text(policy, "restartPolicy"), &known);
    }
}

fn restart(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("restartPolicy");
    let rules = list(container, "restartPolicyRules");
    if has(container, "restartPolicy") {
        errors.one_of(&at, text(container, "restartPolicy"), &["Always", "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        errors.required(&at, "must specify restartPolicy when restart rules are used");
    }
    let path = path.child("restartPolicyRules");
    for (at, rule) in rules.iter().enumerate() {
        let path = path.index(at);
        let known = ["Restart", "RestartAllContainers"];
        errors.one_of(&path.child("action"), text(rule, "action"), &known);
        let codes = get(rule, "exitCodes");
        let under = path.child("exitCodes");
        if codes.is_null() {
            errors.required(&under, "must be specified");
            continue;
        }
        errors.one_of(&under.child("operator"), text(codes, "operator"), &["In", "NotIn"]);
        if list(codes, "values").len() > 255 {
            errors.too_many(&under.child("values"), list(codes, "values").len(), 255);
        }
    }
}

fn lifecycle(ctx: &Context<'_>, container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let hooks = get(container, "lifecycle");
    let path = path.child("lifecycle");
    for key in ["postStart", "preStop"] {
        let hook = get(hooks, key);
        if hook.is_null() {
            continue;
        }
        let path = path.child(key);
        handler(hook, &HANDLERS, &path, errors);
        if let Some(seconds) = int(get(hook, "sleep"), "seconds") {
            let grace = int(ctx.spec, "terminationGracePeriodSeconds").unwrap_or(30);
            if seconds < 0 || seconds > grace {
                let why = format!(
                    "must be non-negative and less than terminationGracePeriodSeconds ({grace}). \
                     Enable AllowPodLifecycleSleepActionZeroValue feature gate for zero sleep."
                );
                errors.invalid(&path.child("sleep"), seconds, &why);
            }
        }
    }
}

/// Exactly one way to act.
pub(super) fn handler(holder: &Value, known: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let mut count = 0;
    for key in known {
        let action = get(holder, key);
        if action.is_null() {
            continue;
        }
        let under = path.child(key);
        count += 1;
        if count > 1 {
            errors.forbidden(&under, "may not specify more than 1 handler type");
            continue;
        }
        match *key {
            "exec" if list(action, "command").is_empty() => {
                errors.required(&under.child("command"), "");
            }
            "httpGet" => probe::http_get(action, &under, errors),
            "tcpSocket" => ports::number_or_name(get(action, "port"), &under.child("port"), errors),
            "grpc" => errors.port(&under.child("port"), int(action, "port").unwrap_or(0)),
            _ => {}
        }
    }
    if count == 0 {
        errors.required(path, "must specify a handler type");
    }
}
